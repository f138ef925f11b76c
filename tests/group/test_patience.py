"""Members of gangs which may wait for the dead, in MPI."""

from mpipool.group.gang import GRACE
from mpipool.group.patience import Patience
from mpipool.ids import Rank

ENTERED, DIED = 100.0, 130.0
BEFORE, AFTER = DIED + GRACE / 2, DIED + GRACE
WAITS_FOR_4 = "its task of a gang does not end, and waits for rank 4, which is gone"
NOT_JOINED = "its gang does not get a communicator since a rank died meanwhile"


def inside(*gone):
    patience = Patience()
    patience.entered((3, 4), {Rank(rank) for rank in gone}, ENTERED)
    return patience


def test_who_runs_a_task_with_a_member_that_has_died_is_waited_for_a_while():
    patience = inside()
    patience.lost(Rank(4), DIED)
    assert patience.verdict(True, BEFORE) == ""
    assert patience.verdict(True, AFTER) == WAITS_FOR_4


def test_the_verdict_is_said_once():
    patience = inside()
    patience.lost(Rank(4), DIED)
    assert patience.verdict(True, AFTER)
    assert patience.verdict(True, AFTER + GRACE) == ""


def test_who_has_ended_its_task_is_not_given_up():
    patience = inside()
    patience.lost(Rank(4), DIED)
    patience.left()
    assert patience.verdict(True, AFTER) == ""


def test_the_death_of_another_rank_matters_to_who_is_joining_only():
    """All members live, and may wait for each other for ever."""
    patience = inside()
    patience.lost(Rank(9), DIED)
    assert patience.verdict(False, BEFORE) == ""
    assert patience.verdict(False, AFTER) == NOT_JOINED
    patience = inside()
    patience.lost(Rank(9), DIED)
    assert patience.verdict(True, BEFORE) == ""
    assert patience.verdict(True, AFTER) == ""


def test_a_rank_may_have_died_before_the_gang_enters():
    """As this rank has heard already, but the first member had not when it called."""
    assert inside(4).verdict(True, ENTERED + GRACE) == WAITS_FOR_4
    assert inside(9).verdict(False, ENTERED + GRACE) == NOT_JOINED
    assert inside(9).verdict(True, ENTERED + GRACE) == ""


def test_joining_may_take_its_time_while_nobody_dies():
    patience = inside()
    assert patience.verdict(False, ENTERED + 10 * GRACE) == ""
    patience.lost(Rank(9), ENTERED + 10 * GRACE)
    assert patience.verdict(False, ENTERED + 10 * GRACE) == ""


def test_a_death_between_two_gangs_is_nobodys():
    patience = Patience()
    patience.lost(Rank(4), DIED)
    assert patience.verdict(False, AFTER) == ""
