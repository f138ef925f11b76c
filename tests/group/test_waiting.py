"""In which order the tasks of a scatter are taken, and that none is counted twice or forgotten."""

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mpipool.group.waiting import Run, Waiting
from mpipool.ids import ANY_EXECUTOR, ExecutorId, Rank

ALL = 1_000
"""More tasks than wait in any of these tests."""


def waiting(*runs: Run, costs=(), homes=(), pins=None) -> Waiting:
    """Let runs wait, of whose tasks something may be known, from task 0 on."""
    made = Waiting()
    made.know(0, costs, homes)
    for index, (rank, executor) in (pins or {}).items():
        made.pins[index] = (Rank(rank), ExecutorId(executor))
    for run in runs:
        made.add(run)
    return made


def take(machine: Waiting, rank: int, most: int = ALL) -> tuple[int, int]:
    run = machine.take(Rank(rank), most)
    return run.first, run.count


def drain(machine: Waiting, rank: int, most: int = ALL) -> list[tuple[int, int]]:
    """Take for a rank whatever it may take."""
    taken = []
    while machine.has_for(Rank(rank)):
        taken.append(take(machine, rank, most))
    return taken


# --- alike tasks ---------------------------------------------------------------------------------


def test_alike_tasks_are_taken_in_their_order():
    machine = waiting(Run(0, 5, 1))
    assert (len(machine), machine.open, machine.cost, machine.pinned) == (5, 5, 0.0, ())
    assert [take(machine, 7, 2), take(machine, 8, 1), take(machine, 7, 9)] == [
        (0, 2), (2, 1), (3, 2),
    ]  # fmt: skip
    assert (len(machine), machine.open) == (0, 0)
    assert not machine.has_for(Rank(7))


def test_runs_which_go_on_where_others_end_are_one():
    machine = waiting(Run(0, 5, 1), Run(5, 5, 1), Run(11, 1, 1))
    assert list(machine.runs()) == [Run(0, 10, 1), Run(11, 1, 1)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Run(0, 1, 2), Run(1, 1, 2)),
        (Run(0, 1, 1), Run(1, 1, 2)),
        (Run(0, 1, 2), Run(1, 1, 1)),
        (Run(0, 1, 1, alone=True), Run(1, 1, 1)),
        (Run(0, 1, 1), Run(1, 1, 1, alone=True)),
        (Run(1, 1, 1), Run(0, 1, 1)),
        (Run(0, 1, 1), Run(2, 1, 1)),
    ],
)
def test_tasks_which_are_tried_again_and_those_which_are_not_next_stay_alone(first, second):
    for known in ({}, {"homes": [4, 4, 4]}):
        assert drain(waiting(first, second, **known), 4) == [
            (first.first, 1), (second.first, 1),
        ]  # fmt: skip


def test_what_is_taken_is_at_its_attempt():
    machine = waiting(Run(0, 2, 3), Run(2, 1, 1))
    assert machine.take(Rank(1), 1) == Run(0, 1, 3)
    assert machine.take(Rank(1), 5) == Run(1, 1, 3)
    assert machine.take(Rank(1), 5) == Run(2, 1, 1)


@pytest.mark.parametrize(
    "known", [{}, {"homes": [4] * 9}, {"pins": dict.fromkeys(range(9), (4, 2))}]
)
def test_what_comes_back_is_taken_first_and_in_its_order(known):
    machine = waiting(Run(5, 4, 1), **known)
    machine.add(Run(0, 3, 1), in_front=True)
    assert drain(machine, 4, 2) == [(0, 2), (2, 1), (5, 2), (7, 2)]


@pytest.mark.parametrize(
    "known", [{}, {"homes": [4] * 9}, {"pins": dict.fromkeys(range(9), (4, 2))}]
)
def test_what_comes_back_before_it_was_missed_is_one_run_again(known):
    machine = waiting(Run(0, 9, 1), **known)
    assert take(machine, 4, 3) == (0, 3)
    machine.add(Run(1, 2, 1), in_front=True)
    assert drain(machine, 4) == [(1, 8)]


# --- pins ----------------------------------------------------------------------------------------


