"""When the run drains, why, and how long what runs may go on: signals and time in, words out."""

from math import inf
from signal import SIGINT, SIGTERM, SIGUSR1, SIGXCPU

import pytest

from mpipool.draining import ALIKE, Draining, Limits, limits, seconds
from mpipool.errors import UsageError
from mpipool.ids import Rank
from mpipool.messages import Drain

EPOCH = 1_700_000_000.0


def draining(walltime=None, grace=None, max_failures=None):
    made = Draining()
    made.know(limits(walltime, grace, max_failures, EPOCH), 100.0, EPOCH)
    return made


def told(machine, now):
    """What the script's leader is told, without what is told again."""
    drain = machine.due(now)
    assert machine.due(now) is None
    return drain


def drain(seconds, reason="", exit_code=0):
    return Drain(seconds=seconds, reason=reason, exit_code=exit_code)


def test_nothing_is_said_while_nothing_happens():
    machine = draining()
    assert machine.due(0.0) is None
    assert machine.due(1e9) is None
    assert not machine.is_over(inf)


# --- signals -------------------------------------------------------------------------------------


def test_a_warning_leaves_tasks_the_grace_but_for_what_ending_takes():
    machine = draining(grace=60)
    machine.warned(Rank(0), SIGUSR1, False, 100.0)
    assert told(machine, 100.0) == drain(55.0, "SIGUSR1", 75)
    assert not machine.is_over(159.9)
    assert machine.is_over(160.0)


def test_of_a_short_grace_a_quarter_is_for_the_end():
    machine = draining(grace=2)
    machine.warned(Rank(0), SIGTERM, False, 100.0)
    assert told(machine, 100.0) == drain(1.5, "SIGTERM", 75)


@pytest.mark.parametrize("number", [SIGTERM, SIGXCPU])
def test_signals_which_come_late_leave_less_time_if_nothing_is_said(number):
    usual, term = draining(), draining()
    usual.warned(Rank(0), SIGUSR1, False, 100.0)
    term.warned(Rank(0), number, False, 100.0)
    assert told(usual, 100.0) == drain(25.0, "SIGUSR1", 75)
    assert told(term, 100.0) == drain(6.0, number.name, 75)


def test_the_same_signal_to_all_ranks_is_one_warning():
    machine = draining(grace=60)
    for rank in range(4):
        machine.warned(Rank(rank), SIGTERM, False, 100.0 + rank)
    assert told(machine, 104.0) == drain(51.0, "SIGTERM", 75)


@pytest.mark.parametrize("again", [SIGTERM, SIGINT, SIGXCPU])
def test_the_same_signal_again_ends_what_runs_at_once(again):
    machine = draining(grace=60)
    machine.warned(Rank(0), again, False, 100.0)
    machine.warned(Rank(0), again, False, 100.25)  # passed on by two
    assert told(machine, 100.25) == drain(54.75, again.name, 75)
    machine.warned(Rank(0), again, False, 110.0)
    assert told(machine, 110.0) == drain(0.0, again.name, 75)
    assert not machine.is_over(110.0)  # to record it takes a moment
    assert machine.is_over(116.0)


def test_a_sigterm_after_a_warning_shortens_the_time_but_does_not_prolong_it():
    machine = draining()
    machine.warned(Rank(0), SIGUSR1, False, 100.0)
    assert told(machine, 100.0) == drain(25.0, "SIGUSR1", 75)
    machine.warned(Rank(0), SIGTERM, False, 105.0)
    assert told(machine, 105.0) == drain(6.0, "SIGUSR1", 75)
    late = draining()
    late.warned(Rank(0), SIGUSR1, False, 100.0)
    assert told(late, 100.0)
    late.warned(Rank(0), SIGTERM, False, 123.0)
    assert told(late, 123.0) is None


def test_where_the_launcher_kills_in_a_moment_there_is_no_grace():
    machine = draining(grace=60)
    machine.warned(Rank(2), SIGTERM, True, 100.0)
    assert told(machine, 100.0) == drain(0.0, "SIGTERM", 75)


# --- the walltime --------------------------------------------------------------------------------


def test_near_the_walltime_the_run_drains_by_itself():
    machine = draining(walltime=3600, grace=60)
    assert told(machine, 100.0) == drain(3595.0)
    assert machine.due(100.0 + 3539) is None
    assert told(machine, 100.0 + 3540) == drain(55.0, "the walltime", 75)
    assert machine.is_over(100.0 + 3600)


