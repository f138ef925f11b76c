"""What an agent does with work that comes while the run ends."""

from dataclasses import replace

import pytest

from builders import led_by
from mpipool.agent import Agent
from mpipool.ids import BROKER, LeaseId, Rank
from mpipool.messages import Ask, Define, Lend, Records, RunTasks, Stop
from mpipool.transport.local import local_world

ME, LEADER = Rank(1), Rank(2)
S = led_by(LEADER)
F = b"f" * 16
DEFINE = Define(digest=F, parts=(b"{}", b"function"))
LATE = [
    Lend(lease=LeaseId(1), scatter=led_by(ME), rank=LEADER, quantum=0.1),
    RunTasks(
        lease=LeaseId(1), chunk=1, scatter=S, path=(S,), digest=F, first=0, count=1, attempt=1,
        parts=(b"", b""),
    ),
]  # fmt: skip


class NoProcesses:
    """Nothing may be begun: whatever is asked of it fails the test."""


class Rest:
    """A rank of a run which ends."""

    def __init__(self):
        self.transports = local_world(3)
        self.agent = Agent(self.transports[ME], lambda agent: NoProcesses(), lambda: 0.0)
        self.take(BROKER, Stop(exit_code=0, orderly=True))
        self.said()

    def take(self, sender, message):
        self.agent.take(sender, message)

    def said(self):
        return [
            message for box in (BROKER, LEADER) for _, message in self.transports[box].receive()
        ]


@pytest.fixture
def rank():
    return Rest()


@pytest.mark.parametrize("message", LATE, ids=lambda message: type(message).__name__)
def test_work_which_comes_while_the_run_ends_is_dropped(rank, message):
    rank.take(LEADER, message)
    assert rank.said() == []
    assert not rank.agent.member.entries


def test_but_a_function_is_taken_for_a_gang_may_be_entering_which_needs_it(rank):
    rank.take(LEADER, DEFINE)
    assert rank.agent.serving.definition(F) == DEFINE


def test_and_none_is_forgotten_which_it_may_need(rank):
    rank.take(LEADER, DEFINE)
    rank.take(LEADER, Define(digest=F, forget=True))
    assert rank.agent.serving.definition(F) == DEFINE


@pytest.mark.parametrize(
    "message", [Records(batches=(1, 2, 3, 1, 1)), Ask(request=7, question="find", rank=LEADER)]
)
def test_records_and_questions_are_passed_on_to_the_next_leader_while_the_run_ends(rank, message):
    rank.take(LEADER, replace(message, by=(led_by(LEADER), led_by(ME))))
    assert rank.said() == [replace(message, by=(led_by(LEADER),))]
    rank.take(LEADER, replace(message, by=(led_by(BROKER), led_by(ME))))
    assert rank.said() == [message]
