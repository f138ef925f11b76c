"""What can never be placed is refused, once, with a reason that names numbers."""

import pytest

from builders import NOBODY, blocked, grant, led_by, on_nodes, returned, wants
from mpipool.ids import LeaseId, Rank
from mpipool.needs import Needs
from mpipool.scheduler import RankJoined, Refuse, Scheduler, stall
from mpipool.scheduler.invariants import check

A, B = led_by(NOBODY, 1), led_by(NOBODY, 2)


def played(machine: Scheduler, *events):
    commands = []
    for event in events:
        commands.append(machine.handle(event))
        check(machine)
    return commands


@pytest.mark.parametrize(
    ("needs", "reason"),
    [
        (
            Needs(threads=4),
            "each task needs 4 cores of one node (threads=4) and no node has more than 3 ranks: "
            "ask for fewer, or start more ranks on a node",
        ),
        (
            Needs(memory=11),
            "each task needs 11 MiB and no node has more than 10 MiB: ask for less",
        ),
        (
            Needs(memory=9, threads=3),
            "each task needs 9 MiB and 3 ranks and no node has more than 8 MiB beside these: "
            "ask for less",
        ),
        (
            Needs((6, 9), in_place=True),
            "each task needs 6 ranks and the run has 5 that run tasks: "
            "ask for fewer, or start more",
        ),
        (
            Needs((4, 4), memory=5, in_place=True),
            "each task needs 4 ranks with 5 MiB each and the nodes have room for 3 of these: "
            "ask for fewer ranks, or for less memory",
        ),
        (
            Needs((1, 1), threads=2, in_place=True),
            "a task in a rank's own process can't have cores of other ranks (threads=2): "
            "leave threads= out",
        ),
        (
            Needs(tokens=(("db", 1),)),
            "each task needs db=1: no --resource db=N was given",
        ),
        (
            Needs(tokens=(("io", 3),)),
            "each task needs io=3 and the run has --resource io=2: ask for less, or give more",
        ),
    ],
)
def test_what_can_never_fit_is_refused_and_what_just_fits_is_not(needs, reason):
    machine = on_nodes((3, 8), (2, 10), tokens={"io": 2})
    assert played(machine, wants(A, 1, needs=needs), wants(A, 2, needs=needs)) == [
        [Refuse(A, reason)],
        [],
    ]
    assert not machine.leases
    assert played(machine, wants(A, 0, needs=needs, closed=True)) == [[]]
    assert A not in machine.demands


@pytest.mark.parametrize(
    "needs",
    [
        Needs(threads=3),
        Needs(memory=10),
        Needs(memory=8, threads=3),
        Needs((5, 9), in_place=True),
        Needs((3, 3), memory=5, in_place=True),
        Needs(tokens=(("io", 2),)),
    ],
)
def test_what_just_fits_is_not_refused(needs):
    machine = on_nodes((3, 8), (2, 10), tokens={"io": 2})
    (command,) = machine.handle(wants(A, 1, needs=needs))
    assert command.lease == 1


def test_a_gang_below_a_gang_is_refused_at_any_depth():
    machine = on_nodes((4, 0))
    gang = Needs((2, 2), in_place=True)
    middle, inner = led_by(1), led_by(3)
    reason = (
        "a gang can't be started below a gang, whose ranks' own processes are taken: "
        "use map without ranks= there, or start the gang further outside"
    )
    assert played(
        machine,
        wants(A, 1, needs=gang),
        wants(middle, 1, below=[A], parent=LeaseId(1)),
        wants(inner, 1, below=[A, middle], parent=LeaseId(2), needs=Needs(in_place=True)),
        wants(B, 1, below=[A], parent=LeaseId(1), needs=gang),
    ) == [
        [grant(1, A, 1, ranks=(1, 2))],
        [grant(2, middle, 3)],
        [Refuse(inner, reason)],
        [Refuse(B, reason)],
    ]


def test_what_ancestors_hold_does_not_count_against_what_is_below_them():
    machine = on_nodes((2, 10), tokens={"io": 2})
    needs = Needs(memory=10, tokens=(("io", 2),))
    assert played(
        machine, wants(A, 1, needs=needs), wants(B, 1, below=[A], needs=needs, parent=LeaseId(1))
    ) == [[grant(1, A, 1)], [grant(2, B, 2)]]


def test_ranks_which_are_still_to_join_count():
    machine = Scheduler(3)
    threads = Needs(threads=2)
    first, second, third = (RankJoined(Rank(n), f"n{n // 2}") for n in range(3))
    assert played(machine, wants(A, 1, needs=threads), first, second) == [
        [],
        [],
        [grant(1, A, 0, ranks=(0, 1))],
    ]
    assert played(machine, wants(B, 1, needs=Needs(threads=3)), third) == [
        [],
        [
            Refuse(
                B,
                "each task needs 3 cores of one node (threads=3) and no node has more than 2 "
                "ranks: ask for fewer, or start more ranks on a node",
            )
        ],
    ]


def test_without_a_size_those_are_all_which_are_there():
    machine = Scheduler()
    machine.handle(RankJoined(Rank(1)))
    (command,) = machine.handle(wants(A, 1, needs=Needs(threads=2)))
    assert isinstance(command, Refuse)


