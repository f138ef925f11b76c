"""NODE, the debugger, the batch type and abortOnError."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys

import pytest

from mpipool.ctrl_pool.diagnostics import (
    NODE,
    Debugger,
    abortOnError,
    getBatchType,
    setBatchType,
)


def test_the_node_is_host_and_pid():
    assert f"{os.uname().nodename}:{os.getpid()}" == NODE


def test_the_node_is_that_of_the_process_into_which_it_is_sent():
    script = (
        "import pickle, sys; print(pickle.load(sys.stdin.buffer)); import os; print(os.getpid())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=pickle.dumps(NODE), capture_output=True, check=True
    )
    node, pid = done.stdout.decode().split()
    assert node.endswith(f":{pid}")


def test_the_node_of_a_fork_is_the_forks():
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(writer, f"{NODE} {NODE!s}".encode())
        os._exit(0)
    os.waitpid(pid, 0)
    expected = f"{os.uname().nodename}:{pid}"
    assert os.read(reader, 1000).decode() == f"{expected} {expected}"
    os.close(reader)
    os.close(writer)


def test_the_debugger_is_one_and_silent_until_it_is_enabled():
    text = Debugger().out = io.StringIO()
    Debugger().log("Master", "nothing")
    Debugger().enabled = True
    Debugger().log("Master", "map", [1], None)
    assert text.getvalue() == "Master: map [1] None\n"


def test_what_is_not_written_is_not_made_into_text():
    class Costly:
        def __str__(self):
            raise AssertionError("it was")

    Debugger().log("Master", "map", Costly())


def test_the_batch_type_is_what_was_said():
    assert getBatchType() == "unknown"
    setBatchType(None)
    assert getBatchType() is None


def test_an_error_is_told_where_it_is_raised_and_goes_on(capsys):
    @abortOnError
    def fail(text):
        """Fail."""
        raise LookupError(text)

    with pytest.raises(LookupError):
        fail("no such patch")
    assert capsys.readouterr().err == f"LookupError on {NODE} in fail: no such patch\n"
    assert fail.__doc__ == "Fail."


def test_without_an_error_nothing_is_said(capsys):
    assert abortOnError(len)([1, 2]) == 2
    assert capsys.readouterr().err == ""