def test_a_warning_shortly_before_the_walltime_does_not_go_beyond_it():
    machine = draining(walltime=3600, grace=60)
    machine.warned(Rank(0), SIGUSR1, False, 100.0 + 3520)
    assert told(machine, 100.0 + 3520) == drain(55.0, "SIGUSR1", 75)
    machine = draining(walltime=20)
    machine.warned(Rank(0), SIGUSR1, False, 110.0)
    assert told(machine, 110.0).seconds == 7.5


def test_a_clock_that_is_set_later_changes_nothing():
    machine = draining(walltime=3600)
    machine.know(limits(None, 5, None, EPOCH + 1e6), 200.0, EPOCH + 1e6)
    assert told(machine, 200.0).seconds == pytest.approx(3500.0 - 1.25)


def test_the_batch_system_and_the_command_line_both_say_when_the_job_ends():
    slurm = {"SLURM_JOB_END_TIME": "1700000600"}
    assert Limits.of(slurm) == Limits(EPOCH + 600)
    said = limits("1:00:00", "90", "7", EPOCH)
    written = said.written(slurm)
    assert Limits.of(slurm | written) == Limits(EPOCH + 600, 90.0, 7)
    assert Limits.of(written) == Limits(EPOCH + 3600, 90.0, 7) == said
    assert Limits.of({}) == Limits()
    assert Limits().written({}) == {}


def test_the_earlier_one_of_two_ends_counts():
    outer = limits(100, None, None, EPOCH).written({})
    assert Limits.of(limits(3600, None, None, EPOCH).written(outer)).end == EPOCH + 100


@pytest.mark.parametrize(
    ("text", "value"),
    [("90", 90), ("1.5", 1.5), ("2:30", 150), ("1:30:00", 5400), ("2-00:00:00", 172800),
     ("1-12", 129600)],
)  # fmt: skip
def test_durations_are_read_as_batch_systems_write_them(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "0", "-5", "1:2:3:4", "an hour", "nan", "inf", "1::2"])
def test_what_is_no_duration_is_refused_with_what_it_was(text):
    with pytest.raises(UsageError, match="no duration") as refused:
        seconds(text)
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize("number", [0, -1, "many", "1.5"])
def test_max_failures_is_a_number_from_1_up(number):
    with pytest.raises(UsageError, match="from 1 up"):
        limits(None, None, number, EPOCH)


# --- failures ------------------------------------------------------------------------------------

HOW = "OSError: no such file #"


def test_when_the_first_tasks_of_a_stage_all_fail_alike_that_is_a_reason_to_stop():
    machine = draining()
    assert not machine.failed("measure", 0, ALIKE - 1, HOW)
    reason = machine.failed("measure", 0, 1, HOW)
    assert reason == f"the first 20 tasks of measure have all failed alike: {HOW}"
    machine.give_up(reason, 100.0)
    assert told(machine, 100.0) == drain(25.0, reason, 1)


@pytest.mark.parametrize("other", [(1, 0, ""), (0, 1, "ValueError: #"), (0, 2, "")])
def test_not_if_one_of_them_is_done_or_fails_in_another_way(other):
    machine = draining()
    assert not machine.failed("measure", 0, 10, HOW)
    assert not machine.failed("measure", *other)
    assert not machine.failed("measure", 0, 100, HOW)


def test_stages_are_looked_at_one_by_one():
    machine = draining()
    assert not machine.failed("good", 50, 0, "")
    assert not machine.failed("bad", 0, 19, HOW)
    assert not machine.failed("other", 0, 19, HOW)
    assert machine.failed("bad", 0, 1, HOW)


def test_calls_without_a_stage_may_fail_as_they_like():
    assert not draining().failed("", 0, 1000, HOW)


def test_if_it_is_said_how_many_may_fail_that_alone_counts():
    machine = draining(max_failures=50)
    assert not machine.failed("measure", 0, 40, HOW)
    assert not machine.failed("", 5, 9, "")
    assert machine.failed("measure", 9, 1, HOW) == (
        "50 tasks have failed, and --max-failures is reached"
    )


def test_a_run_which_drains_for_a_signal_keeps_that_reason():
    machine = draining()
    machine.warned(Rank(0), SIGUSR1, False, 100.0)
    machine.give_up("too many failures", 100.0)
    assert told(machine, 100.0) == drain(25.0, "SIGUSR1", 75)
