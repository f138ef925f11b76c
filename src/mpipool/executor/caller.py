"""The calling side of a scatter, in the script and in executors alike.

There is one `Caller` in a process. It talks to the agent of its rank, which leads the scatters.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import chain, count
from typing import Any, Protocol

from mpipool.errors import UsageError
from mpipool.executor import store
from mpipool.executor.channel import BlockingChannel
from mpipool.executor.function import Function, search_path
from mpipool.executor.pickling import Pieces, dump_call, loads
from mpipool.executor.post import ARRIVED, Post, Taker
from mpipool.executor.running import running
from mpipool.executor.store import Store
from mpipool.executor.stream import Call, Stream
from mpipool.ids import NO_LEASE, NO_SCATTER, DataId, LeaseId, ScatterId
from mpipool.messages import Answer, Ask, Buffer, Made, Message, Open, Resume, Wait


class Blockable(Protocol):
    """The executor around a caller, if there is one."""

    def before_waiting(self) -> None:
        """Give back what would wait behind the running task."""

    def take(self, message: Message) -> None:
        """Take a message that is not for the caller."""


class Attachment:
    """The run's checkpoint, as tasks and callers know of it."""

    def __init__(
        self, token: int = 0, results: str = "", recorded: bool = False, group: str = ""
    ) -> None:
        self.token, self.results, self.recorded, self.group = token, results, recorded, group


@dataclass(frozen=True, slots=True)
class Within:
    """What the scatter of the running task says of it; nested scatters belong to it."""

    attachment: Attachment = field(default_factory=Attachment)
    lease: LeaseId = NO_LEASE
    scatter: ScatterId = NO_SCATTER
    contexts: dict[str, dict[str, int]] = field(default_factory=dict)
    """By the name of the context, the data ids of what it stores, by name."""
    context: str = ""
    """The context of the task."""
    given: dict[str, dict[str, int]] = field(default_factory=dict)
    """`contexts` as they were before the task has stored something itself."""
    beside: bool = False
    """Whether it is below a member of a gang that is not the first, and may be in MPI."""


