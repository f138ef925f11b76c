"""Which task goes to which rank that a scatter was lent: events in, whole lists of commands out."""

import pytest

from builders import done, give, lent, scatter_of
from mpipool.errors import InvalidEvent
from mpipool.group import Scatter
from mpipool.group.events import (
    Abandoned,
    Cancelled,
    Deliver,
    Demand,
    Done,
    Drop,
    End,
    Extended,
    Release,
)
from mpipool.group.invariants import check
from mpipool.group.waiting import Run

MS = 2**-10
"""A duration, about a millisecond, that sums up exactly. Ten tasks of it make a chunk."""
CLOSED_AFTER_3 = Demand(0, 0.0, 3, closed=True)


def played(machine: Scatter, *events, now: float = 0.0):
    """Return the commands after each event; the invariants hold in between."""
    commands = []
    for event in events:
        commands.append(machine.handle(event, now))
        check(machine)
    return commands


def release(
    lease: int, queued: int = 0, seconds: float = 0.0, pins: tuple[int, ...] = ()
) -> Release:
    return Release(lease, queued, seconds, pins)


def wait(queued: int, tasks: int, seconds: float = 0.0, pins: tuple[int, ...] = ()) -> Demand:
    return Demand(queued, seconds, tasks, pins=pins)


def queue(machine: Scatter) -> list[Run]:
    return list(machine.waiting.runs())


def test_a_report_is_of_success_unless_it_says_otherwise():
    assert Done(1, 2, 3, 4) == Done(1, 2, 3, 4, 0, (), (), (), 0.0, False, False)
    assert Demand(1, 2.0, 3) == Demand(1, 2.0, 3, False, ())
    assert Release(1, 2, 3.0) == Release(1, 2, 3.0, ())
    assert Extended(1, 8, True) == Extended(1, 8, True, (), (), ())


# --- one rank, task by task ----------------------------------------------------------------------


def test_a_scatter_of_three_long_tasks_from_beginning_to_end():
    machine = Scatter()
    assert played(
        machine,
        Extended(3, 24, True),
        lent(1, rank=4),
        done(1, 1, 0, busy=2.0),
        done(1, 2, 1, busy=2.0),
        done(1, 3, 2, busy=2.0, failed=(2,)),
    ) == [
        [wait(3, 3)],
        [give(1, 1, 0, rank=4)],
        [Deliver(0, 1), give(1, 2, 1, rank=4)],
        [Deliver(1, 1), give(1, 3, 2, rank=4), wait(0, 3)],
        [Deliver(2, 1), release(1), CLOSED_AFTER_3],
    ]
    assert machine.complete
    assert machine.over


def test_a_scatter_is_complete_when_all_items_are_in_and_delivered():
    machine = Scatter()
    assert played(machine, Extended(1, 8, False), lent(1), done(1, 1, 0, busy=1.0)) == [
        [wait(1, 1)],
        [give(1, 1, 0)],
        [Deliver(0, 1), release(1)],
    ]
    assert not machine.complete
    assert played(machine, Extended(1, 8, True)) == [[wait(1, 2, 1.0)]]
    assert not machine.complete
    assert played(machine, lent(2), done(2, 2, 1, busy=1.0)) == [
        [give(2, 2, 1)],
        [Deliver(1, 1), release(2), Demand(0, 0.0, 2, closed=True)],
    ]
    assert machine.complete


def test_the_end_of_the_items_may_come_by_itself():
    machine = Scatter()
    played(machine, Extended(1, 8, False), lent(1), done(1, 1, 0))
    assert played(machine, Extended(0, 0, True)) == [[Demand(0, 0.0, 1, closed=True)]]


def test_a_scatter_of_nothing_is_over_at_once():
    machine = Scatter()
    assert not machine.complete
    assert played(machine, Extended(0, 0, False), Extended(0, 0, True)) == [
        [],
        [Demand(0, 0.0, 0, closed=True)],
    ]
    assert machine.over


