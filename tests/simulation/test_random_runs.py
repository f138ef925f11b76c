"""500 random runs of the real agents, broker, scheduler and groups on a virtual clock.

The message of a failure names the seed; ``python -c "from simulation.world import SimulatedRun;
SimulatedRun(417).run()"`` replays it (in the folder ``tests``).
"""

from __future__ import annotations

import pytest

from simulation.world import SimulatedRun

BATCH = 25


@pytest.mark.parametrize("first", range(0, 500, BATCH))
def test_every_task_gets_its_result_and_the_invariants_hold_after_each_event(first):
    for seed in range(first, first + BATCH):
        try:
            SimulatedRun(seed).run()
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error
