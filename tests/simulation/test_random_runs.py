"""Random runs of the real agents, broker, scheduler and groups on a virtual clock.

The message of a failure names the command which replays it; see docs/simulation.md.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain

import pytest

from mpipool.messages import Assemble, Enter, Fetch, Forget, Recall, Refuse, RunTasks
from mpipool.transport.virtual import VirtualTransport
from simulation.cases import Case
from simulation.history import History
from simulation.plans import CACHING, KINDS, WILD
from simulation.replay import explain

BATCH = 20
FAST = [(kind, first) for kind in KINDS for first in range(0, 60, BATCH)]
LONG = [(kind, first) for kind in KINDS for first in range(60, 500, BATCH)]


def run(kind: str, seed: int) -> History:
    case = Case(kind, seed)
    try:
        return History(case).run()
    except Exception as error:
        raise AssertionError(f"{error}\n{explain(case)}") from error


@pytest.mark.parametrize(("kind", "first"), FAST)
def test_all_tasks_get_their_results_and_the_invariants_hold_after_each_event(
    kind, first, count_cells
):
    histories = [run(kind, seed) for seed in range(first, first + BATCH)]
    count_cells(histories)
    checked = sum(history.checked for history in histories)
    assert checked > 10 * BATCH, "the runs are empty: the test tests nothing"


@pytest.mark.long
@pytest.mark.parametrize(("kind", "first"), LONG)
def test_so_they_do_in_many_more_runs(kind, first, count_cells):
    count_cells([run(kind, seed) for seed in range(first, first + BATCH)])


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
    histories = [run(kind, seed) for kind in (CACHING, WILD) for seed in range(100, 115)]
    sessions = [*chain.from_iterable(history.sessions for history in histories)]
    for message in (Assemble, Enter, Fetch, Forget, Recall, Refuse):
        assert sent[message.__name__], f"nobody sends {message.__name__}"
    assert sent["lineage"]
    assert sent["threads"]
    assert sum(session.refusals for session in sessions)
    plans = [*chain.from_iterable(session.plans for session in sessions)]
    assert any(plan.losses for plan in plans)
    assert any(plan.everywhere for plan in plans)