def test_a_message_without_items_leaves_no_trace_in_the_queue():
    machine = Scatter()
    assert played(machine, Extended(0, 0, False), Extended(1, 8, False), Extended(0, 0, True)) == [
        [],
        [wait(1, 1)],
        [],
    ]
    assert len(queue(machine)) == 1
    assert played(machine, lent(1)) == [[give(1, 1, 0)]]


def test_items_teach_their_size():
    machine = Scatter()
    played(machine, Extended(3, 24, False), Extended(2, 100, True))
    assert (machine.pace.items, machine.pace.size) == (5, 124)


# --- chunks --------------------------------------------------------------------------------------


def test_short_tasks_go_in_chunks_and_a_second_chunk_ahead():
    machine = scatter_of(100, mean=MS)
    assert played(
        machine,
        lent(1, rank=1),
        lent(2, rank=2),
        done(1, 1, 0, 10, busy=10 * MS),
        done(2, 3, 20, 10, busy=10 * MS),
    ) == [
        [give(1, 1, 0, 10), give(1, 2, 10, 10)],
        [give(2, 3, 20, 10, rank=2), give(2, 4, 30, 10, rank=2)],
        [Deliver(0, 10), give(1, 5, 40, 10)],
        [Deliver(20, 10), give(2, 6, 50, 10, rank=2)],
    ]


def test_chunks_shrink_towards_the_end_and_more_so_with_more_members():
    machine = scatter_of(10, mean=MS)
    assert played(
        machine,
        lent(1),
        lent(2, rank=2),
        done(1, 1, 0, 5, busy=5 * MS),
        done(1, 2, 5, 3, busy=3 * MS),
        done(2, 3, 8, busy=MS),
        done(2, 4, 9, busy=MS),
    ) == [
        [give(1, 1, 0, 5), give(1, 2, 5, 3)],
        [give(2, 3, 8, rank=2), give(2, 4, 9, rank=2), wait(0, 10)],
        [Deliver(0, 5)],
        [Deliver(5, 3), release(1)],
        [Deliver(8, 1)],
        [Deliver(9, 1), release(2), Demand(0, 0.0, 10, closed=True)],
    ]


def test_part_of_a_chunk_is_taken_in_before_the_rest():
    machine = scatter_of(100, mean=MS)
    assert played(
        machine,
        lent(1),
        done(1, 1, 0, 4, busy=4 * MS),
        done(1, 1, 4, 5, busy=5 * MS),
        done(1, 1, 9, 1, busy=MS),
    ) == [
        [give(1, 1, 0, 10), give(1, 2, 10, 10)],
        [Deliver(0, 4)],
        [Deliver(4, 5)],
        [Deliver(9, 1), give(1, 3, 20, 10)],
    ]


def test_long_tasks_get_no_second_chunk_ahead():
    machine = scatter_of(3, mean=0.05)
    assert played(machine, lent(1)) == [[give(1, 1, 0)]]


def test_the_durations_are_learnt_from_tasks_which_ended_by_themselves():
    machine = scatter_of(8, retries=1, mean=MS)
    assert played(machine, lent(1)) == [[give(1, 1, 0, 4), give(1, 2, 4, 2)]]
    machine.pace.mean = None
    played(machine, done(1, 1, 0, 4, failed=(1,), redo=(0,), lost=(3,), busy=3.0))
    assert machine.pace.mean == 1.5  # of two: one done, one failed


# --- leases --------------------------------------------------------------------------------------


def test_after_its_quantum_a_rank_is_returned():
    machine = scatter_of(9, mean=1.0)
    assert played(machine, lent(1, quantum=0.5), now=8.0) == [[give(1, 1, 0)]]
    assert played(machine, done(1, 1, 0, busy=1.0), now=8.49) == [[Deliver(0, 1), give(1, 2, 1)]]
    assert played(machine, done(1, 2, 1, busy=1.0), now=8.5) == [
        [Deliver(1, 1), release(1, 7, 7.0)]
    ]
    assert machine.leases == {}


