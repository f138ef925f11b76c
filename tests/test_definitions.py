"""Functions which members know, and from whom."""

import pytest

from mpipool.definitions import Known
from mpipool.ids import Rank
from mpipool.messages import Define

ONE, TWO = Rank(1), Rank(2)
F = b"f" * 16
DEFINED = Define(digest=F, parts=(b'{"timeout": 5}', b"function"))
FORGET = Define(digest=F, forget=True)


@pytest.fixture
def known():
    made = Known()
    made.take(ONE, DEFINED)
    return made


def test_what_tasks_share_is_known_with_the_function(known):
    assert known.shared(F) == {"timeout": 5}


def test_tasks_of_a_function_that_was_forgotten_share_nothing(known):
    assert known.take(ONE, FORGET)
    assert known.shared(F) == {}


def test_what_was_shared_by_an_earlier_function_is_forgotten_with_it(known):
    known.shared(F)
    known.take(ONE, FORGET)
    assert known.shared(F) == {}


def test_a_function_is_kept_as_long_as_one_leader_needs_it(known):
    known.take(TWO, DEFINED)
    assert not known.take(ONE, FORGET)
    assert known[F] == DEFINED
    assert known.lose(TWO) == [FORGET]
    with pytest.raises(KeyError):
        known[F]
