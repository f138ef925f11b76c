"""The invariants notice what they are there to notice."""

import pytest

from builders import NOBODY, led_by, scheduler, wants
from mpipool.ids import LeaseId, Rank
from mpipool.scheduler import Scheduler
from mpipool.scheduler.invariants import check

A, B = led_by(NOBODY, 1), led_by(NOBODY, 2)


@pytest.fixture
def machine() -> Scheduler:
    """Ranks 1 and 2 are with A, rank 3 idles."""
    made = scheduler(1, 2, 3)
    made.handle(wants(A, 2))
    check(made)
    return made


def complaint(machine: Scheduler) -> str:
    with pytest.raises(AssertionError) as caught:
        check(machine)
    return str(caught.value).partition("\n")[0]


def test_a_lease_which_its_rank_does_not_have(machine):
    machine.cores.end(Rank(1), LeaseId(1))
    assert complaint(machine) == "lease 1 is not on rank 1"


def test_a_scatter_which_thinks_it_has_more_ranks(machine):
    machine.demands[A].lent = 3
    assert complaint(machine) == f"scatter {A} miscounts"


def test_a_scatter_which_thinks_it_has_fewer_ranks(machine):
    machine.demands[A].lent = 1
    assert complaint(machine) == f"scatter {A} miscounts"


def test_a_scatter_which_thinks_it_has_ranks_and_has_none(machine):
    machine.demands.open(B, (B,)).lent = 1
    assert complaint(machine) == f"scatter {B} miscounts"


def test_a_lease_of_a_scatter_which_is_forgotten(machine):
    machine.demands[A].lent, machine.demands[A].closed = 0, True
    machine.demands.forget_if_over(machine.demands[A])
    assert complaint(machine) == f"leases of unknown scatters: {{{A}: 2}}"


def test_a_core_which_idles_while_a_scatter_waits(machine):
    machine.demands.open(B, (B,)).queued = 1
    assert complaint(machine) == f"rank 3 idles while scatter {B} waits"


def test_a_core_which_idles_while_a_scatter_waits_behind_one_that_does_not(machine):
    for number, fields in enumerate([{"queued": 5, "closed": True}, {"queued": 0}, {"queued": 1}]):
        scatter = led_by(7, number)
        for name, value in fields.items():
            setattr(machine.demands.open(scatter, (scatter,)), name, value)
    assert complaint(machine) == f"rank 3 idles while scatter {scatter} waits"


def test_a_scatter_may_wait_while_no_core_is_free_or_none_that_it_may_have(machine):
    machine.handle(wants(B, 2))
    check(machine)
    assert machine.demands[B].unmet == 1
