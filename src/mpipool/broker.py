"""Rank 0's second role: the one place where clock, transport, checkpoint and scheduler meet."""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

from mpipool.checkpoint.database import Checkpoint
from mpipool.checkpoint.database import Scatter as ScatterRow
from mpipool.checkpoint.recorder import Recorder
from mpipool.draining import Limits
from mpipool.errors import Drained, UsageError
from mpipool.ids import BROKER, Rank, ScatterId, leader_of
from mpipool.liveness import QUIET, SILENCE, Liveness
from mpipool.messages import (
    Alive,
    Answer,
    Ask,
    Blocked,
    Buffer,
    Bye,
    Despair,
    Hello,
    Lend,
    Lost,
    Message,
    Missed,
    Recall,
    Records,
    Return,
    Shun,
    Stop,
    Tally,
    Want,
    Warned,
)
from mpipool.messages import Refuse as Refused
from mpipool.needs import unpack as unpack_needs
from mpipool.overseeing import Oversight
from mpipool.questions import QUESTIONS
from mpipool.recording import unpack
from mpipool.scheduler import (
    CoreBlocked,
    DemandChanged,
    Event,
    Grant,
    LeaseReturned,
    Pardon,
    RankJoined,
    RankLost,
    RankQuarantined,
    Reclaim,
    Refuse,
    Scheduler,
    TokensProvided,
)
from mpipool.transport import Transport

ROOT_WORKS_UP_TO: Final = 64
"""With so few ranks rank 0 runs tasks too: an idle root of four ranks costs a quarter of them."""
GOODBYE_SECONDS: Final = 15.0
"""How long the end of the run waits for agents which say nothing."""
LAST_RECORDS_SECONDS: Final = 3.0
"""How long it waits then for records which are still on their way."""
LAST_COMMIT_SECONDS: Final = 60.0


