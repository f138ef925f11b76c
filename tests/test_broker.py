"""What the broker does about ranks which say nothing, and about a run that ends."""

import pytest

from mpipool.broker import LAST_RECORDS_SECONDS, Broker
from mpipool.ids import BROKER, Rank
from mpipool.liveness import QUIET, SILENCE
from mpipool.messages import Bye, Hello, Records, Stop, Tally
from mpipool.scheduler.health import Verdict
from mpipool.transport.local import local_world

OTHER = Rank(1)


class Job:
    """A broker, and one rank besides its own, by a clock which the test sets."""

    def __init__(self):
        self.now = 0.0
        self.transports = local_world(2)
        self.broker = Broker(self.transports[BROKER], lambda: self.now, lambda: None)
        for rank in (BROKER, OTHER):
            self.broker.hear(rank)
            self.broker.take(rank, Hello(host="here", pid=1, memory=0))

    def pass_time(self, seconds, *heard):
        """Look once a second; meanwhile these ranks say something."""
        for _ in range(int(seconds)):
            for rank in heard:
                self.broker.hear(rank)
            self.now += 1.0
            self.broker.tick()

    def stops(self):
        """Return what the other rank was told of the end."""
        received = self.transports[OTHER].receive()
        return [message for _, message in received if isinstance(message, Stop)]


@pytest.fixture
def job():
    return Job()


def test_the_broker_does_not_wait_for_words_of_its_own_rank(job, capsys):
    job.pass_time(5, BROKER, OTHER)
    job.pass_time(SILENCE + 10, OTHER)
    assert job.broker.exit_code is None
    assert capsys.readouterr().err == ""


def test_but_for_those_of_another_it_does(job, capsys):
    job.pass_time(5, BROKER, OTHER)
    job.pass_time(SILENCE + 10, BROKER)
    assert job.broker.exit_code == 1
    assert "rank 1 on here has said nothing for 30 s" in capsys.readouterr().err


def test_a_run_which_has_drained_and_then_gets_stuck_ends_with_the_code_of_the_drain(job):
    job.broker.stop(75)
    job.broker.stop(1, stuck="a task of a gang does not end")
    assert job.broker.exit_code == 75
    assert [(stop.exit_code, stop.stuck) for stop in job.stops()] == [
        (75, ""), (75, "a task of a gang does not end"),
    ]  # fmt: skip


def test_the_end_of_a_run_is_told_once(job):
    job.broker.stop(75)
    job.broker.stop(1)
    assert [stop.exit_code for stop in job.stops()] == [75]


def test_a_run_is_over_when_the_records_have_come_which_were_still_on_their_way(job):
    job.broker.stop(0)
    job.broker.take(OTHER, Bye(records=2))
    job.broker.take(OTHER, Records(batches=()))
    job.broker.take(BROKER, Bye())
    job.pass_time(1)
    assert not job.broker.over
    job.broker.take(OTHER, Records(batches=()))
    job.pass_time(1)
    assert job.broker.over


def test_or_when_they_do_not_come_for_they_may_have_gone_by_way_of_a_dead_rank(job, capsys):
    job.broker.stop(0)
    for rank in (BROKER, OTHER):
        job.broker.take(rank, Bye(records=2))
    job.pass_time(LAST_RECORDS_SECONDS)
    assert not job.broker.over
    job.pass_time(1)
    assert job.broker.over
    assert capsys.readouterr().err == ""


# --- what is kept of what it says ----------------------------------------------------------------


class Recorder:
    """Keeps what is noted."""

    failure = None
    loss = ""

    def __init__(self):
        self.noted, self.state = [], ""

    def note(self, said, text):
        self.noted.append(text)

    def add_ranks(self, ranks):
        pass

    def deliver(self):
        pass

    def close(self, state, timeout):
        self.state = state
        return True


@pytest.fixture
def recorded(job):
    """A job with a checkpoint."""
    job.broker._recorder = Recorder()
    return job


def test_what_is_said_of_ranks_and_of_the_end_is_in_the_checkpoint(recorded, capsys):
    recorded.pass_time(5, BROKER, OTHER)
    recorded.pass_time(SILENCE + 10, BROKER)
    quiet, lost = recorded.broker._recorder.noted
    assert quiet == f"rank 1 on here has said nothing for {QUIET:g} s"
    assert lost.startswith("the run can't go on: rank 1 on here is lost")
    assert f"mpipool: {quiet}\n" in capsys.readouterr().err


def test_a_quarantine_is_in_the_checkpoint(recorded, monkeypatch, capsys):
    oversight = recorded.broker.oversight
    monkeypatch.setattr(oversight.health, "judge", lambda: [Verdict((), "node n3 is quarantined")])
    oversight.take(BROKER, Tally(parts=(b'{"stages": [], "chunks": [], "steps": []}',)))
    recorded.pass_time(1, BROKER, OTHER)
    assert recorded.broker._recorder.noted == ["node n3 is quarantined"]
    assert capsys.readouterr().err == "mpipool: node n3 is quarantined\n"


@pytest.mark.parametrize(
    ("left", "said"), [(True, "work is left, and the same command"), (False, "")]
)
def test_a_run_that_has_drained_says_whether_work_is_left(recorded, capsys, left, said):
    recorded.broker.oversight.left = left
    recorded.broker.stop(75)
    for rank in (BROKER, OTHER):
        recorded.broker.take(rank, Bye())
    recorded.pass_time(1)
    assert recorded.broker._recorder.state == "exit 75"
    written = capsys.readouterr().err
    assert said in written
    assert bool(written) == left
