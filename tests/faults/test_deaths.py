"""Whatever a task does to itself is an ordinary failure, and stands in the run's database.

All faults are tasks of one map, among others which nothing may happen to.
"""

import sqlite3

import pytest

from mpipool import Pool

FAULTS = {}
"""By name: what a task does, and what its record must say: error, message, end of stderr."""
HANGS = {}
"""The same for what only a timeout ends."""
BREAKS = "all_descriptors_of_others", "a_change_of_what_runs_it"
"""What shows only when the outcome is sent, with those of others perhaps."""
DIED = "ExecutorDied"


def fault(error, message, stderr="", among=FAULTS):
    def note(function):
        among[function.__name__] = function, error, message, stderr
        return function

    return note


def hang(function):
    return fault(DIED, "it took longer than its timeout of 1 s", among=HANGS)(function)


@fault("ValueError", "a wrong value", "said before\n")
def an_exception():
    import sys

    print("said before", file=sys.stderr)
    raise ValueError("a wrong value")


@fault("SystemExit", "3")
def sys_exit():
    import sys

    sys.exit(3)


@fault("KeyboardInterrupt", "")
def an_interrupt():
    import os
    import signal

    os.kill(os.getpid(), signal.SIGINT)


@fault("RecursionError", "maximum recursion depth")
def a_recursion():
    a_recursion()


@fault(DIED, "ended with exit code 7 in the middle of the task", "about to exit\n")
def os_exit():
    import os

    os.write(2, b"about to exit\n")
    os._exit(7)


@fault(DIED, "killed by SIGSEGV", "Segmentation fault")
def a_segmentation_fault():
    import ctypes
    import faulthandler

    faulthandler.enable()
    ctypes.string_at(0)


@fault(DIED, "killed by SIGABRT")
def an_abort():
    import os

    os.abort()


@fault(DIED, "killed by SIGSEGV")
def a_recursion_in_c():
    import sys

    sys.setrecursionlimit(10**9)

    class Endless:
        def __repr__(self):
            return repr(self)

    repr(Endless())


@fault(DIED, "killed by SIGHUP")
def a_signal_to_its_process_group():
    import os
    import signal
    import time

    os.kill(os.getppid(), signal.SIGTERM)  # the guard does not mind
    os.killpg(0, signal.SIGHUP)
    time.sleep(100)


@fault(DIED, "killed by SIGALRM")
def an_alarm():
    import signal
    import time

    signal.setitimer(signal.ITIMER_REAL, 0.01)
    time.sleep(100)


@fault(DIED, "killed by SIGXCPU")
def a_limit_of_the_cpu():
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (1, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    while True:
        pass


@fault("UnpicklableError", "the result can't be sent")
def a_result_that_does_not_pickle():
    import threading

    return threading.Lock()


class TwoArguments(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


@fault("TwoArguments", "salt and pepper")
def an_exception_that_does_not_unpickle():
    raise TwoArguments("salt", "pepper")


class Deadly(Exception):
    def __reduce__(self):
        import os

        return os._exit, (5,)


@fault(DIED, "exit code 5 in the middle of the task, while the exception that it had raised was "
       "pickled (Deadly: dynamite)")  # fmt: skip
def an_exception_whose_unpickling_kills():
    raise Deadly("dynamite")


@fault(DIED, "after it had closed the descriptor by which it is led")
def all_descriptors_closed():
    import os
    import time

    os.closerange(0, 65536)
    time.sleep(0.001)


@fault(DIED, "after it had closed the descriptor by which it is led")
def all_descriptors_of_others():
    import os
    import socket

    os.closerange(3, 65536)
    # What is written to the channel's number now must not go there.
    opened = [socket.create_connection(socket.create_server(("", 0)).getsockname())]
    while len(opened) < 50:
        opened.append(opened[0].dup())
    return [one.detach() for one in opened][:0]


@fault(DIED, "which could not go on as the task has left it (TypeError", "TypeError")
def a_change_of_what_runs_it():
    from mpipool.executor.batch import Batch

    Batch.report = None


@hang
def an_endless_loop():
    while True:
        pass


@hang
def a_hang_in_c():
    import ctypes

    ctypes.PyDLL(None).pause()  # holds the GIL


@hang
def a_hang_that_ignores_signals():
    import signal
    import time

    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    time.sleep(100)


@hang
def a_stop():
    import os
    import signal

    os.kill(os.getpid(), signal.SIGSTOP)


@hang
def an_exception_whose_unpickling_hangs():
    import time

    class Sleepy(Exception):
        def __reduce__(self):
            return time.sleep, (100,)

    raise Sleepy


def run(folder, faults, hangs):
    """Run in the script: all faults, with a healthy task behind each."""

    def work(item):
        name, number = item
        if name in faults:
            return faults[name]()
        return hangs[name]() if name else number

    with Pool(checkpoint=f"{folder}/run.db") as pool:
        results = []
        for stage, names, limit in ("faults", faults, None), ("hangs", hangs, 1.0):
            items = [pair for at, name in enumerate(names) for pair in ((name, at), ("", at))]
            results += pool.map(
                work, items, stage=stage, key=lambda item: {"fault": item[0], "number": item[1]},
                errors="return", timeout=limit,
            )  # fmt: skip
    return [result for result in results if isinstance(result, int)]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """What was recorded of each fault, and which of the healthy tasks came back."""
    from pool.world import World

    folder = tmp_path_factory.mktemp("faults")
    world = World(2, cwd=folder)
    functions = ({name: one[0] for name, one in each.items()} for each in (FAULTS, HANGS))
    healthy = world(run, str(folder), *functions)
    assert world.close() == 0
    with sqlite3.connect(folder / "run.db") as connection:
        rows = connection.execute(
            "SELECT json_extract(data_id, '$.fault'), state, error, message, stderr, peak_memory,"
            " attempt, traceback, rank, started FROM record"
        ).fetchall()
    return healthy, rows


def test_nothing_happens_to_the_others(records):
    healthy, rows = records
    assert healthy == [*range(len(FAULTS)), *range(len(HANGS))]
    assert [row[1] for row in rows if not row[0]].count("done") == len(FAULTS) + len(HANGS)


@pytest.mark.parametrize("name", [*FAULTS, *HANGS])
def test_a_fault_is_recorded_with_its_reason_and_costs_one_attempt(records, name):
    _, error, message, stderr = (FAULTS | HANGS)[name]
    # Short tasks are reported together: one that went down with others may be run again.
    (row,) = [row for row in records[1] if row[0] == name and row[1] != "lost"]
    _, state, found, said, last, peak, attempt, traceback = row[:8]
    assert (state, found) == ("failed", error)
    assert attempt == 1 or name in BREAKS
    assert message in said
    assert stderr in (last or "")
    assert peak > 1000, "KiB"
    assert (traceback is None) == (error == DIED)


def test_what_a_process_has_said_goes_with_it(records):
    said = {row[0]: row[8:] for row in records[1] if "about to exit" in (row[4] or "")}
    rank, began = said.pop("os_exit")
    # What failed before it in the same process, and is reported with it, has the same last words.
    assert all(other == rank and started <= began for other, started in said.values()), said
