"""A supervisor between a launcher, which the test plays, and a rank's process."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from mpipool import supervisor

RANK = """
import os, signal, sys, time
supervisor, end = map(int, os.environ["MPIPOOL_UP"].split())
assert supervisor == os.getppid()
{before}
os.write(end, b"!")
print(os.getpid(), flush=True)
{after}
"""
WAIT = "sys.stdin.read()"
TIMEOUT = 60


class Started:
    """A supervisor and what it started; the launcher's end of its connection."""

    def __init__(self, rank, before="", after=WAIT, notes=os.devnull):
        self.connection, theirs = socket.socketpair()
        self.connection.settimeout(TIMEOUT)
        script = RANK.format(before=before, after=after)
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", supervisor.__file__, sys.executable, "-c", script],
            env=os.environ
            | {"PMI_RANK": str(rank), "PMI_FD": str(theirs.fileno()), supervisor.LAUNCHER: notes},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        theirs.close()

    def come_up(self):
        """Return the process id of the rank."""
        return int(self.process.stdout.readline())

    def finish(self):
        """Wait for its end; return its exit code, what it told the launcher, and the user."""
        _, err = self.process.communicate(timeout=TIMEOUT)
        return self.process.returncode, self.connection.recv(1000), err.decode()


@pytest.fixture
def start():
    started = []

    def make(*arguments, **keywords):
        started.append(Started(*arguments, **keywords))
        return started[-1]

    yield make
    for each in started:
        each.process.kill()
        each.process.wait()
        each.connection.close()


def test_a_rank_that_is_killed_leaves_with_a_goodbye_and_without_a_failure(start):
    started = start(rank=3)
    os.kill(started.come_up(), signal.SIGKILL)
    code, told, said = started.finish()
    assert (code, told) == (0, b"cmd=finalize\n")
    assert said == "mpipool: rank 3 died (signal 9, SIGKILL)\n"


def test_the_death_of_rank_0_is_that_of_the_job(start, tmp_path):
    notes = tmp_path / "notes"
    started = start(rank=0, notes=str(notes))
    os.kill(started.come_up(), signal.SIGSEGV)
    code, told, said = started.finish()
    assert (code, told) == (128 + signal.SIGSEGV, b"")
    assert said == "mpipool: rank 0 died (signal 11, SIGSEGV)\n"
    assert notes.read_text() == "rank 0 died (signal 11, SIGSEGV)\n"


def test_a_rank_which_dies_before_it_has_come_up_takes_the_job_along(start):
    started = start(rank=3, before="os.kill(os.getpid(), signal.SIGKILL)")
    code, told, said = started.finish()
    assert (code, told) == (128 + signal.SIGKILL, b"")
    assert said == "mpipool: rank 3 died (signal 9, SIGKILL)\n"


def test_a_command_which_fails_before_it_has_come_up_gives_its_code(start):
    assert start(rank=3, before="sys.exit(5)").finish() == (5, b"", "")


@pytest.mark.parametrize(("rank", "code"), [(0, 75), (3, 0)])
def test_the_exit_code_of_the_job_is_that_of_rank_0(start, rank, code):
    assert start(rank, after="sys.exit(75)").finish() == (code, b"cmd=finalize\n", "")


def test_a_rank_that_has_said_goodbye_itself_is_no_trouble(start):
    started = start(rank=3, after=WAIT)
    started.come_up()
    started.connection.close()
    started.process.stdin.close()
    assert started.process.wait(TIMEOUT) == 0


def test_signals_are_passed_on_once(start):
    count = "signal.signal(signal.SIGTERM, lambda *_: print('once', flush=True))"
    started = start(rank=3, before=count, after="[time.sleep(0.01) for _ in range(100)]")
    started.come_up()
    os.kill(started.process.pid, signal.SIGTERM)
    out, _ = started.process.communicate(timeout=TIMEOUT)
    assert out == b"once\n"


def test_a_rank_is_in_a_group_of_its_own_so_that_it_gets_a_signal_for_all_once(start):
    started = start(rank=3)
    pid = started.come_up()
    assert os.getpgid(pid) == pid


def test_when_the_launcher_is_gone_the_rank_ends(tmp_path):
    """The launcher is a process between, which is killed."""
    script = tmp_path / "rank.py"
    script.write_text("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(1000)\n")
    between = (
        "import subprocess, sys\n"
        f"subprocess.Popen([sys.executable, '-I', '-S', {supervisor.__file__!r}, sys.executable, "
        f"{str(script)!r}]).wait()"
    )
    launcher = subprocess.Popen([sys.executable, "-c", between], stdout=subprocess.PIPE)
    pid = int(launcher.stdout.readline())
    launcher.kill()
    launcher.wait()
    # The rank's output is closed once both it and the supervisor are gone.
    assert launcher.stdout.read() == b""
    launcher.stdout.close()
    deadline = time.monotonic() + TIMEOUT
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not os.path.exists(f"/proc/{pid}")


def test_a_supervisor_is_small(start):
    """Two thirds of what a bare Python takes are shared by those of a node."""
    started = start(rank=3)
    started.come_up()
    with open(f"/proc/{started.process.pid}/smaps_rollup") as rollup:
        (pss,) = [int(line.split()[1]) for line in rollup if line.startswith("Pss:")]
    assert pss < 8 * 1024
    with open(f"/proc/{started.process.pid}/maps") as maps:
        assert "ctypes" not in maps.read()
