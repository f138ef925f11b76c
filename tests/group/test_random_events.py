"""Whatever members report, in whatever order: each task is delivered once, by its last attempt."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from builders import done, lent
from mpipool.group import Scatter
from mpipool.group.events import (
    Abandoned,
    Cancelled,
    Deliver,
    Demand,
    Drop,
    End,
    Extended,
    Give,
    RankLost,
    Release,
)
from mpipool.group.invariants import check
from mpipool.group.scatter import MAX_LOSSES
from mpipool.ids import ANY_EXECUTOR

RANKS = (1, 2, 3)
PINS = st.dictionaries(
    st.integers(0, 39), st.tuples(st.sampled_from(RANKS), st.integers(1, 2)), max_size=9
)
COSTS = (1.0, 3.0, 0.2, 0.1, 7.0, 0.1, 1.0, 5.0) * 5
HOMES = (-1, 2, -1, 3, 3, -1, 1, 2) * 5


class AnyEvents(RuleBasedStateMachine):
    """Feeds a scatter, plays its members, and keeps its own account of each task."""

    def __init__(self) -> None:
        super().__init__()
        self.retries = 1
        self.scatter = Scatter(self.retries)
        self.now = 0.0
        self.tasks = 0
        self.last = self.abandoned = False
        self.leases = {}
        self.rank_of = {}
        self.pins = {}
        self.last_lease = 0
        self.failures, self.losses = Counter(), Counter()
        self.final = set()
        self.delivered = Counter()
        self.closed = 0

    def take(self, event) -> None:
        for command in self.scatter.handle(event, self.now):
            match command:
                case Give():
                    self.check_given(command)
                    self.leases[command.lease][command.chunk] = [command.first, command.count]
                case Release(lease):
                    assert self.leases.pop(lease) == {}
                case Deliver(first, count):
                    self.delivered.update(range(first, first + count))
                case Drop(tasks):
                    self.final.update(tasks)
                    self.delivered.update(tasks)
                case Demand(closed=closed):
                    self.closed += closed
                case End(lease):
                    assert self.leases[lease]

    def check_given(self, give) -> None:
        assert not self.abandoned
        assert give.rank == self.rank_of[give.lease]
        for index in range(give.first, give.first + give.count):
            assert give.attempt == self.failures[index] + self.losses[index] + 1
            assert index not in self.final
            pin = self.pins.get(index, (give.rank, ANY_EXECUTOR))
            assert (give.rank, give.executor) == pin

    @precondition(lambda self: not self.last)
    @rule(
        count=st.integers(0, 40),
        last=st.booleans(),
        costs=st.sampled_from([(), (), COSTS]),
        homes=st.sampled_from([(), (), HOMES]),
        pins=st.one_of(st.just({}), PINS),
    )
    def items_come_in(self, count, last, costs=(), homes=(), pins=None):
        placed = {self.tasks + at: pin for at, pin in (pins or {}).items() if at < count}
        self.pins |= placed
        self.tasks, self.last = self.tasks + count, last
        pinned = tuple((index, *pin) for index, pin in placed.items())
        self.take(Extended(count, 8 * count, last, costs[:count], homes[:count], pinned))

    @rule(
        own=st.booleans(),
        quantum=st.sampled_from([0.0, 0.1, 5.0]),
        rank=st.sampled_from(RANKS),
    )
    def a_rank_is_lent(self, own, quantum, rank):
        self.last_lease += 1
        lease = -self.last_lease if own else self.last_lease
        self.leases[lease] = {}
        self.rank_of[lease] = rank
        self.take(lent(lease, rank, quantum))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), leave=st.booleans(), seconds=st.sampled_from([0.001, 0.004, 0.1]))
    def a_member_reports(self, data, leave, seconds):
        lease = data.draw(st.sampled_from(sorted(self.leases)))
        chunk = data.draw(st.sampled_from(sorted(self.leases[lease])))
        _, most = self.leases[lease][chunk]
        count = data.draw(st.integers(0, most))
        back = data.draw(st.sampled_from([0, most - count])) if count else most
        end = st.sampled_from(["done"] * 5 + ["failed", "lost", "redo"])
        ends = data.draw(st.lists(end, min_size=count, max_size=count))
        self.report(lease, chunk, ends, back, busy=seconds * count, leave=leave)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def caches_are_gone(self, data):
        lease = data.draw(st.sampled_from(sorted(self.leases)))
        chunk = data.draw(st.sampled_from(sorted(self.leases[lease])))
        first, count = self.leases[lease][chunk]
        for index in range(first, first + count):
            self.pins.pop(index, None)
        self.report(lease, chunk, [], count, gone=True)

    @rule(rank=st.sampled_from(RANKS))
    def a_rank_is_lost(self, rank):
        """What it had comes back as lost or not begun, and its caches are nowhere."""
        self.pins = {index: pin for index, pin in self.pins.items() if pin[0] != rank}
        self.take(RankLost(rank))
        for lease in [lease for lease in self.leases if self.rank_of[lease] == rank]:
            for chunk, (_, count) in list(self.leases[lease].items()):
                self.report(lease, chunk, ["lost"], count - 1, gone=True, leave=True)

    @rule(first=st.integers(0, 60), count=st.integers(1, 20))
    def some_are_cancelled(self, first, count):
        self.take(Cancelled(first, count))

    def report(self, lease, chunk, ends, back, **details) -> None:
        first, most = self.leases[lease][chunk]
        count = len(ends)
        self.leases[lease][chunk] = [first + count, most - count - back]
        if count + back == most:
            del self.leases[lease][chunk]
        by_end = {"failed": [], "lost": [], "redo": [], "done": []}
        for index, end in enumerate(ends, start=first):
            by_end[end].append(index)
            self.failures[index] += end == "failed"
            self.losses[index] += end == "lost"
            given_up = self.failures[index] > self.retries or self.losses[index] >= MAX_LOSSES
            if end == "done" or given_up:
                self.final.add(index)
        del by_end["done"]
        named = {name: tuple(indices) for name, indices in by_end.items()}
        self.take(done(lease, chunk, first, count, back=back, **named, **details))

    @rule(seconds=st.sampled_from([0.05, 1.0]))
    def time_passes(self, seconds):
        self.now += seconds

    @precondition(lambda self: self.tasks and not self.scatter.complete)
    @rule(really=st.integers(0, 9))
    def the_caller_gives_up(self, really):
        if not really:
            self.abandoned = True
            self.final = set(self.delivered)
            self.take(Abandoned())

    @invariant()
    def it_is_sound(self):
        check(self.scatter)
        if not self.abandoned:
            assert self.delivered == Counter(self.final)
        assert self.closed == self.scatter.over
        held = {lease: set(held.chunks) for lease, held in self.scatter.leases.items()}
        assert held == {lease: set(chunks) for lease, chunks in self.leases.items()}

    def teardown(self):
        """Let all the rest succeed: then every task was delivered once."""
        if not self.last:
            self.items_come_in(1, True)
        while not self.scatter.over:
            for rank in RANKS if not self.leases else ():
                self.a_rank_is_lent(False, 1e9, rank)
            lease, chunks = next(iter(self.leases.items()))
            chunk, (_, count) = next(iter(chunks.items()))
            self.report(lease, chunk, ["done"] * count, 0, busy=0.001 * count)
        self.it_is_sound()
        assert self.abandoned or self.delivered == Counter(range(self.tasks))
        assert max(self.delivered.values(), default=1) == 1


AnyEvents.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnyEvents = AnyEvents.TestCase
