"""Which arriving files are complete, decided without a clock or a file."""

import pytest

from drivers.arrivals import Arrivals, Look

SMALL, LARGE = Look(100, 1), Look(200, 2)


@pytest.fixture
def arrivals():
    return Arrivals(settled=10)


def test_a_file_nobody_saw_being_closed_is_looked_into_once_it_has_settled(arrivals):
    arrivals.seen("a.fits", SMALL, 0)
    arrivals.seen("a.fits", LARGE, 7)
    assert [arrivals.due(now) for now in (9, 11, 16.9)] == [[], [], []]
    assert arrivals.due(17) == ["a.fits"]
    assert arrivals.checked("a.fits", LARGE, "")
    assert arrivals.due(100) == []
    assert arrivals.unfinished() == []


def test_a_closed_file_is_looked_into_at_once_and_again_only_when_it_changes(arrivals):
    arrivals.seen("a.fits", SMALL, 0, closed=True)
    assert arrivals.due(0) == ["a.fits"]
    assert not arrivals.checked("a.fits", SMALL, "is truncated")
    assert arrivals.due(100) == []
    assert arrivals.unfinished() == [("a.fits", "is truncated")]
    arrivals.seen("a.fits", LARGE, 101)
    assert arrivals.due(102) == []
    arrivals.seen("a.fits", LARGE, 103, closed=True)
    assert arrivals.due(103) == ["a.fits"]
    assert arrivals.checked("a.fits", LARGE, "")
    assert arrivals.unfinished() == []


def test_a_file_that_is_old_already_has_settled(arrivals):
    arrivals.seen("old.fits", SMALL, 0, age=11)
    arrivals.seen("young.fits", SMALL, 0, age=4)
    arrivals.seen("ahead.fits", SMALL, 0, age=-3600)  # its clock is not ours
    assert arrivals.due(0) == ["old.fits"]
    assert arrivals.due(6) == ["old.fits", "young.fits"]
    assert arrivals.due(10) == ["old.fits", "young.fits", "ahead.fits"]


def test_what_changes_while_it_is_looked_into_is_looked_into_again(arrivals):
    arrivals.seen("a.fits", SMALL, 0, closed=True)
    assert arrivals.checked("a.fits", SMALL, "")
    arrivals.seen("a.fits", LARGE, 1)
    assert arrivals.unfinished() == [("a.fits", "has changed since it was taken")]
    assert arrivals.due(11) == ["a.fits"]


def test_files_come_in_the_order_in_which_they_were_seen_and_may_vanish(arrivals):
    for name in ("b.fits", "c.fits", "a.fits"):
        arrivals.seen(name, SMALL, 0, closed=True)
    arrivals.gone("c.fits")
    arrivals.gone("never.fits")
    assert arrivals.due(0) == ["b.fits", "a.fits"]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("a.fits", True),
        ("a.fits.fz", True),
        ("A.FIT", True),
        ("a.fits.gz", True),
        ("a.fits.part", False),
        (".a.fits.Xy12", False),
        (".a.fits", False),
        ("log.txt", False),
    ],
)
def test_only_fits_files_which_are_not_hidden_can_be_frames(name, wanted):
    assert Arrivals.wants(f"/night/{name}") is wanted
