"""When the run drains, why, and until when what runs may go on. Pure: signals and time go in.

The *grace* is the time between a warning and the end of the run. Tasks have most of it; the last
part (`last_part`) is for ending what still runs, and for recording it.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Final

from mpipool.errors import Drained, UsageError
from mpipool.executor.environment import END, GRACE, MAX_FAILURES
from mpipool.ids import Rank
from mpipool.messages import Drain

DEFAULT_GRACE: Final = 30.0
"""Seconds."""
TERM_GRACE: Final = 8.0
"""The same after SIGTERM or SIGXCPU, if nothing is said: batch systems kill 10 to 30 s later."""
LAST_PART: Final = 5.0
REPEATED: Final = 1.0
"""Seconds after which the same signal, again, is meant: a launcher and a script may pass it on."""
ALIKE: Final = 20
"""So many tasks of a stage have to fail alike, the first ones, for the run to give up."""
FAILED: Final = 1
"""The exit code after too many failures: to go on at once would not help."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is known of the run's end when it begins."""

    end: float = inf
    """When the job ends, s since the epoch."""
    grace: float | None = None
    """Seconds; None if nothing was said."""
    max_failures: int | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Limits:
        """Read what `mpipool run`, a driver or the batch system has left in the environment."""
        ends = [environment.get(name, "") for name in (END, "SLURM_JOB_END_TIME")]
        grace, most = environment.get(GRACE), environment.get(MAX_FAILURES)
        return cls(
            min((float(end) for end in ends if end), default=inf),
            float(grace) if grace else None,
            int(most) if most else None,
        )

    def written(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Write them for `of`; the earlier one of two ends counts."""
        given = {END: min(self.end, float(environment.get(END) or inf))} if self.end < inf else {}
        given |= {GRACE: self.grace} if self.grace is not None else {}
        given |= {MAX_FAILURES: self.max_failures} if self.max_failures is not None else {}
        return {name: str(value) for name, value in given.items()}


def limits(
    walltime: str | float | None,
    grace: str | float | None,
    max_failures: str | int | None,
    epoch: float,
) -> Limits:
    """Make limits of what a user says; see `seconds`. The walltime is counted from ``epoch``.

    Raises
    ------
    UsageError
        If something is no duration, or no number from 1 up.
    """
    if max_failures is not None and not (str(max_failures).isdigit() and int(max_failures) > 0):
        raise UsageError(f"max failures {max_failures!r}: that is a number from 1 up")
    return Limits(
        inf if walltime is None else epoch + seconds(str(walltime)),
        None if grace is None else seconds(str(grace)),
        None if max_failures is None else int(max_failures),
    )


def last_part(seconds: float) -> float:
    """Return how much of a time is kept for ending what runs, and for recording."""
    return min(LAST_PART, seconds / 4)


class Draining:
    """See the module's docstring. ``now`` is monotonic, in seconds.

    Attributes
    ----------
    reason : str
        Why the run drains; empty while it does not.
    exit_code : int
        With which it is to end then.
    end : float
        When it is ended, whatever the script does.
    """

    def __init__(self) -> None:
        self.reason = ""
        self.exit_code = 0
        self.end = inf
        self._walltime = inf
        self._grace: float | None = None
        self._max_failures: int | None = None
        self._failures = 0
        self._first: dict[str, tuple[int, str]] = {}
        """Of stages of which all tasks have failed alike so far: how many, and how."""
        self._sound: set[str] = set()
        """Stages of which this can't be said any more."""
        self._until = inf
        self._began = 0.0
        self._warnings: dict[tuple[Rank, int], float] = {}
        self._is_news = False

    # --- what is set, and what happens -----------------------------------------------------------

    def know(self, limits: Limits, now: float, epoch: float) -> None:
        """Take in what is said of the end of the run, now or before.

        ``epoch`` is the same moment, s since the epoch: a clock which is set later changes nothing.
        """
        if limits.end < inf:
            self._walltime = min(self._walltime, now + (limits.end - epoch))
            self._is_news = True
        if limits.grace is not None:
            self._grace = limits.grace
        if limits.max_failures is not None:
            self._max_failures = limits.max_failures

    def warned(self, rank: Rank, number: signal.Signals, hurried: bool, now: float) -> None:
        """Take in that a rank was sent a signal."""
        first = self._warnings.setdefault((rank, number), now)
        urgent = number in {signal.SIGTERM, signal.SIGINT, signal.SIGXCPU}
        if hurried or (urgent and now - first > REPEATED):
            grace = 0.0
        else:
            soon = number in {signal.SIGTERM, signal.SIGXCPU}
            unsaid = TERM_GRACE if soon else DEFAULT_GRACE
            grace = unsaid if self._grace is None else self._grace
        if not self.reason:
            self._begin(number.name, Drained.EXIT_CODE, grace, now)
        elif urgent:
            self._end_within(grace, now)

    def failed(self, stage: str, done: int, failures: int, how: str) -> str:
        """Take in how tasks of a stage ended for good; return why the run is to drain, if it is.

        Parameters
        ----------
        stage : str
            Its name; empty for calls without one, whose failures are only counted.
        done, failures : int
            How many.
        how : str
            What these failures have in common; empty if they differ.
        """
        self._failures += failures
        if self._max_failures is not None:
            if self._failures >= self._max_failures:
                return f"{self._failures} tasks have failed, and --max-failures is reached"
            return ""
        if not stage or stage in self._sound:
            return ""
        count, known = self._first.pop(stage, (0, how))
        if done or not how or how != known:
            self._sound.add(stage)
            return ""
        self._first[stage] = (count + failures, how)
        if count + failures < ALIKE:
            return ""
        return f"the first {count + failures} tasks of {stage} have all failed alike: {how}"

    def give_up(self, reason: str, now: float) -> None:
        """Drain for another reason than the end of the job."""
        if not self.reason:
            grace = DEFAULT_GRACE if self._grace is None else self._grace
            self._begin(reason, FAILED, grace, now)

    # --- what is due -----------------------------------------------------------------------------

    def due(self, now: float) -> Drain | None:
        """Return what the script's leader is to be told, if there is something new."""
        grace = DEFAULT_GRACE if self._grace is None else self._grace
        if not self.reason and now >= self._walltime - grace:
            self._begin("the walltime", Drained.EXIT_CODE, self._walltime - now, now)
        if not self._is_news:
            return None
        self._is_news = False
        until = self._until if self.reason else self._walltime - last_part(grace)
        return Drain(seconds=max(until - now, 0.0), reason=self.reason, exit_code=self.exit_code)

    def is_over(self, now: float) -> bool:
        """Whether the run is to end now, whatever the script does."""
        return bool(self.reason) and now >= self.end

    def _begin(self, reason: str, exit_code: int, grace: float, now: float) -> None:
        self.reason, self.exit_code = reason, exit_code
        self._end_within(grace, now)

    def _end_within(self, grace: float, now: float) -> None:
        end = min(now + grace, self._walltime)
        until = end - last_part(end - now)
        if until < self._until:
            # Without any time left, records of what was ended still take some.
            self._until, self.end = until, max(end, now + LAST_PART) if not grace else end
            self._is_news = True


def seconds(text: str) -> float:
    """Read a duration: seconds, or like ``1:30:00`` or ``2-00:00:00``, as batch systems write it.

    Raises
    ------
    UsageError
        If it is neither.
    """
    days, dash, rest = text.rpartition("-")
    parts = rest.split(":")
    try:
        if len(parts) > 3 or (dash and not days):
            raise ValueError(text)
        parts += ["0"] * (3 - len(parts)) if days else []  # Slurm's 2-12 are days and hours
        total = 0.0
        for part in parts:
            total = 60 * total + float(part)
        total += 86400 * int(days or 0)
    except ValueError:
        total = -1.0
    if not 0 < total < inf:
        raise UsageError(f"{text!r} is no duration: say seconds, or like 1:30:00 or 2-00:00:00")
    return total
