"""Random trees of scatters with all needs mixed: everything ends, the invariants hold throughout.

To look at one run: ``World(seed, nested).run()``.
"""

import pytest

from scheduler.world import World

RUNS = 300
BATCH = 50


@pytest.mark.parametrize("first", range(0, RUNS, BATCH))
def test_everything_ends_and_is_placed_or_refused(first):
    refused = started = 0
    for seed in range(first, first + BATCH):
        world = World(seed, nested=False)
        world.run()
        refused += len(world.refusals)
        started += world.started
    assert started > 500, "the worlds are empty: the test tests nothing"
    assert 0 < refused < started


@pytest.mark.parametrize("first", range(0, RUNS, BATCH))
def test_nothing_is_refused_where_inner_tasks_need_no_more_than_outer_ones_hold(first):
    for seed in range(first, first + BATCH):
        world = World(seed, nested=True)
        world.run()
        assert not world.refusals, f"seed {seed}: {world.refusals[0].reason}"