def test_after_its_quantum_a_rank_is_returned_with_its_last_chunk():
    machine = scatter_of(100, mean=MS)
    played(machine, lent(1, quantum=0.5))
    assert played(machine, done(1, 1, 0, 10, busy=10 * MS), now=0.6) == [[Deliver(0, 10)]]
    assert played(machine, done(1, 2, 10, 10, busy=10 * MS), now=0.7) == [
        [Deliver(10, 10), release(1, 80, 80 * MS)]
    ]


def test_a_member_that_wants_to_leave_leaves_with_its_last_chunk():
    machine = scatter_of(100, mean=MS)
    assert played(
        machine,
        lent(1),
        done(1, 1, 0, 10, busy=10 * MS, leave=True),
        done(1, 2, 10, 10, busy=10 * MS),
    ) == [
        [give(1, 1, 0, 10), give(1, 2, 10, 10)],
        [Deliver(0, 10)],
        [Deliver(10, 10), release(1, 80, 80 * MS)],
    ]


def test_a_rank_is_returned_at_once_when_nothing_is_queued():
    machine = scatter_of(1)
    assert played(machine, lent(1), lent(2, rank=2)) == [[give(1, 1, 0)], [release(2)]]


def test_a_rank_that_comes_after_the_end_is_returned_and_nothing_else_is_said():
    machine = scatter_of(1)
    played(machine, lent(1), done(1, 1, 0))
    assert machine.over
    assert played(machine, lent(2, rank=2)) == [[release(2)]]


def test_a_released_rank_may_be_lent_again():
    machine = scatter_of(2, mean=1.0)
    played(machine, lent(1))
    assert played(machine, done(1, 1, 0, busy=1.0, leave=True), lent(2)) == [
        [Deliver(0, 1), release(1, 1, 1.0)],
        [give(2, 2, 1)],
    ]


# --- what comes back -----------------------------------------------------------------------------


def test_what_comes_back_unstarted_goes_to_the_front_of_the_queue():
    machine = scatter_of(100, mean=MS)
    assert played(
        machine,
        lent(1),
        done(1, 1, 0, 3, back=4, busy=3 * MS),
        done(1, 1, 3, 3, busy=3 * MS),
    ) == [
        [give(1, 1, 0, 10), give(1, 2, 10, 10)],
        [Deliver(0, 3)],
        [Deliver(3, 3), give(1, 3, 6, 4)],
    ]
    assert queue(machine)[0].first == 20


def test_a_chunk_may_come_back_whole():
    machine = scatter_of(100, mean=MS)
    assert played(
        machine,
        lent(1),
        done(1, 2, 10, 0, back=10, leave=True),
        done(1, 1, 0, 0, back=10),
        lent(2, rank=2),
    ) == [
        [give(1, 1, 0, 10), give(1, 2, 10, 10)],
        [],
        [release(1, 100, 100 * MS)],
        [give(2, 3, 0, 10, rank=2), give(2, 4, 10, 10, rank=2)],
    ]


def test_what_comes_back_is_still_at_its_attempt():
    machine = scatter_of(2, retries=1, mean=1.0)
    assert played(
        machine,
        lent(1),
        done(1, 1, 0, failed=(0,), busy=1.0),
        done(1, 2, 1, busy=1.0),
        done(1, 3, 0, 0, back=1),
        lent(2),
    ) == [
        [give(1, 1, 0)],
        [give(1, 2, 1)],
        [Deliver(1, 1), give(1, 3, 0, attempt=2), wait(0, 2)],
        [release(1, 1, 1.0)],  # its process was blocked, and would send it back again and again
        [give(2, 4, 0, attempt=2)],
    ]
    assert machine.attempt(2, 4) == 2


# --- failures ------------------------------------------------------------------------------------


