"""Random runs of the real agents, broker, scheduler and groups on a virtual clock.

The message of a failure names the seed; ``python -c "from simulation.world import SimulatedRun;
SimulatedRun(417).run()"`` replays it (in the folder ``tests``).
"""

from __future__ import annotations

from collections import Counter
from itertools import chain

import pytest

from mpipool.messages import Assemble, Enter, Fetch, Forget, Recall, Refuse, RunTasks
from mpipool.transport.virtual import VirtualTransport
from simulation.plans import CACHING, NESTED, SIMPLE, WILD
from simulation.world import SimulatedRun

BATCH = 20
FAST = [(kind, first) for kind in (SIMPLE, NESTED, CACHING, WILD) for first in range(0, 60, BATCH)]
LONG = [(kind, first) for kind in (NESTED, CACHING, WILD) for first in range(60, 360, BATCH)]


def run(kind: str, seed: int) -> SimulatedRun:
    simulated = SimulatedRun(seed, kind)
    try:
        simulated.run()
    except Exception as error:
        raise AssertionError(f"seed {seed} of {kind!r}: {error}") from error
    return simulated


@pytest.mark.parametrize(("kind", "first"), FAST)
def test_all_tasks_get_their_results_and_the_invariants_hold_after_each_event(kind, first):
    checked = [run(kind, seed).checked for seed in range(first, first + BATCH)]
    assert sum(checked) > 10 * BATCH, "the runs are empty: the test tests nothing"


@pytest.mark.long
@pytest.mark.parametrize(("kind", "first"), LONG)
def test_so_they_do_in_many_more_runs(kind, first):
    for seed in range(first, first + BATCH):
        run(kind, seed)


def test_the_runs_are_mixtures_of_everything(monkeypatch):
    sent: Counter[str] = Counter()
    send = VirtualTransport.send

    def spy(transport, to, message):
        sent[type(message).__name__] += 1
        if isinstance(message, RunTasks):
            sent["lineage"] += bool(message.lineage)
            sent["threads"] += len(message.cores) > 1
        send(transport, to, message)

    monkeypatch.setattr(VirtualTransport, "send", spy)
    runs = [run(kind, seed) for kind in (CACHING, WILD) for seed in range(100, 115)]
    for message in (Assemble, Enter, Fetch, Forget, Recall, Refuse):
        assert sent[message.__name__], f"nobody sends {message.__name__}"
    assert sent["lineage"]
    assert sent["threads"]
    assert sum(simulated.refusals for simulated in runs)
    plans = [*chain.from_iterable(simulated.plans for simulated in runs)]
    assert any(plan.losses for plan in plans)
    assert any(plan.everywhere for plan in plans)
