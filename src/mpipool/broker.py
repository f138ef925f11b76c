"""Rank 0's second role: the one place where clock, transport, checkpoint and scheduler meet."""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from mpipool.checkpoint.database import Checkpoint, Found
from mpipool.checkpoint.database import Scatter as ScatterRow
from mpipool.checkpoint.recorder import Recorder
from mpipool.errors import UsageError
from mpipool.ids import BROKER, Rank, ScatterId, leader_of
from mpipool.messages import (
    Answer,
    Ask,
    Blocked,
    Buffer,
    Bye,
    Despair,
    Hello,
    Lend,
    Message,
    Records,
    Return,
    Stop,
    Want,
)
from mpipool.messages import Refuse as Refused
from mpipool.needs import unpack as unpack_needs
from mpipool.recording import unpack
from mpipool.scheduler import (
    CoreBlocked,
    DemandChanged,
    Event,
    Grant,
    LeaseReturned,
    RankJoined,
    Refuse,
    Scheduler,
    TokensProvided,
)
from mpipool.transport import Transport

ROOT_WORKS_UP_TO: Final = 64
"""With so few ranks rank 0 runs tasks too: an idle root of four ranks costs a quarter of them."""
GOODBYE_SECONDS: Final = 15.0
"""How long the end of the run waits for agents which say nothing."""
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

    Attributes
    ----------
    scheduler : Scheduler
        Decides who gets which rank.
    exit_code : int or None
        The run's, once it is over.
    over : bool
        Whether everyone has said goodbye and everything is on disk.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Callable[[], float],
        wake: Callable[[], None],
        tokens: Mapping[str, int] | None = None,
    ) -> None:
        self._root_works = transport.size <= ROOT_WORKS_UP_TO
        self.scheduler = Scheduler(transport.size - (not self._root_works), tokens)
        self.exit_code: int | None = None
        self.over = False
        self._transport = transport
        self._clock = clock
        self._wake = wake
        self._recorder: Recorder | None = None
        self._folder = ""
        """Where the checkpoint is."""
        self._ranks: dict[Rank, tuple[str, int]] = {}
        self._cpus: dict[Rank, str] = {}
        self._tasks: dict[ScatterId, int] = {}
        self._present: set[Rank] = set()
        self._deadline = 0.0

    # --- messages --------------------------------------------------------------------------------

    def take(self, sender: Rank, message: Message) -> None:
        """Take a message for the broker."""
        match message:
            case Want() | Return() | Blocked():
                self._schedule(sender, message)
            case Records():
                if self._recorder:
                    self._recorder.append(unpack(message, self._folder))
            case Hello():
                self._join(sender, message)
            case Ask():
                self._answer(sender, message)
            case Despair(reason=reason):
                self.stop(1, stuck=reason)
            case Bye():
                self._present.discard(sender)
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
                )
            case Return(lease=lease, queued=queued, seconds=seconds, pins=pins):
                event = LeaseReturned(lease, queued, seconds, tuple(map(Rank, pins)))
            case Blocked(leases=leases, tops=tops):
                event = CoreBlocked(sender, frozenset(leases), tops)
        self._place(event)

    def _place(self, event: Event) -> None:
        if self.exit_code is not None:
            return  # nothing new is begun
        for command in self.scheduler.handle(event, self._clock()):
            self._transport.send(leader_of(command.scatter), self._told(command))

    def _told(self, command: Grant | Refuse) -> Message:
        """Write a decision of the scheduler for the leader."""
        match command:
            case Grant(lease, scatter, rank, quantum, ranks):
                cpus = [self._cpus[held] for held in ranks]
                return Lend(
                    lease=lease,
                    scatter=scatter,
                    rank=rank,
                    quantum=quantum,
                    ranks=ranks,
                    cpus=",".join(cpus) if all(cpus) else "",
                )
            case Refuse(scatter, reason):
                return Refused(scatter=scatter, reason=reason)

    def _join(self, rank: Rank, hello: Hello) -> None:
        self._ranks[rank] = (hello.host, hello.pid)
        self._cpus[rank] = hello.cpus
        self._present.add(rank)
        if self._recorder:
            self._recorder.add_ranks([(rank, hello.host, hello.pid)])
        if rank != BROKER or self._root_works:
            self._place(RankJoined(rank, hello.host, hello.memory))

    # --- the checkpoint --------------------------------------------------------------------------

    def _note_scatter(self, want: Want) -> None:
        if self._recorder is None:
            return
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

    def _answer(self, sender: Rank, ask: Ask) -> None:
        facts = json.loads(bytes(ask.parts[0]))

        def reply(answer: Any) -> None:
            self._reply(sender, ask.request, answer)

        if ask.question == "attach":
            self._attach(facts, reply)
        elif ask.question == "provide":
            self._place(TokensProvided(facts["tokens"]))
            reply(({}, []))
        elif self._recorder is None:
            reply(UsageError("no checkpoint is attached to this run"))
        else:
            question = _QUESTIONS[ask.question]
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

        self._recorder = Recorder.open(
            wake=self._wake, reply=opened, on_wait=_say, ranks=self._transport.size, **facts
        )

    def _reply(self, to: Rank, request: int, answer: Any) -> None:
        parts: tuple[Buffer, ...]
        if isinstance(answer, Exception):
            parts = (pickle.dumps(answer),)
        else:
            facts, results = answer
            parts = (json.dumps(facts).encode(), *results)
        ok = not isinstance(answer, Exception)
        self._transport.send(to, Answer(request=request, ok=ok, parts=parts))

    # --- the end ---------------------------------------------------------------------------------

    def stop(self, exit_code: int, orderly: bool = True, stuck: str = "") -> None:
        """Begin the end of the run: every agent ends its executors and says goodbye."""
        if self.over or (self.exit_code is not None and not stuck):
            return
        self.exit_code = exit_code
        self._deadline = self._clock() + GOODBYE_SECONDS
        stop = Stop(exit_code=exit_code, orderly=orderly, stuck=stuck)
        for rank in range(self._transport.size):
            self._transport.send(Rank(rank), stop)

    def tick(self) -> None:
        """Do what is due: answers of the recorder, and the end of the run."""
        if self._recorder:
            self._recorder.deliver()
        if self._recorder and self._recorder.failure and self.exit_code is None:
            _say(f"the run can't go on: {self._recorder.failure}")
            self.stop(1)
        if self.exit_code is None or self.over:
            return
        if not self._present or self._clock() > self._deadline:
            self._finish()

    def _finish(self) -> None:
        if self._present:
            _say(f"ranks {sorted(self._present)} did not say goodbye; going without them")
        if self._recorder:
            state = "complete" if self.exit_code == 0 else f"exit {self.exit_code}"
            if not self._recorder.close(state, LAST_COMMIT_SECONDS):
                _say(f"the last records are not on disk: {self._recorder.failure or 'timeout'}")
        for rank in range(self._transport.size):
            self._transport.send(Rank(rank), Bye())
        self.over = True


def _find(checkpoint: Checkpoint, facts: dict[str, Any]) -> tuple[list[Any], list[bytes]]:
    found = checkpoint.find([bytes.fromhex(digest) for digest in facts["digests"]])
    results = [entry.result or b"" for entry in found if entry]
    return [entry and _known(entry) for entry in found], results


def _known(found: Found) -> dict[str, Any]:
    known = found._asdict()
    del known["result"]
    return known


def _reopen(checkpoint: Checkpoint, facts: dict[str, Any]) -> tuple[Any, list[bytes]]:
    checkpoint.reopen([bytes.fromhex(digest) for digest in facts["digests"]])
    return {}, []


def _sync(checkpoint: Checkpoint, facts: dict[str, Any]) -> tuple[Any, list[bytes]]:
    """Answered when everything before is on disk."""
    return {}, []


_QUESTIONS: Final[dict[str, Callable[[Checkpoint, dict[str, Any]], tuple[Any, list[bytes]]]]] = {
    "find": _find,
    "reopen": _reopen,
    "sync": _sync,
}


def _say(sentence: str) -> None:
    print(f"mpipool: {sentence}", file=sys.stderr, flush=True)