def test_a_failure_without_retries_is_final():
    machine = scatter_of(20, mean=MS)
    assert played(machine, lent(1), done(1, 1, 0, 10, failed=(3, 9), busy=10 * MS)) == [
        [give(1, 1, 0, 10), give(1, 2, 10, 5)],
        [Deliver(0, 10), give(1, 3, 15, 3)],
    ]


@pytest.mark.parametrize(
    ("failed", "delivered"),
    [
        ((3,), [Deliver(0, 3), Deliver(4, 6)]),
        ((0,), [Deliver(1, 9)]),
        ((9,), [Deliver(0, 9)]),
        ((4, 5), [Deliver(0, 4), Deliver(6, 4)]),
        ((7, 2), [Deliver(0, 2), Deliver(3, 4), Deliver(8, 2)]),
        (tuple(range(10)), []),
    ],
)
def test_outcomes_are_delivered_around_those_which_are_tried_again(failed, delivered):
    machine = scatter_of(100, retries=1, mean=MS)
    played(machine, lent(1))
    done_now = done(1, 1, 0, 10, failed=failed, busy=10 * MS, leave=True)
    assert played(machine, done_now) == [delivered]
    assert machine.delivered == 10 - len(failed)
    again = [(run.first, run.count, run.attempt) for run in queue(machine)]
    assert again == [(20, 80, 1), *[(index, 1, 2) for index in sorted(failed)]]


def test_a_failed_task_is_tried_again_alone_behind_the_others_and_its_last_outcome_is_delivered():
    machine = scatter_of(4, retries=2, mean=MS)
    assert played(
        machine,
        lent(1),
        done(1, 1, 0, 2, failed=(0, 1), busy=2 * MS),
        done(1, 2, 2, busy=MS),
        done(1, 3, 3, busy=MS),
        done(1, 4, 0, failed=(0,), busy=MS),
        done(1, 5, 1, busy=MS),
        done(1, 6, 0, failed=(0,), busy=MS),
    ) == [
        [give(1, 1, 0, 2), give(1, 2, 2)],
        [give(1, 3, 3)],
        [Deliver(2, 1), give(1, 4, 0, attempt=2)],
        [Deliver(3, 1), give(1, 5, 1, attempt=2), wait(0, 4)],
        [give(1, 6, 0, attempt=3)],
        [Deliver(1, 1)],
        [Deliver(0, 1), release(1), Demand(0, 0.0, 4, closed=True)],
    ]


def test_a_task_which_is_lost_is_tried_again_twice_and_each_attempt_has_a_number():
    machine = scatter_of(1)
    assert played(
        machine,
        lent(1),
        done(1, 1, 0, lost=(0,)),
        done(1, 2, 0, lost=(0,)),
        done(1, 3, 0, lost=(0,)),
    ) == [
        [give(1, 1, 0)],
        [give(1, 2, 0, attempt=2)],
        [give(1, 3, 0, attempt=3)],
        [Deliver(0, 1), release(1), Demand(0, 0.0, 1, closed=True)],
    ]


def test_losses_are_counted_for_each_task_by_itself_and_apart_from_failures():
    machine = scatter_of(2, retries=1, mean=1.0)
    assert played(
        machine,
        lent(1),
        done(1, 1, 0, lost=(0,)),
        done(1, 2, 1, lost=(1,)),
        done(1, 3, 0, lost=(0,)),
        done(1, 4, 1, lost=(1,)),
        done(1, 5, 0, failed=(0,), busy=1.0),
        done(1, 6, 1, busy=1.0),
        done(1, 7, 0, failed=(0,), busy=1.0),
    ) == [
        [give(1, 1, 0)],
        [give(1, 2, 1)],
        [give(1, 3, 0, attempt=2)],
        [give(1, 4, 1, attempt=2)],
        [give(1, 5, 0, attempt=3)],
        [give(1, 6, 1, attempt=3)],
        [Deliver(1, 1), give(1, 7, 0, attempt=4), wait(0, 2)],
        [Deliver(0, 1), release(1), Demand(0, 0.0, 2, closed=True)],
    ]