class Broker:
    """Lends ranks, keeps records, and ends the run.

    Parameters
    ----------
    transport : Transport
        Rank 0's.
    clock : callable
        Returns monotonic seconds.
    wake : callable
        Wakes the loop of this process from another thread.
    tokens : mapping, optional
        The named tokens of the run.
    open_recorder : callable
        Opens the checkpoint, as `Recorder.open`.
    silence : float
        Seconds after which a rank that says nothing counts as dead; 0 for never.

    Attributes
    ----------
    scheduler : Scheduler
        Decides who gets which rank.
    exit_code : int or None
        The run's, once it is over.
    over : bool
        Whether everyone has said goodbye and everything is on disk.
    oversight : Oversight
        Whether the run is to drain, and which ranks are bad.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Callable[[], float],
        wake: Callable[[], None],
        tokens: Mapping[str, int] | None = None,
        open_recorder: Callable[..., Recorder] = Recorder.open,
        silence: float = SILENCE,
    ) -> None:
        self._root_works = transport.size <= ROOT_WORKS_UP_TO
        self.scheduler = Scheduler(transport.size - (not self._root_works), tokens)
        self.scheduler.spots.spares_root = transport.survives
        self.exit_code: int | None = None
        self.over = False
        self._transport = transport
        self._clock = clock
        self._wake = wake
        self._open_recorder = open_recorder
        self._recorder: Recorder | None = None
        self._folder = ""
        """Where the checkpoint is."""
        self._ranks: dict[Rank, tuple[str, int]] = {}
        self._cpus: dict[Rank, str] = {}
        self._tasks: dict[ScatterId, int] = {}
        self._present: set[Rank] = set()
        self._records = self._sent = 0
        """How many messages with records have come, and were sent by those who have left."""
        self._deadline = 0.0
        self._lost: set[Rank] = set()
        self._silence = silence
        self._liveness = Liveness(silence)
        self.oversight = Oversight(self, clock)

    # --- messages --------------------------------------------------------------------------------

    def take(self, sender: Rank, message: Message) -> None:  # noqa: C901 - a table
        """Take a message for the broker."""
        match message:
            case Want() | Return() | Blocked():
                self._schedule(sender, message)
            case Records():
                self._records += 1
                if self._recorder:
                    self._recorder.append(unpack(message, self._folder))
            case Hello():
                self._join(sender, message)
            case Warned() | Tally():
                self.oversight.take(sender, message)
            case Ask():
                self._answer(message)
            case Missed(rank=rank, reason=reason):
                if self._transport.survives:  # else the launcher is ending the job just now
                    self.lose(rank, reason)
            case Alive():
                pass  # it was heard
            case Despair(reason=reason):
                self.stop(1, stuck=reason)
            case Bye(records=records):
                self._said_goodbye(sender, records)
            case _:
                raise AssertionError(f"a broker can't take {message}")

    def _schedule(self, sender: Rank, message: Want | Return | Blocked) -> None:
        match message:
            case Want():
                self._note_scatter(message)
                event: Event = DemandChanged(
                    message.scatter,
                    message.path,
                    message.queued,
                    message.seconds,
                    message.closed,
                    unpack_needs(message.needs),
                    tuple(map(Rank, message.pins)),
                    message.parent or None,
                    message.origin or None,
                )
            case Return(lease=lease, queued=queued, seconds=seconds, pins=pins):
                event = LeaseReturned(lease, queued, seconds, tuple(map(Rank, pins)))
            case Blocked(leases=leases, tops=tops, held=held):
                event = CoreBlocked(sender, frozenset(leases), tops, frozenset(held))
        self._place(event)

    def _place(self, event: Event) -> None:
        if self.exit_code is not None:
            return  # nothing new is begun
        for command in self.scheduler.handle(event, self._clock()):
            if isinstance(command, Pardon):
                ranks = ", ".join(map(str, command.ranks))
                self.say(f"quarantine ends for rank {ranks}: there are tasks which need it")
            else:
                to, message = self._told(command)
                self._transport.send(to, message)

    def _told(self, command: Grant | Refuse | Reclaim) -> tuple[Rank, Message]:
        """Write a decision of the scheduler for whom it concerns."""
        match command:
            case Reclaim(lease, rank):
                return rank, Recall(lease=lease, orphaned=True)
            case Refuse(scatter, reason):
                return leader_of(scatter), Refused(scatter=scatter, reason=reason)
            case Grant(lease, scatter, rank, quantum, ranks):
                cpus = [self._cpus[held] for held in ranks]
                return leader_of(scatter), Lend(
                    lease=lease,
                    scatter=scatter,
                    rank=rank,
                    quantum=quantum,
                    ranks=ranks,
                    cpus=",".join(cpus) if all(cpus) else "",
                )

    def hear(self, rank: Rank) -> None:
        """Note that a rank has said something."""
        if rank in self._present and rank != BROKER:  # which does not wait for itself
            self._liveness.heard(rank)

    def lose(self, rank: Rank, reason: str) -> None:
        """Go on without a rank which is gone."""
        if rank in self._lost or self.over:
            return
        self._lost.add(rank)
        self._left(rank)
        self.oversight.health.leave(rank)
        if self.exit_code is not None:
            return  # it had nothing to do any more
        host, _ = self._ranks.get(rank, ("an unknown host", 0))
        lost = f"rank {rank} on {host} is lost ({reason})"
        if not self._transport.survives:
            self.stop(1, stuck=f"{lost}, and the MPI of this launch does not survive that")
            return
        self.say(f"{lost}; what it had is run again by others")
        self._tell_all(Lost(rank=rank, reason=reason))
        self._place(RankLost(rank))
        if not len(self.scheduler.cores):
            self.stop(1, stuck="no rank is left which runs tasks")

    def quarantine(self, ranks: Iterable[Rank]) -> None:
        """Lend ranks no more which are bad."""
        for rank in ranks:
            self._tell_all(Shun(rank=rank))
            self._place(RankQuarantined(rank))

    def send(self, rank: Rank, message: Message) -> None:
        """Send a message to a rank."""
        self._transport.send(rank, message)

    def say(self, sentence: str) -> None:
        """Tell the user, and whoever reads the checkpoint later."""
        _say(sentence)
        self._note(sentence)

    def _note(self, sentence: str) -> None:
        if self._recorder:
            self._recorder.note(time.time(), sentence)

    def _tell_all(self, message: Message) -> None:
        for rank in range(self._transport.size):
            self._transport.send(Rank(rank), message)

    def _left(self, rank: Rank) -> None:
        self._present.discard(rank)
        self._liveness.forget(rank)

    def _look(self) -> None:
        """See who has fallen silent."""
        found = self._liveness.look(self._clock())
        for rank in found.quiet:
            self.say(f"rank {rank} on {self._ranks[rank][0]} has said nothing for {QUIET:g} s")
        for rank in found.back:
            self.say(f"rank {rank} is there again")
        for rank in found.dead:
            self.lose(rank, f"it has said nothing for {self._silence:g} s")

    def _join(self, rank: Rank, hello: Hello) -> None:
        self._ranks[rank] = (hello.host, hello.pid)
        self._cpus[rank] = hello.cpus
        self._present.add(rank)
        if self._recorder:
            self._recorder.add_ranks([(rank, hello.host, hello.pid)])
        if rank != BROKER or self._root_works:
            self.oversight.health.join(rank, hello.host)
            self._place(RankJoined(rank, hello.host, hello.memory))

    # --- the checkpoint --------------------------------------------------------------------------

    def _note_scatter(self, want: Want) -> None:
        if self._recorder is None or want.origin:
            return  # a branch's tasks are those of its origin
        if self._tasks.get(want.scatter) != want.tasks:
            self._tasks[want.scatter] = want.tasks
            parent = want.path[-2] if len(want.path) > 1 else None
            leader = leader_of(want.scatter)
            self._recorder.open_scatter(
                ScatterRow(want.scatter, parent, want.stage, want.tasks, leader, time.time())
            )
        if want.closed:
            self._tasks.pop(want.scatter, None)
            self._recorder.close_scatter(want.scatter, time.time())

    def _answer(self, ask: Ask) -> None:
        facts = json.loads(bytes(ask.parts[0]))
        reply = partial(self._reply, ask.rank, ask.request)
        if ask.question == "attach":
            self._attach(facts, reply)
        elif ask.question == "provide":
            self._place(TokensProvided(facts["tokens"]))
            reply(({}, []))
        elif ask.question == "limit":
            self.oversight.know(Limits(**facts))
            reply(({}, []))
        elif self._recorder is None:
            reply(UsageError("no checkpoint is attached to this run"))
        else:
            question = QUESTIONS[ask.question]
            self._recorder.ask(lambda checkpoint: question(checkpoint, facts), reply)

    def _attach(self, facts: dict[str, Any], reply: Callable[[Any], None]) -> None:
        if self._recorder:
            reply(UsageError("this run has a checkpoint already; it can't have two"))
            return

        def opened(checkpoint: Checkpoint | Exception) -> None:
            if isinstance(checkpoint, Exception):
                self._recorder = None
                reply(checkpoint)
                return
            assert self._recorder
            self._recorder.add_ranks((r, host, pid) for r, (host, pid) in self._ranks.items())
            self._folder = os.path.dirname(checkpoint.path)
            reply(({"token": checkpoint.token, "results": checkpoint.folder}, []))

        self._recorder = self._open_recorder(
            wake=self._wake, reply=opened, on_wait=_say, ranks=self._transport.size, **facts
        )

    def _reply(self, to: Rank, request: int, answer: Any) -> None:
        ok = not isinstance(answer, Exception)
        facts, results = answer if ok else (None, ())
        stated = json.dumps(facts).encode() if ok else pickle.dumps(answer)
        parts: tuple[Buffer, ...] = (stated, *results)
        self._transport.send(to, Answer(request=request, ok=ok, parts=parts))

    # --- the end ---------------------------------------------------------------------------------

    def stop(self, exit_code: int, orderly: bool = True, stuck: str = "") -> None:
        """Begin the end of the run: every agent ends its executors and says goodbye."""
        if self.over or (self.exit_code is not None and not stuck):
            return
        if stuck:
            self._note(f"the run can't go on: {stuck}")  # which its ranks say as they end
        self.exit_code = self.exit_code or exit_code  # a drained run that gets stuck is to go on
        self._deadline = self._clock() + GOODBYE_SECONDS
        self._tell_all(Stop(exit_code=self.exit_code, orderly=orderly, stuck=stuck))

    def tick(self) -> None:
        """Do what is due: answers of the recorder, and the end of the run."""
        self._look()
        if self._recorder:
            self._recorder.deliver()
        if self._recorder and self._recorder.failure and self.exit_code is None:
            _say(f"the run can't go on: {self._recorder.failure}")
            self.stop(1)
        if self.exit_code is None:
            self.oversight.tick()
        if self.exit_code is None or self.over:
            return
        is_complete = not self._present and self._records >= self._sent
        if is_complete or self._clock() > self._deadline:
            self._finish()

    def _said_goodbye(self, rank: Rank, records: int) -> None:
        self._left(rank)
        self._sent += records
        if not self._present:
            # What is still on its way comes soon, unless that led by a rank which has died.
            self._deadline = min(self._deadline, self._clock() + LAST_RECORDS_SECONDS)

    def _finish(self) -> None:
        if self._present:
            _say(f"ranks {sorted(self._present)} did not say goodbye; going without them")
        if self._recorder:
            code = self.exit_code or self.oversight.exit_code
            state = f"exit {code}" if code else "complete"
            if self.oversight.left and code == Drained.EXIT_CODE:
                _say(f"work is left, and the same command goes on with it (exit code {code})")
            if not self._recorder.close(state, LAST_COMMIT_SECONDS):
                _say(self._recorder.loss)
        for rank in range(self._transport.size):
            self._transport.send(Rank(rank), Bye())
        self.over = True


def _say(sentence: str) -> None:
    print(f"mpipool: {sentence}", file=sys.stderr, flush=True)
