"""What a leader tells the broker of how its tasks fare."""

import json
from dataclasses import replace

import pytest

from builders import batch
from mpipool.outcomes import Outcomes
from mpipool.tallying import Tallying
from mpipool.task import DONE, FAILED, LOST, dump_details
from test_leading import MEMBER, leader, outcome


def failed(message, error="OSError"):
    return FAILED, dump_details({"error": error, "message": message, "traceback": ""}), b""


@pytest.fixture
def rank():
    return Leader()


class Leader:
    """A leader's tally, of one scatter."""

    def __init__(self):
        made, _, self.chunk = leader(tasks=100)
        (self.led,) = made.scatters.values()
        self.tallying = Tallying()

    def saw(self, *tasks, busy=0.0):
        """Report tasks of the chunk, given as (state, details, result)."""
        report = replace(outcome(self.chunk, b""), count=len(tasks), busy=busy, parts=batch(*tasks))
        states = [state for state, *_ in tasks]
        bad = tuple(index for index, state in enumerate(states) if state == FAILED)
        undone = states.count(LOST)
        outcomes = Outcomes(0, report.parts)
        self.tallying.saw(self.led, MEMBER, report, bad, undone, outcomes)

    def told(self, now=100.0):
        tally = self.tallying.take(now)
        return tally and json.loads(tally.parts[0])


GOOD = (DONE, b"", b"")
KIND = (b"d" * 16).hex()


def test_tasks_are_counted_by_rank_and_function(rank):
    rank.saw(GOOD, GOOD)
    rank.saw(GOOD, failed("no"))
    told = rank.told()
    assert told["chunks"] == [[int(MEMBER), KIND, 2, 1, 4, 1]]
    assert told["stages"] == [["", 3, 1, "OSError: no"]]


def test_nothing_is_told_twice_nor_without_need(rank):
    assert rank.told() is None
    rank.saw(GOOD)
    assert rank.told(100.0)
    assert rank.told(200.0) is None


def test_successes_are_told_once_a_second_and_failures_at_once(rank):
    rank.saw(GOOD)
    assert rank.told(100.0)
    rank.saw(GOOD)
    assert rank.told(100.5) is None
    rank.saw(failed("no"))
    assert rank.told(100.5)


def test_failures_are_alike_but_for_numbers_and_paths(rank):
    rank.saw(
        failed("no /data/1.fits at 0x7f12, row 17\nand more"), failed("no /x/2 at 0x8, row 3.5")
    )
    assert rank.told()["stages"] == [["", 0, 2, "OSError: no # at #, row #"]]


@pytest.mark.parametrize("other", [failed("yes"), failed("no", "ValueError")])
def test_failures_which_differ_have_nothing_in_common(rank, other):
    rank.saw(failed("no"), other)
    assert rank.told()["stages"] == [["", 0, 2, ""]]


def test_what_is_run_again_through_no_fault_of_its_own_is_not_counted(rank):
    rank.saw((LOST, b"", b""))
    assert rank.told() is None


def test_a_failure_which_is_tried_again_counts_against_its_rank_alone(rank):
    rank.led.machine.retries = 1
    rank.saw(failed("no"))
    told = rank.told()
    assert told["chunks"] == [[int(MEMBER), KIND, 1, 1, 1, 1]]
    assert told["stages"] == [["", 0, 0, ""]]


def test_the_next_attempts_do_not_count_against_their_rank(rank):
    (lease,) = rank.led.machine.leases.values()
    (chunk,) = lease.chunks.values()
    chunk.attempt = 2
    rank.saw(failed("no"))
    told = rank.told()
    assert told["chunks"] == []
    assert told["stages"] == [["", 0, 1, "OSError: no"]]


def test_how_long_a_task_took_is_told_in_steps_of_a_fourth_of_an_octave(rank):
    rank.led.machine.pace.mean = 1.0
    for busy in (1.0, 2.0, 0.5, 1e9, 0.01):  # the last one is too short to say something
        rank.saw(GOOD, busy=busy)
    member = int(MEMBER)
    assert rank.told()["steps"] == [[member, 0], [member, 4], [member, -4], [member, 40]]


def test_nothing_is_said_of_what_was_given_up(rank):
    rank.led.machine.abandoned = True
    rank.saw(failed("no"))
    assert rank.told() is None