def test_a_task_whose_outcome_went_down_with_another_is_run_again_however_often():
    machine = scatter_of(1)
    assert played(machine, lent(1)) == [[give(1, 1, 0)]]
    for chunk in range(1, 9):
        assert played(machine, done(1, chunk, 0, redo=(0,))) == [[give(1, chunk + 1, 0)]]
    assert played(machine, done(1, 9, 0)) == [
        [Deliver(0, 1), release(1), Demand(0, 0.0, 1, closed=True)]
    ]


def test_when_a_process_dies_what_had_ended_is_run_again_and_what_had_not_begun_comes_first():
    machine = scatter_of(100, retries=0, mean=MS)
    played(machine, lent(1))
    died = done(1, 1, 0, 4, back=6, redo=(0, 1, 2), failed=(3,), busy=MS)
    assert played(machine, died) == [[Deliver(3, 1), give(1, 3, 4, 6)]]
    assert [(run.first, run.count, run.attempt) for run in queue(machine)] == [
        (20, 80, 1), (0, 1, 1), (1, 1, 1), (2, 1, 1),
    ]  # fmt: skip


# --- what the scheduler is told ------------------------------------------------------------------


def test_more_tasks_than_the_scheduler_reckons_with_are_reported():
    machine = Scatter()
    assert played(machine, Extended(5, 40, False), Extended(3, 24, True)) == [
        [wait(5, 5)],
        [wait(8, 8)],
    ]


def test_each_rank_lent_leaves_the_scheduler_with_one_task_less():
    machine = Scatter()
    played(machine, Extended(4, 32, False))
    assert played(machine, lent(1), lent(2, rank=2), Extended(1, 8, False)) == [
        [give(1, 1, 0)],
        [give(2, 2, 1, rank=2)],
        [wait(3, 5)],
    ]


def test_its_own_core_is_not_known_to_the_scheduler():
    machine = Scatter()
    played(machine, Extended(4, 32, False))
    assert played(machine, lent(-1), Extended(1, 8, False), Extended(1, 8, False)) == [
        [give(-1, 1, 0)],
        [],  # four are queued, as the scheduler believes
        [wait(5, 6)],
    ]


def test_a_returned_rank_brings_the_news_itself():
    machine = scatter_of(100, mean=MS)
    played(machine, lent(1), lent(2, rank=2))
    played(machine, done(1, 1, 0, 10, busy=10 * MS, leave=True))
    assert played(
        machine,
        done(1, 2, 10, 10, busy=10 * MS),
        done(2, 3, 20, 0, back=10, leave=True),
    ) == [
        [Deliver(10, 10), release(1, 60, 60 * MS)],
        [wait(70, 100, 70 * MS)],
    ]


def test_its_own_core_brings_no_news():
    machine = scatter_of(100, mean=MS)
    played(machine, lent(-1), lent(2, rank=2))
    played(machine, done(-1, 1, 0, 10, busy=10 * MS, leave=True))
    assert played(
        machine,
        done(-1, 2, 10, 10, busy=10 * MS),
        done(2, 3, 20, 0, back=10, leave=True),
    ) == [[Deliver(10, 10), release(-1, 60, 60 * MS)], []]


def test_an_empty_queue_is_reported_once_and_a_refilled_one_again():
    machine = scatter_of(2, retries=1, mean=1.0)
    assert played(
        machine,
        lent(-1),
        lent(2, rank=2),
        lent(-2),
        done(-1, 1, 0, failed=(0,), busy=1.0, leave=True),
        done(2, 2, 1, busy=1.0),
        done(2, 3, 0, busy=1.0),
    ) == [
        [give(-1, 1, 0)],
        [give(2, 2, 1, rank=2), wait(0, 2)],
        [release(-2)],
        [release(-1, 1, 1.0), wait(1, 2, 1.0)],
        [Deliver(1, 1), give(2, 3, 0, attempt=2, rank=2), wait(0, 2)],
        [Deliver(0, 1), release(2), Demand(0, 0.0, 2, closed=True)],
    ]


