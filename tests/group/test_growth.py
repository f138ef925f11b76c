"""How much memory a task may have next."""

import pytest

from mpipool.group.growth import RECENT, Growth, Peaks
from mpipool.needs import rounded


@pytest.mark.parametrize(
    ("had", "peak", "typical", "wanted"),
    [
        (100, 0, 0, 200),
        (100, 5000, 0, 200),  # it was stopped a moment late: what counts is what was asked for
        (0, 1000, 0, 2048),  # nothing was asked for: what was seen, rounded up
        (0, 0, 0, 128),  # it ended before it was looked at
        (100, 0, 150, 200),
        (100, 0, 900, 1024),  # others have needed more
    ],
)
def test_twice_what_it_had_or_what_others_have_needed(had, peak, typical, wanted):
    assert Growth().after(had, peak, typical) == wanted


@pytest.mark.parametrize(
    ("factor", "cap", "had", "wanted"),
    [
        (1.5, 0, 100, 150),
        (1.001, 0, 100, 101),
        (2.0, 150, 100, 150),
        (2.0, 150, 150, 0),
        (2.0, 150, 200, 0),
        (1.0, 0, 100, 0),
    ],
)
def test_the_policy(factor, cap, had, wanted):
    assert Growth(factor, cap).after(had, 0) == wanted


def test_what_others_have_needed_does_not_exceed_the_cap():
    assert Growth(2.0, 500).after(100, 0, 900) == 500


def test_there_are_few_sizes():
    sizes = {rounded(memory) for memory in range(1024, 2048)}
    assert sizes == {1024, 1280, 1536, 1792, 2048}
    assert [rounded(memory) for memory in range(6)] == [0, 1, 2, 3, 4, 5]
    assert all(memory <= rounded(memory) <= 1.25 * memory for memory in range(5000))


def test_what_nine_in_ten_have_needed_of_those_seen_last():
    peaks = Peaks()
    assert peaks.typical(b"f") == 0
    for memory in range(1, 11):
        peaks.learn(b"f", memory)
    peaks.learn(b"g", 1000)
    peaks.learn(b"g", 0)  # it was not measured
    assert peaks.typical(b"f") == 9
    assert peaks.typical(b"g") == 1000
    for _ in range(RECENT):
        peaks.learn(b"f", 5)
    assert peaks.typical(b"f") == 5