class Caller:
    """Opens scatters and asks questions, for any thread.

    Parameters
    ----------
    channel : BlockingChannel
        To the agent.
    executor : Blockable, optional
        The executor in whose process this is; None in the script.
    size : int
        Number of ranks.

    Attributes
    ----------
    post : Post
        The messages which come.
    at_end : callable or None
        Called when a task ends, with whether it returned: what it has submitted ends with it.
    comm : mpi4py.MPI.Intracomm or None
        The communicator of the gang whose task runs in this process.
    alone : bool
        Whether the task is a gang, of which this process is all if it has no communicator.
    """

    def __init__(
        self, channel: BlockingChannel, executor: Blockable | None = None, size: int = 1
    ) -> None:
        self._executor = executor
        self.post = Post(channel, executor.take if executor else None)
        self._requests = count(1)
        self._blocking: dict[int, int] = {}
        """How many threads wait for which scatters, as the agent knows it."""
        self.at_end: Callable[[bool], None] | None = None
        self.comm: Any = None
        self.alone = False
        self.size = size
        self.within = Within()
        self.store = Store(self)
        self._written: tuple[dict[str, Any], bytes] = ({}, b"{}")
        """What the tasks of the last call shared, as it was written: often the next one's too."""

    @property
    def attachment(self) -> Attachment:
        """The run's checkpoint."""
        return self.within.attachment

    @property
    def in_task(self) -> bool:
        """Whether a task calls, not the script."""
        return self._executor is not None

    # --- questions -------------------------------------------------------------------------------

    def ask(self, question: str, **facts: Any) -> tuple[Any, list[memoryview]]:
        """Ask the broker; return its answer and what comes with it.

        Raises
        ------
        MpipoolError
            Whatever the broker refused with.
        """
        request = self.next_request()
        try:
            asked = json.dumps(facts).encode()
            lease = self.within.lease
            self.send(Ask(request=request, question=question, lease=lease, parts=(asked,)))
            answer = self.wait_for(request)
        finally:
            self.forget(request)
        assert isinstance(answer, Answer)
        if not answer.ok:
            raise pickle.loads(answer.parts[0])
        found = json.loads(bytes(answer.parts[0]))
        return found, [memoryview(part) for part in answer.parts[1:]]

    # --- scatters --------------------------------------------------------------------------------

    def scatter(self, call: Call, items: Iterable[Any]) -> tuple[list[Any], dict[int, Exception]]:
        """Run a call over items; return results in their order, and the failures by index.

        Raises
        ------
        UnpicklableError
            If the function or an item can't be sent. Tasks which ran already are dropped.
        """
        with Stream(self, call) as stream:
            for item in items:
                stream.feed(item)
            stream.close()
            values: list[Any] = [None] * stream.fed
            failures: dict[int, Exception] = {}
            while stream.missing:
                for index, value, error in stream.take(to_the_end=True):
                    if error is None:
                        values[index] = value
                    else:
                        failures[index] = error
                if call.on_batch:
                    done = stream.fed - stream.missing - len(failures)
                    call.on_batch(done, len(failures), stream.take_busy())
            return values, failures

    def open(self, call: Call, taker: Taker | None = None) -> int:
        """Begin a scatter, and return the number by which its messages are known.

        Parameters
        ----------
        call : Call
            What it is to do.
        taker : Taker, optional
            Who gets these messages, and is told which tasks have begun.
        """
        if self._is_beside and (call.needs or call.previous):
            raise UsageError(
                f"{call.name()} was called by a member of a gang which is not the first one: its "
                "tasks can need no more than a core, and have no previous=; call it in the first"
            )
        function = dump_call(call.function, call.arguments, call.keywords)
        pieces = function.buffers if isinstance(function, Pieces) else [function]
        shared = self._shared_by(call)
        digest = blake2b(shared, digest_size=16)
        for piece in pieces:
            digest.update(piece)
        request = self.next_request(taker)
        self.send(
            Open(
                request=request,
                digest=digest.digest(),
                stage=call.stage,
                retries=call.retries,
                recorded=self.attachment.recorded,
                keyed=call.prefixes is not None,
                lease=self.within.lease,
                within=self.within.scatter,
                task=running.task,
                needs=call.needs,
                context=call.context,
                previous=call.previous,
                watched=taker is not None,
                keep=bool(call.options.get("keep")),
                mean=call.mean,
                parts=(shared,),
            ),
            pieces,
            # Items follow; unless somebody may change meanwhile what would have to wait for them.
            more=taker is None and not isinstance(function, Pieces),
        )
        return request

    @property
    def _is_beside(self) -> bool:
        # The gang's ranks may be busy in MPI for as long as this member does not come back.
        return self.within.beside or (self.comm is not None and self.comm.Get_rank() > 0)

    def _shared_by(self, call: Call) -> bytes:
        """Write what all tasks of a call share, for agents and executors."""
        shared = self._standing(call) | call.options
        written, packed = self._written
        if shared != written:
            packed = json.dumps(shared).encode()
            self._written = (shared, packed)
        return packed

    def _standing(self, call: Call) -> dict[str, Any]:
        """Say what there is to say of every call, whatever its options."""
        return {
            "stage": call.stage,
            "keyed": call.prefixes is not None,
            "recorded": self.attachment.recorded,
            "token": self.attachment.token,
            "results": self.attachment.results,
            "group": self.attachment.group,
            "size": self.size,
            "contexts": self.within.contexts,
            "context": call.context,
            "beside": self._is_beside,
            "sys_path": search_path(),
        }

    def run_again(self, made: Made) -> Any:
        """Run a call once more whose result was kept and is lost; return what it returns."""
        shared, pickled, item = (memoryview(part) for part in made.parts)
        written = Function(shared, pickled)
        function, arguments, keywords = written.load()
        call = Call(
            function=function,
            arguments=tuple(arguments),
            keywords=keywords,
            stage=made.stage,
            retries=made.retries,
            needs=made.needs,
        )
        standing = {"keep", *self._standing(call)}
        call.options = {name: said for name, said in written.shared.items() if name not in standing}
        values, failures = self.scatter(call, [loads(item)])
        if failures:
            raise failures[0]
        return values[0]

    # --- messages --------------------------------------------------------------------------------

    def send(
        self, message: Message, payload: Sequence[Buffer] | None = None, more: bool = False
    ) -> None:
        """Send a message to the agent; the arguments are those of `BlockingChannel.send`."""
        self.post.send(message, payload, more)

    def wait_for(self, request: int) -> Message:
        """Wait for the next message about a request; keep those about others."""
        return self.post.next(request)

    def wait_in(self, request: int, to_the_end: bool = False) -> Message:
        """Wait for the next message about a scatter; meanwhile this process is blocked in it.

        Parameters
        ----------
        request : int
            The scatter's.
        to_the_end : bool
            Whether this thread does nothing but wait until it is complete.
        """
        if self.post.has(request):
            return self.post.next(request)
        self.block(request)
        try:
            return self.post.next(request, serving=True)
        finally:
            if not to_the_end:
                self.unblock(request)

    def block(self, request: int, further: bool = False) -> None:
        """Say that this process waits for a scatter: its core is free until it goes on.

        Parameters
        ----------
        request : int
            The scatter's.
        further : bool
            Whether it has said so already of another scatter, and this came up meanwhile.
        """
        if self._executor is None:
            return
        with ARRIVED:
            self._blocking[request] = self._blocking.get(request, 0) + 1
            first = self._blocking[request] == 1
        if first:
            if not further:
                self._executor.before_waiting()
            self.send(Wait(request=request))

    def unblock(self, request: int) -> None:
        """Say that this process goes on."""
        if self._executor is None:
            return
        with ARRIVED:
            if request not in self._blocking:
                return  # it is complete
            self._blocking[request] -= 1
            last = self._blocking[request] == 0
            if last:
                del self._blocking[request]
        if last:
            self.send(Resume(request=request))

    def forget(self, request: int) -> None:
        """Drop what still comes about a request."""
        self.post.forget(request)
        self._blocking.pop(request, None)

    def next_request(self, taker: Taker | None = None) -> int:
        """Return a number for a request, about which messages are kept, or taken, from now on."""
        request = next(self._requests)
        self.post.expect(request, taker)
        return request