# --- tasks which must or should go somewhere -----------------------------------------------------


def pinned(*pins: tuple[int, int, int], tasks: int, last: bool = True, **known) -> Extended:
    return Extended(tasks, 8 * tasks, last, pins=pins, **known)


def test_pinned_tasks_go_to_their_rank_and_the_process_which_holds_their_caches():
    machine = Scatter()
    assert played(
        machine,
        pinned((0, 4, 2), (1, 5, 3), (2, 4, 7), tasks=4),
        lent(1, rank=4),
        lent(2, rank=9),
        done(1, 1, 0),
        lent(3, rank=5),
        done(1, 3, 2),
        done(3, 4, 1),
        done(2, 2, 3),
    ) == [
        [wait(1, 4, pins=(4, 5))],
        [give(1, 1, 0, rank=4, executor=2), wait(1, 4, pins=(5,))],  # 3 may go elsewhere
        [give(2, 2, 3, rank=9)],
        [Deliver(0, 1), give(1, 3, 2, rank=4, executor=7)],
        [give(3, 4, 1, rank=5, executor=3)],
        [Deliver(2, 1), release(1)],
        [Deliver(1, 1), release(3)],
        [Deliver(3, 1), release(2), Demand(0, 0.0, 4, closed=True)],
    ]


def test_a_rank_for_which_nothing_waits_is_returned_and_told_where_pinned_tasks_wait():
    machine = Scatter()
    played(machine, pinned((0, 4, 2), tasks=1))
    assert played(machine, lent(1, rank=9)) == [[release(1, pins=(4,))]]


def test_a_rank_which_is_here_is_not_asked_for_until_it_is_returned():
    machine = Scatter()
    assert played(
        machine,
        pinned((0, 4, 2), tasks=1, last=False),
        lent(1, rank=4),
        pinned((1, 4, 2), tasks=1, last=False),
        pinned((2, 4, 2), (3, 5, 2), tasks=2),
        done(1, 1, 0, leave=True),
    ) == [
        [wait(0, 1, pins=(4,))],
        [give(1, 1, 0, rank=4, executor=2)],
        [],
        [wait(0, 4, pins=(5,))],
        [Deliver(0, 1), release(1, pins=(4, 5))],
    ]


def test_a_pin_is_told_once():
    machine = Scatter()
    assert played(
        machine,
        pinned((0, 4, 2), tasks=1, last=False),
        pinned((1, 4, 3), tasks=1, last=False),
        pinned((2, 5, 3), tasks=1),
    ) == [
        [wait(0, 1, pins=(4,))],
        [],
        [wait(0, 3, pins=(4, 5))],
    ]


def test_a_rank_that_was_lent_and_returned_at_once_is_asked_for_again():
    machine = Scatter()
    assert played(
        machine,
        pinned((0, 4, 2), tasks=2),
        lent(1, rank=4, quantum=0.0),
        lent(-1, rank=4, quantum=9.0),
        done(-1, 1, 0, back=1, count=0, leave=True),
    ) == [
        [wait(1, 2, pins=(4,))],
        [release(1, 1, pins=(4,))],
        [give(-1, 1, 0, rank=4, executor=2)],
        [release(-1, 1, pins=(4,))],  # the scheduler still reckons with the pin
    ]


def test_a_pinned_task_which_failed_is_tried_again_where_its_cache_is():
    machine = Scatter(retries=1)
    assert played(
        machine,
        pinned((0, 4, 2), tasks=1),
        lent(1, rank=4),
        done(1, 1, 0, failed=(0,), leave=True),
        lent(2, rank=4),
    ) == [
        [wait(0, 1, pins=(4,))],
        [give(1, 1, 0, rank=4, executor=2)],
        [release(1, pins=(4,))],
        [give(2, 2, 0, rank=4, executor=2, attempt=2)],
    ]