def test_pinned_tasks_wait_for_their_rank_alone():
    machine = waiting(Run(0, 4, 1), pins={1: (5, 2), 2: (6, 3)})
    assert (len(machine), machine.open, set(machine.pinned)) == (4, 2, {5, 6})
    assert drain(machine, 9) == [(0, 1), (3, 1)]
    assert (len(machine), machine.open) == (2, 0)
    assert [machine.has_for(Rank(rank)) for rank in (5, 6, 9)] == [True, True, False]
    assert machine.take(Rank(6), 1) == Run(2, 1, 1, ExecutorId(3))
    assert machine.pinned == (5,)
    assert machine.take(Rank(5), 1) == Run(1, 1, 1, ExecutorId(2))
    assert (len(machine), machine.pinned) == (0, ())


def test_tasks_pinned_to_different_processes_of_a_rank_go_apart():
    machine = waiting(
        Run(0, 6, 1), pins={0: (5, 2), 1: (5, 2), 2: (5, 3), 3: (5, 3), 4: (5, 2), 5: (5, 2)}
    )
    assert [machine.take(Rank(5), most) for most in (9, 1, 9, 9)] == [
        Run(0, 2, 1, ExecutorId(2)), Run(2, 1, 1, ExecutorId(3)), Run(3, 1, 1, ExecutorId(3)),
        Run(4, 2, 1, ExecutorId(2)),
    ]  # fmt: skip


def test_a_pinned_task_which_is_tried_again_is_still_pinned():
    machine = waiting(Run(0, 1, 1), pins={0: (5, 2)})
    machine.take(Rank(5), 1)
    machine.add(Run(0, 1, 2, alone=True))
    assert machine.pinned == (5,)
    assert machine.take(Rank(5), 1).executor == 2


def test_a_task_whose_pin_is_gone_may_go_anywhere():
    machine = waiting(Run(0, 2, 1), pins={0: (5, 2), 1: (5, 2)})
    machine.take(Rank(5), 1)
    del machine.pins[0]
    machine.add(Run(0, 1, 1), in_front=True)
    assert (len(machine), machine.open) == (2, 1)
    assert machine.take(Rank(9), 1) == Run(0, 1, 1, ANY_EXECUTOR)


# --- homes and costs -----------------------------------------------------------------------------


def test_a_rank_takes_what_is_pinned_then_what_is_near_then_the_costliest_then_the_queue():
    known = {
        "pins": {0: (5, 2)},
        "homes": [-1, 5, -1, -1, 6, -1],
        "costs": [1.0, 1.0, 1.0, 3.0, 9.0],
    }
    assert drain(waiting(Run(0, 6, 1), **known), 5) == [
        (0, 1),
        (1, 1),
        (3, 1),
        (2, 1),
        (5, 1),
        (4, 1),
    ]


def test_the_costliest_go_first_singly_and_of_equal_ones_the_first():
    machine = waiting(Run(0, 5, 1), costs=[1.0, 2.0, 5.0, 2.0, 5.0])
    assert drain(machine, 3) == [(2, 1), (4, 1), (1, 1), (3, 1), (0, 1)]


def test_of_some_tasks_the_cost_is_not_known():
    machine = waiting(Run(0, 4, 1), costs=[-1.0, 2.0, -1.0, 0.0])
    assert (machine.cost, machine.priced, machine.cost_of(0)) == (2.0, 2, None)
    assert drain(machine, 3) == [(1, 1), (3, 1), (0, 1), (2, 1)]


def test_what_is_near_others_is_taken_from_where_most_tasks_wait():
    homes = [1, 1, 1, 1, 1, 2, -1, 2, -1, 2]  # one run of five near 1, three of one near 2
    machine = waiting(Run(0, 6, 1), Run(7, 1, 1), Run(9, 1, 1), homes=homes)
    assert [take(machine, 3, 2) for _ in range(4)] == [(0, 2), (2, 2), (5, 1), (7, 1)]
    assert take(machine, 1) == (4, 1)
    assert take(machine, 1) == (9, 1)
    assert len(machine) == 0


def test_the_queue_comes_before_what_is_near_others():
    machine = waiting(Run(0, 3, 1), homes=[1, -1, 2])
    assert take(machine, 3) == (1, 1)


def test_the_costs_which_are_known_are_summed_up_over_what_may_go_anywhere():
    machine = waiting(Run(0, 5, 1), costs=[1.0, 2.0, 4.0], homes=[-1, 7], pins={2: (5, 2)})
    assert (machine.cost, machine.priced, machine.open) == (3.0, 2, 4)
    take(machine, 7)
    assert (machine.cost, machine.priced, machine.open) == (1.0, 1, 3)
    take(machine, 5)
    assert (machine.cost, machine.priced, machine.open) == (1.0, 1, 3)
    machine.add(Run(1, 1, 2))
    assert (machine.cost, machine.priced) == (3.0, 2)
    machine.clear()
    assert (machine.cost, machine.priced, len(machine), machine.pinned) == (0.0, 0, 0, ())
    assert list(machine.runs()) == []


