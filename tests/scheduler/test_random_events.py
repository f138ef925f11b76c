"""Whatever happens, in whatever order: the invariants hold and no lease is used twice."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from builders import blocked, led_by, returned, wants
from mpipool.ids import Rank
from mpipool.scheduler import RankJoined, Scheduler
from mpipool.scheduler.cores import MAX_STACKS
from mpipool.scheduler.invariants import check


class AnyEvents(RuleBasedStateMachine):
    """Feeds a scheduler, and keeps its own account of who has what."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler()
        self.paths = {}
        self.serial = 0
        self.out = {}
        self.blocked = {}
        self.tops = {}
        self.used = set()

    def take(self, event) -> None:
        for grant in self.scheduler.handle(event):
            assert grant.lease not in self.used
            assert grant.scatter in self.paths
            assert self.may_take(grant.rank, self.paths[grant.scatter])
            self.used.add(grant.lease)
            self.out[grant.lease] = (grant.rank, grant.scatter)

    def leases_of(self, rank) -> list[int]:
        return sorted(lease for lease, (on, _) in self.out.items() if on == rank)

    def may_take(self, rank, path) -> bool:
        if not set(self.leases_of(rank)) <= self.blocked[rank]:
            return False
        tops = self.tops[rank] if self.leases_of(rank) else ()
        return len(tops) < MAX_STACKS or bool(set(tops) & set(path))

    @rule()
    def a_rank_joins(self):
        rank = Rank(len(self.blocked))
        self.blocked[rank], self.tops[rank] = set(), ()
        self.take(RankJoined(rank))

    @rule(data=st.data(), queued=st.integers(0, 4), seconds=st.sampled_from([0.0, 1.0, 1.02, 30.0]))
    def a_scatter_opens(self, data, queued, seconds):
        below = data.draw(st.sampled_from([(), *self.paths.values()]))
        self.serial += 1
        scatter = led_by(data.draw(st.integers(0, 3)), self.serial)
        self.paths[scatter] = (*below, scatter)
        self.take(wants(scatter, queued, seconds, below=below))

    @precondition(lambda self: self.paths)
    @rule(data=st.data(), queued=st.integers(0, 4), seconds=st.sampled_from([0.0, 1.0, 30.0]))
    def a_scatter_wants_something_else(self, data, queued, seconds):
        scatter = data.draw(st.sampled_from(sorted(self.paths)))
        self.take(wants(scatter, queued, seconds, below=self.paths[scatter][:-1]))

    @precondition(lambda self: self.paths)
    @rule(data=st.data())
    def a_scatter_closes(self, data):
        scatter = data.draw(st.sampled_from(sorted(self.paths)))
        path = self.paths.pop(scatter)
        self.take(wants(scatter, 0, below=path[:-1], closed=True))
        assert (scatter in self.scheduler.demands) == any(
            s == scatter for _, s in self.out.values()
        )

    @precondition(lambda self: self.out)
    @rule(data=st.data(), queued=st.integers(0, 4))
    def a_lease_returns(self, data, queued):
        lease = data.draw(st.sampled_from(sorted(self.out)))
        del self.out[lease]
        self.take(returned(lease, queued, float(queued)))

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def a_rank_is_blocked_or_resumes(self, data):
        rank = data.draw(st.sampled_from(sorted({rank for rank, _ in self.out.values()})))
        leases = data.draw(st.sets(st.sampled_from(self.leases_of(rank))))
        tops = st.lists(st.sampled_from(sorted(self.paths)), unique=True, max_size=MAX_STACKS)
        self.tops[rank] = tuple(data.draw(tops)) if leases and self.paths else ()
        self.blocked[rank] = leases
        self.take(blocked(rank, leases, self.tops[rank]))

    @invariant()
    def it_is_sound(self):
        check(self.scheduler)
        assert {lease: kept[:2] for lease, kept in self.scheduler.leases.items()} == self.out


AnyEvents.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnyEvents = AnyEvents.TestCase