def test_tasks_whose_caches_are_gone_go_anywhere():
    machine = Scatter()
    machine.pace.mean = MS
    assert played(
        machine,
        pinned((0, 4, 2), (1, 4, 2), (2, 4, 2), (3, 5, 2), tasks=4),
        lent(1, rank=4),
        done(1, 1, 0, 0, back=2, gone=True, leave=True),
        lent(2, rank=9),
    ) == [
        [wait(0, 4, pins=(4, 5))],
        [give(1, 1, 0, 2, rank=4, executor=2), give(1, 2, 2, rank=4, executor=2)],
        [wait(2, 4, 2 * MS, pins=(5,))],
        [give(2, 3, 0, rank=9), give(2, 4, 1, rank=9), wait(0, 4, pins=(5,))],
    ]


def test_what_comes_back_of_pinned_tasks_is_still_pinned():
    machine = Scatter()
    played(machine, pinned((0, 4, 2), tasks=1), lent(1, rank=4))
    assert played(machine, done(1, 1, 0, 0, back=1, leave=True)) == [[release(1, pins=(4,))]]


def test_the_costliest_tasks_are_given_first_and_the_scheduler_is_told_of_their_cost():
    machine = Scatter()
    machine.pace.mean = 1.0
    assert played(
        machine,
        Extended(3, 24, False, costs=(4.0, 16.0, 8.0)),
        Extended(1, 8, True),
        lent(1),
        done(1, 1, 1, busy=1.0, leave=True),
    ) == [
        [wait(3, 3, 28.0)],
        [wait(4, 4, 29.0)],
        [give(1, 1, 1)],
        [Deliver(1, 1), release(1, 3, 13.0)],
    ]


def test_a_rank_is_given_what_is_near_it():
    machine = Scatter()
    machine.pace.mean = 1.0
    assert played(
        machine, Extended(3, 24, True, homes=(-1, 5, 4)), lent(1, rank=4), done(1, 1, 2, busy=1.0)
    ) == [
        [wait(3, 3, 3.0)],
        [give(1, 1, 2, rank=4)],
        [Deliver(2, 1), give(1, 2, 0, rank=4)],
    ]


def test_what_was_known_of_tasks_is_forgotten_with_them():
    machine = Scatter()
    known = Extended(3, 24, True, (1.0, 2.0, 3.0), (4, 4, 4), ((2, 4, 2),))
    played(machine, known, lent(1, rank=4), done(1, 1, 2, busy=1.0))
    played(machine, done(1, 2, 0, busy=1.0, leave=True))
    assert (machine.waiting.pins, machine.waiting.priced) == ({}, 1)
    played(machine, Cancelled(1, 1))
    machine.waiting.add(Run(0, 3, 1))
    assert (machine.waiting.priced, machine.waiting.open) == (0, 3)


# --- cancelled tasks -----------------------------------------------------------------------------


def test_cancelled_tasks_are_dropped_unless_they_were_given_out():
    machine = scatter_of(4, mean=1.0)
    assert played(
        machine,
        lent(1),
        Cancelled(0, 2),
        done(1, 1, 0, busy=1.0),
        Cancelled(3, 9),
        done(1, 2, 2, busy=1.0),
    ) == [
        [give(1, 1, 0)],
        [Drop((1,))],
        [Deliver(0, 1), give(1, 2, 2)],
        [Drop((3,)), wait(0, 4)],
        [Deliver(2, 1), release(1), Demand(0, 0.0, 4, closed=True)],
    ]


def test_a_scatter_whose_last_tasks_are_cancelled_is_over():
    machine = scatter_of(3)
    assert played(machine, Cancelled(0, 3)) == [[Drop((0, 1, 2)), CLOSED_AFTER_3]]
    assert machine.complete


def test_a_task_which_is_to_be_tried_again_can_be_cancelled():
    machine = scatter_of(2, retries=1, mean=1.0)
    played(machine, lent(1), done(1, 1, 0, failed=(0,), busy=1.0))
    assert played(machine, Cancelled(0, 2), done(1, 2, 1, busy=1.0)) == [
        [Drop((0,)), wait(0, 2)],
        [Deliver(1, 1), release(1), Demand(0, 0.0, 2, closed=True)],
    ]