def test_nothing_is_left_of_costs_when_nothing_waits_with_one():
    chance = random.Random(1)
    costs = [chance.expovariate(1.0) for _ in range(1000)]
    machine = waiting(Run(0, 1001, 1), costs=costs)
    for _ in range(1000):
        machine.take(Rank(1), 1)
    assert (machine.open, machine.priced, machine.cost) == (1, 0, 0.0)


def test_what_is_known_of_tasks_can_be_forgotten():
    machine = waiting(Run(0, 3, 1), costs=[1.0, 1.0, 1.0], homes=[4, 4, 4], pins={2: (5, 2)})
    drain(machine, 4)
    drain(machine, 5)
    machine.forget(range(1, 3))
    assert machine.pins == {}
    machine.add(Run(2, 1, 1))
    assert (machine.open, machine.priced) == (1, 0)
    machine.add(Run(0, 1, 1))
    assert (machine.open, machine.priced) == (2, 1)
    assert drain(machine, 4) == [(0, 1), (2, 1)]  # only 0 is still known to be near


# --- cancelling ----------------------------------------------------------------------------------


def test_tasks_are_cancelled_wherever_they_wait_and_the_others_keep_their_places():
    known = {
        "pins": {0: (5, 2), 1: (6, 2), 2: (6, 2)},
        "homes": [-1, -1, -1, 7, 7, 8],
        "costs": [1.0] * 8,
    }
    machine = waiting(Run(0, 12, 1), Run(12, 1, 2), **known)
    assert machine.cancel(1, 3) == [1, 2, 3]
    assert (len(machine), machine.open, machine.cost, machine.pinned) == (10, 9, 4.0, (5,))
    assert machine.cancel(5, 2) == [5, 6]
    assert machine.cost == 2.0
    assert machine.cancel(9, 2) == [9, 10]
    assert machine.cancel(12, 100) == [12]
    assert machine.cancel(0, 4) == [0]
    assert drain(machine, 5) == [(7, 1), (8, 1), (11, 1), (4, 1)]
    assert machine.cost == 0.0
    assert machine.cancel(0, 100) == []


def test_what_is_left_after_cancelling_is_still_taken_by_its_cost():
    chance = random.Random(1)
    costs = [chance.random() for _ in range(200)]
    machine = waiting(Run(0, 200, 1), costs=costs)
    machine.cancel(0, 90)
    left = sorted(range(90, 200), key=lambda index: -costs[index])
    assert drain(machine, 1) == [(index, 1) for index in left]


@pytest.mark.parametrize(
    ("first", "count", "left"),
    [
        (2, 6, []), (0, 10, []), (2, 2, [(4, 4)]), (5, 9, [(2, 3)]), (4, 1, [(2, 2), (5, 3)]),
        (0, 2, [(2, 6)]), (8, 2, [(2, 6)]), (4, 0, [(2, 6)]),
    ],
)  # fmt: skip
def test_a_run_is_cut_around_what_is_cancelled(first, count, left):
    machine = waiting(Run(2, 6, 1))
    expected = sorted(set(range(first, first + count)) & set(range(2, 8)))
    assert machine.cancel(first, count) == expected
    assert len(machine) == 6 - len(expected)
    assert drain(machine, 1) == left


def test_what_is_taken_can_not_be_cancelled():
    machine = waiting(Run(0, 4, 1))
    take(machine, 1, 2)
    assert machine.cancel(0, 4) == [2, 3]


def test_a_task_which_must_go_alone_still_does_after_others_were_cancelled():
    machine = waiting(Run(0, 1, 1, alone=True), Run(1, 1, 1), Run(2, 1, 1))
    assert machine.cancel(2, 1) == [2]
    assert drain(machine, 1) == [(0, 1), (1, 1)]


# --- anything ------------------------------------------------------------------------------------


