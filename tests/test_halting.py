"""What a scatter is told of a drain that began before it was opened."""

from math import inf

import pytest

from mpipool.group.events import Drained, Limited, TimeUp
from mpipool.halting import Halting
from mpipool.messages import Drain

NEVER = 1e9


class Opened:
    """A scatter, and what its machine is told."""

    def __init__(self, entry=None):
        self.entry, self.machine = entry, self
        self.told = []

    def handle(self, event, now):
        self.told.append(event)


def standing(halting, entry=None):
    led = Opened(entry)
    halting.brief(led)
    return led.told


@pytest.fixture
def halting():
    return Halting()


def test_before_anything_was_said_it_is_told_nothing(halting):
    assert standing(halting) == []


def test_the_end_of_the_job_limits_what_is_begun(halting):
    halting.take(Drain(seconds=60.0), 100.0)
    assert standing(halting) == [Limited(160.0)]
    assert not halting.is_time_up(NEVER)


def test_while_the_run_drains_nothing_is_begun(halting):
    halting.take(Drain(seconds=60.0, reason="SIGTERM", exit_code=75), 100.0)
    assert standing(halting) == [Limited(160.0), Drained()]


def test_when_the_time_is_up_nothing_is_begun_either_and_no_limit_is_left(halting):
    halting.take(Drain(seconds=60.0, reason="SIGTERM", exit_code=75), 100.0)
    assert halting.is_time_up(160.0)
    told = standing(halting)
    assert told == [Drained()]
    assert Limited(inf) not in told
    assert TimeUp() not in told


def test_what_a_task_scatters_is_told_nothing(halting):
    halting.take(Drain(seconds=60.0, reason="SIGTERM", exit_code=75), 100.0)
    assert standing(halting, entry=object()) == []