# --- waiting in a circle -------------------------------------------------------------------------


def in_a_circle(mib: int) -> tuple[Scheduler, list]:
    """Two tasks hold 5 MiB each of a node's 10, and each scatters a task which needs some."""
    machine = on_nodes((2, 10))
    first, second = led_by(1), led_by(2)
    inner = Needs(memory=mib)
    played(machine, wants(A, 2, needs=Needs(memory=5)))
    return machine, played(
        machine,
        wants(first, 1, below=[A], needs=inner, parent=LeaseId(1)),
        wants(second, 1, below=[A], needs=inner, parent=LeaseId(2)),
        blocked(1, [1], [first]),
        blocked(2, [2], [second]),
    )


def test_of_those_that_wait_in_a_circle_the_youngest_is_refused_and_the_other_goes_on():
    machine, commands = in_a_circle(6)
    first, second = led_by(1), led_by(2)
    reason = (
        "each task needs 6 MiB, more than the tasks outside it hold, and all the rest is held by "
        "tasks which wait in the same way: it would wait for ever. Let the outer tasks ask for as "
        "much as the inner ones need, or run fewer of them at once"
    )
    assert commands == [[], [], [], [Refuse(second, reason)]]
    assert played(machine, blocked(2), returned(2)) == [[], [grant(3, first, 1)]]


def test_what_needs_no_more_than_the_task_outside_it_holds_never_waits_in_a_circle():
    _, commands = in_a_circle(5)
    assert commands == [[], [], [grant(3, led_by(1), 1)], [grant(4, led_by(2), 2)]]


def test_a_branch_is_what_the_leader_of_its_origin_waits_for():
    machine = on_nodes((1, 10))
    first, branch = led_by(1), led_by(1, 2)
    more = Needs(memory=6)
    assert played(
        machine,
        wants(A, 1, needs=Needs(memory=5)),
        wants(first, 0, below=[A], needs=Needs(memory=3), parent=LeaseId(1)),
        wants(branch, 1, below=[A, first], needs=more, parent=LeaseId(1), origin=first),
        blocked(1, [1], [first]),
        returned(2),
        wants(branch, 0, below=[A, first], closed=True),
        wants(branch, 1, below=[A, first], needs=Needs(memory=11), parent=LeaseId(1)),
    ) == [
        [grant(1, A, 1)],
        [],
        [],
        [grant(2, branch, 1)],  # above the task that waits, of whose 5 MiB it uses all
        [],
        [],
        [Refuse(branch, "each task needs 11 MiB and no node has more than 10 MiB: ask for less")],
    ]


def test_a_branch_can_wait_in_a_circle_too():
    machine = on_nodes((2, 10))
    first, second = led_by(1), led_by(2)
    one, two = led_by(1, 2), led_by(2, 2)
    more = Needs(memory=6)
    commands = played(
        machine,
        wants(A, 2, needs=Needs(memory=5)),
        wants(first, 0, below=[A], parent=LeaseId(1)),
        wants(second, 0, below=[A], parent=LeaseId(2)),
        wants(one, 1, below=[A, first], needs=more, parent=LeaseId(1), origin=first),
        wants(two, 1, below=[A, second], needs=more, parent=LeaseId(2), origin=second),
        blocked(1, [1], [first]),
        blocked(2, [2], [second]),
    )
    assert commands[3:] == [[], [], [], [Refuse(two, stall.reason(more))]]


def test_nothing_is_refused_while_someone_is_about_to_resume():
    machine = on_nodes((2, 10))
    first, second = led_by(1), led_by(2)
    played(
        machine, wants(A, 2, needs=Needs(memory=5)), wants(second, 0, below=[A], parent=LeaseId(2))
    )
    assert played(
        machine,
        wants(first, 1, below=[A], needs=Needs(memory=6), parent=LeaseId(1)),
        blocked(1, [1], [first]),
        blocked(2, [2], [second]),  # has nothing more to wait for: it resumes
        blocked(2),
        returned(2),
    ) == [[], [], [], [], [grant(3, first, 1)]]


def test_a_third_stack_is_opened_before_something_is_refused():
    machine = on_nodes((1, 10), (1, 1))
    one, two, other = led_by(1, 1), led_by(1, 2), led_by(2)
    much, little = Needs(memory=9), Needs(memory=2)
    assert played(
        machine,
        wants(A, 2, needs=Needs(memory=4)),
        blocked(1, [1], [one]),
        wants(B, 1),
        wants(one, 1, below=[A], needs=much, parent=LeaseId(1)),
        wants(two, 1, below=[A], needs=much, parent=LeaseId(2)),
        blocked(1, [1, 2], [one, two]),
        wants(other, 1, below=[B], needs=little, parent=LeaseId(3)),
        blocked(2, [3], [other]),
    ) == [
        [grant(1, A, 1)],
        [grant(2, A, 1)],
        [grant(3, B, 2)],
        [],
        [],
        [],
        [],
        [grant(4, other, 1)],  # only there are 2 MiB
    ]
    assert played(machine, returned(4), blocked(2), returned(3)) == [
        [],  # its leader is about to resume
        [],
        [Refuse(two, stall.reason(much))],
    ]
