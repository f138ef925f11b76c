"""A disk that fails: the library `disk_faults.c`, and processes which have it."""

import atexit
import ctypes
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

NOTHING, KILL, TEAR, FAIL, FAIL_ONCE, SLOW_SYNC, NO_LOCKS, LOCAL_LOCKS = range(8)
"""What can happen at a call; see the C file."""

SOURCE = Path(__file__).with_name("disk_faults.c")


@functools.cache
def library():
    """Compile the library, and return where it is; skip the test where that can't be done."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("there is no C compiler to make a disk that fails")
    folder = tempfile.mkdtemp(prefix="disk-faults-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = os.path.join(folder, "disk_faults.so")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, SOURCE, "-ldl"], check=True)
    return made


def environment(**settings):
    """Return the environment of a process on whose files faults come."""
    paths = os.pathsep.join(filter(None, sys.path))
    faults = {f"FAULTS_{name.upper()}": str(value) for name, value in settings.items()}
    return {**os.environ, "PYTHONPATH": paths, "LD_PRELOAD": library(), **faults}


def arm(folder, kind, at=0, value=0):
    """In such a process: say what is to happen at which call for files in a folder."""
    ctypes.CDLL(None).faults_arm(os.fsencode(folder), kind, at, value)


def calls():
    """In such a process: how many calls there were since."""
    return ctypes.CDLL(None).faults_calls()


def note_down(file):
    """In such a process: write down from now on what is done to the files, for `power`."""
    ctypes.CDLL(None).faults_note_down(os.fsencode(file))
