"""What is printed of a run that fails is enough to see it fail again, and little else."""

from __future__ import annotations

import re
import shlex

import pytest

from mpipool.group import Scatter
from simulation.cases import Case
from simulation.faults import CRASH
from simulation.history import History
from simulation.plans import WILD
from simulation.replay import explain, main
from simulation.shrinking import failure_of, parts_of, shrink, story


@pytest.fixture
def a_bug(monkeypatch):
    """Let leaders give a task that has failed up, whatever the retries are."""
    monkeypatch.setattr(Scatter, "_next_attempt", lambda *_: None)


@pytest.fixture
def failing(a_bug):
    return next(case for seed in range(50) if failure_of(case := Case(WILD, seed)))


def test_a_case_is_the_same_whenever_it_is_run():
    case = next(case for seed in range(50) if (case := Case(WILD, seed)).faults())
    first, second = (
        [session.clock.now for session in History(case).run().sessions] for _ in range(2)
    )
    assert first == second


def test_a_failing_case_is_made_smaller_and_fails_in_the_same_way(failing):
    small = shrink(failing)
    assert failure_of(small) == failure_of(failing)
    left = set(parts_of(small))
    assert len(left) < len(set(parts_of(failing))) / 2
    for name in left:
        assert failure_of(small.smaller(name)) != failure_of(failing), f"{name} is not needed"


def test_the_printed_command_replays_the_failure(failing, capsys):
    said = explain(failing)
    command = shlex.split(said.splitlines()[0])
    assert main(command[4:]) == 1
    told = capsys.readouterr().out
    assert "failed without cause" in told
    assert re.search(r"rank \d+ <- ", told), "the last events are missing"


def test_the_story_names_what_is_left():
    cases = (Case(WILD, seed) for seed in range(100))
    case = next(case for case in cases if any(fault.kind == CRASH for fault in case.faults()))
    assert "crash at" in story(case)
    assert "s1: " in story(case)