# --- the one of this process ---------------------------------------------------------------------

_installed: list[Caller] = []


def install(caller: Caller) -> None:
    """Make this the caller of the process."""
    _installed[:] = [caller]
    store.current[:] = [caller.store]


def installed() -> Caller | None:
    """Return the caller of this process, if there is one."""
    return _installed[0] if _installed else None


def inherit(shared: dict[str, Any], lease: LeaseId, scatter: ScatterId) -> Within:
    """Take over what the running task's scatter says; return what was so before."""
    caller = _installed[0]
    before = caller.within
    attachment = Attachment(shared["token"], shared["results"], shared["recorded"], shared["group"])
    caller.size, caller.alone = shared["size"], bool(shared.get("in_place"))
    if shared["contexts"] != before.contexts:
        ids = (ids.values() for ids in shared["contexts"].values())
        caller.store.retain(set(chain.from_iterable(ids)))
    given = shared["contexts"]
    context, beside = shared["context"], shared["beside"]
    caller.within = Within(attachment, lease, scatter, given, context, given, beside)
    return before


def go_back(within: Within) -> None:
    """Be again within what `inherit` returned."""
    _installed[0].within = within


def end_of_task(returned: bool) -> None:
    """Say that the running task has ended, and with it what it has submitted and stored."""
    if not _installed:
        return
    caller = _installed[0]
    if caller.at_end:
        caller.at_end(returned)
    within = caller.within
    if within.contexts is not within.given:
        known = chain.from_iterable(ids.values() for ids in within.given.values())
        stored = chain.from_iterable(ids.values() for ids in within.contexts.values())
        caller.store.release(map(DataId, set(stored) - set(known)))
        caller.within = replace(within, contexts=within.given)
