"""Replays one case: ``python -m simulation.replay KIND SEED [LEFT-OUT] [--all | --shrink]``.

Prints what is left of the plan, the last events (or all), and how it failed. With ``--shrink`` it
first leaves out whatever is not needed for the failure, and prints the shorter command.
"""

from __future__ import annotations

import sys
import traceback
from collections import deque
from typing import Final

from simulation.cases import Case
from simulation.history import History
from simulation.shrinking import failure_of, shrink, story

LAST: Final = 40
"""Events which are printed."""
FRAMES: Final = 4


def explain(case: Case) -> str:
    """Make a case which fails smaller; return the command, the plan, and the last events."""
    case = shrink(case)
    return "\n".join([case.command, story(case), last_events(case)])


def last_events(case: Case, most: int | None = LAST) -> str:
    """Run a case once more; return its last events, and how it failed."""
    trace: deque[str] = deque(maxlen=most)
    try:
        History(case, trace).run()
    except Exception as error:
        frames = traceback.format_exception(type(error), error, error.__traceback__)
        return "\n".join([*trace, "", "".join(frames[-FRAMES:])])
    return "\n".join([*trace, "", "it does not fail"])


def main(arguments: list[str]) -> int:
    """Replay what the command line names; return 1 if it fails."""
    options = {argument for argument in arguments if argument.startswith("--")}
    case = Case.parse(*[argument for argument in arguments if argument not in options])
    fails = failure_of(case)
    if fails and "--shrink" in options:
        print(explain(case))
    else:
        print(story(case))
        print(last_events(case, None if "--all" in options else LAST))
    return bool(fails)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
