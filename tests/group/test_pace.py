"""How many tasks a rank gets at once."""

import pytest

from mpipool.group.pace import Pace


def test_while_nothing_is_known_tasks_go_singly_and_no_time_is_expected():
    pace = Pace()
    pace.saw_items(1000, 8000)
    assert pace.chunk(1000, 1) == 1
    assert pace.ahead(1000, 1) == 1
    assert pace.seconds(1000) == 0.0


def test_the_mean_follows_the_newest_tasks_by_a_fifth():
    pace = Pace()
    pace.saw_tasks(0, 7.0)
    assert pace.mean is None
    pace.saw_tasks(4, 2.0)
    assert pace.mean == 0.5
    pace.saw_tasks(2, 2.0)
    assert pace.mean == pytest.approx(0.6)
    pace.saw_tasks(0, 7.0)
    assert pace.mean == pytest.approx(0.6)
    assert pace.seconds(3) == pytest.approx(1.8)


def test_items_are_counted_and_weighed():
    pace = Pace()
    pace.saw_items(3, 30)
    pace.saw_items(2, 5)
    assert (pace.items, pace.size) == (5, 35)


@pytest.mark.parametrize(
    ("mean", "queued", "members", "tasks"),
    [
        (2**-10, 10_000, 1, 10),  # 10 ms of 1 ms each
        (0.005, 10_000, 1, 2),
        (0.006, 10_000, 1, 1),
        (0.04, 10_000, 1, 1),
        (1e-9, 10_000_000, 1, 4096),
        (0.0, 10_000_000, 1, 4096),
        (2**-10, 18, 1, 9),  # half of what is left, for each member
        (2**-10, 17, 1, 9),
        (2**-10, 16, 1, 8),
        (2**-10, 17, 2, 5),
        (2**-10, 16, 2, 4),
        (2**-10, 1, 3, 1),
        (2**-10, 0, 1, 1),
    ],
)
def test_chunks_hold_ten_milliseconds_and_shrink_towards_the_end(mean, queued, members, tasks):
    assert Pace(mean, 10, 80).chunk(queued, members) == tasks


@pytest.mark.parametrize("mean", [0.05, 0.051, 3600.0])
def test_long_tasks_go_singly_and_none_ahead(mean):
    pace = Pace(mean, 10, 80)
    assert (pace.chunk(10_000, 1), pace.ahead(10_000, 1)) == (1, 1)


@pytest.mark.parametrize("mean", [0.0, 0.00499])
def test_of_short_tasks_a_second_chunk_goes_ahead(mean):
    assert Pace(mean, 10, 80).ahead(0, 9) == 2


@pytest.mark.parametrize("mean", [0.005, 0.02, 0.0499])
@pytest.mark.parametrize(
    ("queued", "members", "chunks"), [(0, 1, 1), (2, 1, 1), (3, 1, 2), (8, 4, 1), (9, 4, 2)]
)
def test_a_task_waits_behind_one_that_fills_a_chunk_only_while_others_can_fill_the_end(
    mean, queued, members, chunks
):
    assert Pace(mean, 10, 80).ahead(queued, members) == chunks


@pytest.mark.parametrize(
    ("items", "size", "tasks"),
    [
        (10, 10 * 2**18, 4),
        (10, 10 * 2**18 + 1, 3),
        (10, 10 * 2**20, 1),
        (10, 10 * 2**20 + 1, 1),
        (1, 2**30, 1),
        (1, 0, 10),
    ],
)
def test_chunks_hold_a_mebibyte_or_one_item(items, size, tasks):
    assert Pace(2**-10, items, size).chunk(10_000, 1) == tasks


def test_long_tasks_go_singly_however_many_would_fit_their_time_in_a_larger_chunk(monkeypatch):
    monkeypatch.setattr("mpipool.group.pace.CHUNK", 1.0)
    assert Pace(0.05, 10, 80).chunk(10_000, 1) == 1
    assert Pace(0.04, 10, 80).chunk(10_000, 1) == 25
