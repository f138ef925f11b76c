"""The kernel tells of processes which have ended, and takes those which must not come back."""

import select
import signal
import subprocess
import sys

import pytest

from mpipool.ids import Rank
from mpipool.transport.deaths import LAUNCHER, Deaths, survives, tell_launcher
from mpipool.transport.doorbell import Doorbell


@pytest.fixture
def process():
    started = subprocess.Popen(
        [sys.executable, "-c", "import sys; print(1, flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert started.stdout.readline()
    yield started
    started.kill()
    started.wait()
    started.stdin.close()
    started.stdout.close()


@pytest.fixture
def deaths():
    return Deaths(Doorbell().descriptor)


def is_ready(deaths, seconds):
    return bool(select.select([deaths.descriptor], [], [], seconds)[0])


def test_a_death_is_noticed_once_even_while_nobody_has_waited_for_the_process(process, deaths):
    deaths.watch(Rank(4), process.pid)
    assert not is_ready(deaths, 0)
    assert deaths.noticed() == []
    process.send_signal(signal.SIGKILL)
    assert is_ready(deaths, 60)
    assert deaths.noticed() == [4]
    assert deaths.noticed() == []
    assert not is_ready(deaths, 0)


def test_the_doorbell_wakes_whoever_waits_for_deaths():
    bell = Doorbell()
    deaths = Deaths(bell.descriptor)
    bell.sleeps()
    assert not is_ready(deaths, 0)
    with open(f"/proc/self/fd/{bell.address.bell}", "wb") as other_end:
        other_end.write(b"!")
    assert is_ready(deaths, 60)
    assert deaths.noticed() == []
    bell.wakes()
    assert not is_ready(deaths, 0)


def test_a_rank_that_is_stopped_and_given_up_is_killed(process, deaths):
    deaths.watch(Rank(4), process.pid)
    process.send_signal(signal.SIGSTOP)
    deaths.kill(Rank(4))
    assert process.wait(60) == -signal.SIGKILL
    assert deaths.noticed() == []


def test_only_the_rank_which_was_given_up_is_killed(process, deaths):
    deaths.watch(Rank(4), process.pid)
    deaths.kill(Rank(5))
    assert process.poll() is None


def test_a_process_which_is_gone_already_is_nothing_to_watch(deaths):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    deaths.watch(Rank(4), ended.pid)
    assert deaths.noticed() == []


def test_who_started_mpiexec_is_told_if_it_is_there(tmp_path, monkeypatch):
    monkeypatch.delenv(LAUNCHER, raising=False)
    tell_launcher("to nobody")
    monkeypatch.setenv(LAUNCHER, str(tmp_path / "is not there"))
    tell_launcher("to nobody")
    (tmp_path / "notes").touch()
    monkeypatch.setenv(LAUNCHER, str(tmp_path / "notes"))
    tell_launcher("begun")
    assert (tmp_path / "notes").read_text() == "begun\n"


@pytest.mark.parametrize(
    ("environment", "goes_on"),
    [
        ({}, False),
        ({"MPIPOOL_SURVIVE": ""}, False),
        ({"MPIPOOL_SURVIVE": "supervisor"}, True),
        ({"OMPI_MCA_mpi_ft_enable": "1"}, True),
        ({"OMPI_MCA_mpi_ft_enable": "0"}, False),
    ],
)
def test_ranks_know_from_the_environment_whether_the_job_goes_on(environment, goes_on):
    assert survives(environment) == goes_on