def test_what_is_cancelled_after_the_end_is_not_there():
    machine = scatter_of(3)
    played(machine, lent(1), Abandoned())
    assert played(machine, Cancelled(0, 3)) == [[Drop(())]]


# --- the end before the end ----------------------------------------------------------------------


def test_an_abandoned_scatter_ends_what_runs_and_delivers_nothing():
    machine = scatter_of(100, retries=9, mean=MS)
    played(machine, lent(1), lent(2, rank=2))
    assert played(machine, Abandoned()) == [[End(1, 1), End(2, 2), wait(0, 100)]]
    assert machine.complete
    assert not machine.over
    assert played(
        machine,
        done(1, 1, 0, 10, busy=10 * MS),
        done(2, 3, 20, 2, back=8, failed=(20,), busy=2 * MS),
        lent(3, rank=3),
        done(1, 2, 10, 0, back=10),
        done(2, 4, 30, 10, lost=(30,), redo=(31,), busy=8 * MS),
    ) == [
        [],
        [],
        [release(3)],
        [release(1)],
        [release(2), Demand(0, 0.0, 100, closed=True)],
    ]
    assert machine.delivered == 0
    assert machine.over


def test_a_scatter_abandoned_while_nothing_runs_is_over_at_once():
    machine = scatter_of(7)
    assert played(machine, Abandoned()) == [[Demand(0, 0.0, 7, closed=True)]]
    assert played(machine, Abandoned(), lent(1)) == [[], [release(1)]]


def test_items_which_come_in_after_the_end_are_counted_and_not_run():
    machine = scatter_of(3)
    played(machine, lent(1))
    assert played(machine, Abandoned(), Extended(4, 32, True), done(1, 1, 0, 0, back=1)) == [
        [End(1, 1), wait(0, 3)],
        [],
        [release(1), Demand(0, 0.0, 7, closed=True)],
    ]


# --- what can't be -------------------------------------------------------------------------------


def refused(machine: Scatter, event) -> tuple[str, str, str]:
    with pytest.raises(InvalidEvent) as caught:
        machine.handle(event, 0.0)
    check(machine)
    return caught.value.args


@pytest.fixture
def busy() -> Scatter:
    """Ten tasks are with lease 1, as chunk 1, and ten more, as chunk 2; two of chunk 1 are done."""
    machine = scatter_of(100, mean=MS)
    played(machine, lent(1), lent(2, rank=2), done(1, 1, 0, 2, busy=2 * MS))
    return machine


def test_a_lease_comes_once(busy):
    assert refused(busy, lent(1)) == ("scatter", "Lent(1)", "the lease is here already")


@pytest.mark.parametrize(("lease", "chunk"), [(3, 1), (1, 3), (2, 1), (1, 9)])
def test_a_chunk_is_reported_under_its_lease(busy, lease, chunk):
    event = done(lease, chunk, 2)
    assert refused(busy, event) == ("scatter", str(event), "the chunk is not with this lease")


@pytest.mark.parametrize(
    "event",
    [
        done(1, 1, 0),
        done(1, 1, 3),
        done(1, 1, 2, 9),
        done(1, 1, 2, 4, back=5),
        done(1, 1, 2, 0, back=9),
    ],
)
def test_tasks_of_a_chunk_are_reported_in_their_order_and_no_more_than_there_are(busy, event):
    story = f"these tasks are not next in {busy.leases[1].chunks[1]}"
    assert refused(busy, event) == ("scatter", str(event), story)


def test_a_chunk_may_be_reported_to_its_last_task(busy):
    assert played(busy, done(1, 1, 2, 4, back=4, busy=4 * MS)) == [
        [Deliver(2, 4), give(1, 5, 6, 4)]
    ]


def test_the_attempt_of_a_chunk_is_told(busy):
    assert busy.attempt(1, 2) == 1