class AnyTasks(RuleBasedStateMachine):
    """Compares with a list of single tasks, each with what is known of it."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Waiting()
        self.waiting: dict[int, int] = {}  # task to attempt
        self.out: dict[int, int] = {}
        self.costs: dict[int, float] = {}
        self.homes: dict[int, int] = {}
        self.tasks = 0

    @rule(
        count=st.integers(0, 6),
        costs=st.sampled_from([(), (0.1, 0.7, 0.3, 1e-3, 0.1, 2.0)]),
        homes=st.sampled_from([(), (), (-1, 1, 1, -1, 2, 1)]),
        pins=st.sampled_from([{}, {}, {0: (1, 1), 3: (1, 2), 4: (2, 1)}]),
    )
    def tasks_come_in(self, count, costs, homes, pins):
        self.machine.know(self.tasks, costs[:count], homes[:count])
        for at in range(count):
            self.costs.update({self.tasks + at: costs[at]} if costs else {})
            self.homes.update({self.tasks + at: homes[at]} if homes and homes[at] >= 0 else {})
            if at in pins:
                self.machine.pins[self.tasks + at] = pins[at]
        if count:
            self.machine.add(Run(self.tasks, count, 1))
        self.waiting.update(dict.fromkeys(range(self.tasks, self.tasks + count), 1))
        self.tasks += count

    @rule(rank=st.integers(1, 3), most=st.integers(1, 4))
    def a_rank_takes_some(self, rank, most):
        mine = {index for index in self.waiting if self.pin(index, rank) == rank}
        assert self.machine.has_for(rank) == bool(mine)
        if not mine:
            return
        run = self.machine.take(rank, most)
        taken = range(run.first, run.first + run.count)
        assert mine.issuperset(taken)
        assert run.count <= most
        assert self.best(rank, mine).issuperset(taken)
        for index in taken:
            assert self.machine.pins.get(index, (rank, ANY_EXECUTOR))[1] == run.executor
            assert self.waiting[index] == run.attempt
            self.out[index] = self.waiting.pop(index)

    def pin(self, index, otherwise):
        return self.machine.pins.get(index, (otherwise, 0))[0]

    def best(self, rank, mine):
        """Those which the rank may take now: of the first kind of which there are any."""
        pins = self.machine.pins
        kinds = [
            {index for index in mine if index in pins},
            {index for index in mine if self.homes.get(index) == rank},
            {index for index in mine if index in self.costs and index not in self.homes},
            {index for index in mine if index not in self.homes},
        ]
        kinds[1:] = [kind - pins.keys() for kind in kinds[1:]]
        dearest = max((self.costs[index] for index in kinds[2]), default=0.0)
        kinds[2] = {index for index in kinds[2] if self.costs[index] == dearest}
        return next((kind for kind in kinds if kind), mine)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), again=st.booleans(), gone=st.booleans(), in_front=st.booleans())
    def one_comes_back(self, data, again, gone, in_front):
        index = data.draw(st.sampled_from(sorted(self.out)))
        attempt = self.out.pop(index) + again
        if gone:
            self.machine.pins.pop(index, None)
        self.machine.add(Run(index, 1, attempt, alone=again), in_front)
        self.waiting[index] = attempt

    @rule(data=st.data())
    def the_rest_is_forgotten(self, data):
        some = data.draw(st.sets(st.sampled_from(sorted(self.out)))) if self.out else set()
        self.machine.forget(some)
        for index in some:
            del self.out[index]

    @rule(first=st.integers(0, 30), count=st.integers(0, 9))
    def some_are_cancelled(self, first, count):
        doomed = sorted(self.waiting.keys() & set(range(first, first + count)))
        assert self.machine.cancel(first, count) == doomed
        for index in doomed:
            del self.waiting[index]

    @invariant()
    def nothing_is_miscounted(self):
        found = [
            (index, run.attempt)
            for run in self.machine.runs()
            for index in range(run.first, run.first + run.count)
        ]
        assert sorted(found) == sorted(self.waiting.items())
        pinned = {index for index in self.waiting if index in self.machine.pins}
        assert len(self.machine) == len(self.waiting)
        assert self.machine.open == len(self.waiting) - len(pinned)
        assert set(self.machine.pinned) == {self.machine.pins[index][0] for index in pinned}
        costs = [self.costs[index] for index in self.waiting.keys() - pinned if index in self.costs]
        assert self.machine.priced == len(costs)
        assert self.machine.cost == pytest.approx(sum(costs), abs=1e-12)
        assert costs or self.machine.cost == 0.0


AnyTasks.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnyTasks = AnyTasks.TestCase
