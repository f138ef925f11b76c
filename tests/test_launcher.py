"""Whether a rank notices that its launcher is gone. With real ones: `mpi/test_orphans`."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from mpipool.launcher import Launcher

RANK = {"PMI_RANK": "1", "PMI_SIZE": "2"}
END = """
import os, sys
from mpipool.launcher import end_without_launcher
os.set_blocking(2, False)
full = sys.argv[1] == "full"
try:
    while full:
        os.write(2, bytes(4096))
except BlockingIOError:
    os.set_blocking(2, True)
end_without_launcher()
"""


def test_the_launcher_is_gone_when_its_end_of_the_connection_is_closed():
    """Whatever stands between the two, and whoever the parent is then."""
    ours, theirs = socket.socketpair()
    launcher = Launcher(RANK | {"PMI_FD": str(ours.fileno())}, os.getpid())
    theirs.send(b"cmd=response\n")
    assert not launcher.is_gone
    theirs.close()
    assert launcher.is_gone
    ours.close()


def test_the_launcher_is_gone_when_its_child_has_another_parent():
    """A shell starts a process in the background and ends."""
    shell = subprocess.Popen(
        ["sh", "-c", "sleep 1000 > /dev/null & echo $!; read word"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    below = int(shell.stdout.readline())
    launcher, without = Launcher(RANK, below), Launcher({}, below)
    assert launcher.pid == without.pid == shell.pid
    assert not launcher.is_gone
    shell.communicate(b"\n")
    assert launcher.is_gone
    assert not without.is_gone  # a run without mpiexec goes on when its shell ends
    os.kill(below, 9)


def test_the_script_above_a_rank_is_watched_with_or_without_mpiexec():
    """A fork of the script may hold open all that it had, so nothing else tells of its end."""
    told, tell = os.pipe()
    script = os.fork()
    if script == 0:
        if os.fork() == 0:
            launcher = Launcher({}, os.getppid())
            os.write(tell, b"0" if not launcher.is_gone else b"1")
            while not launcher.is_gone:
                time.sleep(0.01)
            os.write(tell, b"1")
            os._exit(0)
        signal.pause()
    assert os.read(told, 1) == b"0"
    os.kill(script, signal.SIGKILL)
    os.waitpid(script, 0)
    os.close(tell)
    assert os.read(told, 1) == b"1"
    os.close(told)


@pytest.mark.parametrize("reader", ["there", "gone", "full"])
def test_a_rank_ends_whether_or_not_anybody_takes_what_it_says(reader):
    """A launcher that is gone reads nothing: a write may fail, or last for ever."""
    out, end = os.pipe()
    if reader == "gone":
        os.close(out)
    done = subprocess.run([sys.executable, "-c", END, reader], stderr=end, timeout=60)
    os.close(end)
    assert done.returncode == 1
    if reader == "there":
        assert os.read(out, 4096) == b"mpipool: the launcher is gone; this rank ends\n"
    if reader != "gone":
        os.close(out)
