"""Whatever messages cross on their way, a scatter never waits for ranks that nobody will lend."""

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from builders import done, lent
from mpipool.group import Scatter
from mpipool.group.events import Cancelled, Demand, Extended, Give, Release
from mpipool.group.invariants import check
from mpipool.ids import ANY_EXECUTOR

LEADER = 1
RANKS = (LEADER, 2, 3)
PINS = st.dictionaries(
    st.integers(0, 9), st.tuples(st.sampled_from(RANKS), st.integers(1, 2)), max_size=9
)


class StingyScheduler:
    """Lends what it was told of and not a rank more: it has one lease per rank, and takes each to
    serve both a task that may go anywhere and those which are pinned to the rank."""

    def __init__(self) -> None:
        self.queued = 0
        self.pins: set[int] = set()
        self.lent: dict[int, int] = {}
        self.last_lease = 0

    def take(self, command: Demand | Release) -> None:
        if isinstance(command, Release):
            del self.lent[command.lease]
        self.queued, self.pins = command.queued, set(command.pins)

    def may_lend(self) -> list[int]:
        free = [rank for rank in RANKS if rank not in self.lent.values()]
        return [rank for rank in free if self.queued or rank in self.pins]

    def lend(self, rank: int) -> int:
        self.last_lease += 1
        self.lent[self.last_lease] = rank
        self.queued = max(self.queued - 1, 0)
        self.pins.discard(rank)
        return self.last_lease


class AnyOrder(RuleBasedStateMachine):
    """A leader, a scheduler and members, with messages which take their time."""

    def __init__(self) -> None:
        super().__init__()
        self.scatter = Scatter(retries=1)
        self.scheduler = StingyScheduler()
        self.to_scheduler: deque = deque()
        self.to_leader: deque = deque()
        self.chunks: dict[int, dict[int, Give]] = {}
        self.own_leases = 0
        self.own = False
        self.now = 0.0
        self.last = False

    def take(self, event) -> None:
        for command in self.scatter.handle(event, self.now):
            match command:
                case Give(lease=lease, chunk=chunk):
                    self.chunks.setdefault(lease, {})[chunk] = command
                case Release(lease=lease) if lease < 0:
                    self.own = False
                case Release() | Demand():
                    self.to_scheduler.append(command)
        check(self.scatter)

    @precondition(lambda self: not self.last)
    @rule(count=st.integers(0, 10), last=st.booleans(), pins=PINS, priced=st.booleans())
    def items_come_in(self, count, last, pins, priced):
        first = self.scatter.tasks
        pinned = tuple((first + at, *pin) for at, pin in pins.items() if at < count)
        costs = tuple(range(1, count + 1)) if priced else ()
        self.last = last
        self.take(Extended(count, 8 * count, last, costs, (), pinned))

    @precondition(lambda self: self.to_scheduler)
    @rule()
    def the_scheduler_hears(self):
        self.scheduler.take(self.to_scheduler.popleft())

    @precondition(lambda self: self.scheduler.may_lend())
    @rule(data=st.data(), quantum=st.sampled_from([0.0, 0.1, 5.0]))
    def the_scheduler_lends(self, data, quantum):
        rank = data.draw(st.sampled_from(self.scheduler.may_lend()))
        self.to_leader.append(lent(self.scheduler.lend(rank), rank, quantum))

    @precondition(lambda self: self.to_leader)
    @rule()
    def the_leader_hears(self):
        self.take(self.to_leader.popleft())

    @precondition(lambda self: self.scatter.waiting.open and not self.own)
    @rule()
    def the_leader_lends_its_own_core(self):
        self.own_leases += 1
        self.own = True
        self.take(lent(-self.own_leases, LEADER, 1e9))

    @precondition(lambda self: any(self.chunks.values()))
    @rule(
        data=st.data(),
        end=st.sampled_from(["done"] * 6 + ["failed", "lost", "redo", "back", "gone"]),
        leave=st.booleans(),
        seconds=st.sampled_from([0.001, 0.1]),
    )
    def a_member_reports(self, data, end, leave, seconds):
        lease = data.draw(st.sampled_from(sorted(k for k, held in self.chunks.items() if held)))
        give = self.chunks[lease].pop(data.draw(st.sampled_from(sorted(self.chunks[lease]))))
        gone = end == "gone" and give.executor != ANY_EXECUTOR
        back = give.count if end == "back" or gone else data.draw(st.integers(0, give.count - 1))
        count = give.count - back
        ends = {end: (give.first,)} if end in {"failed", "lost", "redo"} else {}
        details = {"busy": seconds * count, "leave": leave, "gone": gone, **ends}
        self.take(done(lease, give.chunk, give.first, count, back=back, **details))

    @rule(first=st.integers(0, 20), count=st.integers(1, 4))
    def some_are_cancelled(self, first, count):
        self.take(Cancelled(first, count))

    @rule(seconds=st.sampled_from([0.05, 1.0]))
    def time_passes(self, seconds):
        self.now += seconds

    @invariant()
    def the_scheduler_knows_of_all_that_waits(self):
        """At least when no message is on its way; or cores would be idle beside waiting tasks."""
        if self.to_scheduler or self.to_leader:
            return
        here = {lease.rank for lease in self.scatter.leases.values()}
        assert self.scheduler.queued >= self.scatter.waiting.open
        assert self.scheduler.pins >= set(self.scatter.waiting.pinned) - here

    def teardown(self):
        """Deliver all messages, and let members end their tasks: then the scatter is over."""
        if not self.last:
            self.take(Extended(0, 0, True))
        while self.goes_on():
            pass
        waiting = list(self.scatter.waiting.runs())
        assert self.scatter.over, f"nobody lends a rank for {waiting}"
        assert self.scheduler.lent == {}

    def goes_on(self) -> bool:
        """Do one thing that happens by itself; False if there is none."""
        if self.to_scheduler:
            self.the_scheduler_hears()
        elif self.to_leader:
            self.the_leader_hears()
        elif busy := [lease for lease, held in self.chunks.items() if held]:
            _, give = self.chunks[busy[0]].popitem()
            self.take(done(busy[0], give.chunk, give.first, give.count, busy=0.001))
        elif ranks := self.scheduler.may_lend():
            self.to_leader.append(lent(self.scheduler.lend(ranks[0]), ranks[0]))
        else:
            return False
        return True


AnyOrder.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase
