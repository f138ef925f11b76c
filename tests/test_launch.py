"""How a run begins, as far as one process shows it."""

import subprocess
import sys

import pytest

CODE = """
import os, sys
os.close({0})
from mpipool.launch import _open_standard_streams
_open_standard_streams()
where = os.readlink("/proc/self/fd/{0}")
opened = sorted(map(int, os.listdir("/proc/self/fd")))[:-1]  # one lists them
said = f"{{where}} {{os.get_inheritable({0})}} {{opened}}"
os.write(1 if {0} == 2 else 2, said.encode())
"""


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_standard_stream_which_was_closed_leads_nowhere(closed):
    command = [sys.executable, "-c", CODE.format(closed)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout + done.stderr == "/dev/null True [0, 1, 2]"
