"""What a task changes of its process, the next one does not see.

Each change is made by one task; a probe tells before and after, in the only executor there is,
whether it is in the same process. A change that can be undone must not cost the process.
"""

import os

import pytest

from mpipool import Pool

UNDONE = {}
"""By name: what a task does, and what shows it."""


def undone(name):
    def note(pair):
        UNDONE[name] = pair()
        return pair

    return note


@undone("working folder")
def _():
    return lambda: os.chdir("/"), os.getcwd


@undone("a working folder which is removed")
def _():
    import tempfile

    def change():
        folder = tempfile.mkdtemp()
        os.chdir(folder)
        os.rmdir(folder)

    return change, os.getcwd


@undone("environment")
def _():
    def change():
        os.environ["MPIPOOL_TEST"] = "1"
        del os.environ["PATH"]

    return change, lambda: (os.environ.get("PATH"), os.environ.get("MPIPOOL_TEST"))


@undone("time zone")
def _():
    import time

    def change():
        os.environ["TZ"] = "Pacific/Auckland"
        time.tzset()

    return change, lambda: time.localtime(0).tm_hour


@undone("umask")
def _():
    from pathlib import Path

    def probe():
        status = Path("/proc/self/status").read_text()
        return next(line for line in status.splitlines() if line.startswith("Umask"))

    return lambda: os.umask(0o777), probe


@undone("signal handlers")
def _():
    import signal

    def change():
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGWINCH, lambda *_: None)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)

    def probe():
        numbers = signal.SIGTERM, signal.SIGWINCH, signal.SIGPIPE
        return [str(signal.getsignal(number)) for number in numbers]

    return change, probe


@undone("blocked signals")
def _():
    import signal

    def change():
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGCHLD])

    return change, lambda: sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


@undone("an alarm")
def _():
    import signal

    return lambda: signal.alarm(100), lambda: signal.getitimer(signal.ITIMER_REAL)[0] > 0


@undone("resource limits")
def _():
    import resource

    def change():
        for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_CPU, resource.RLIMIT_CORE):
            resource.setrlimit(which, (20, resource.getrlimit(which)[1]))

    def probe():
        numbers = resource.RLIMIT_NOFILE, resource.RLIMIT_CPU, resource.RLIMIT_CORE
        return list(map(resource.getrlimit, numbers))

    return change, probe


@undone("CPUs")
def _():
    return lambda: os.sched_setaffinity(0, {1}), lambda: os.sched_getaffinity(0)


@undone("random numbers")
def _():
    import random

    return lambda: random.seed(1), lambda: random.Random(1).random() == random.random()


@undone("NumPy's random numbers")
def _():
    import numpy

    def probe():
        return numpy.random.RandomState(1).random() == numpy.random.random()

    return lambda: numpy.random.seed(1), probe


@undone("NumPy's errors")
def _():
    import numpy

    return lambda: numpy.seterr(all="raise") and None, lambda: numpy.geterr()


@undone("decimal's precision")
def _():
    import decimal

    def change():
        decimal.getcontext().prec = 3

    return change, lambda: decimal.getcontext().prec


@undone("standard descriptors")
def _():
    def probe():
        return [os.readlink(f"/proc/self/fd/{number}") for number in range(3)]

    return lambda: os.closerange(0, 3), probe


@undone("standard descriptors that are other files now")
def _():
    import tempfile

    def change():
        with tempfile.TemporaryFile() as file:
            for number in range(3):
                os.dup2(file.fileno(), number)

    def probe():
        return [os.readlink(f"/proc/self/fd/{number}") for number in range(3)]

    return change, probe


@undone("sys.stdout")
def _():
    import io
    import sys

    def change():
        sys.stdout = sys.stderr = io.StringIO()
        sys.stdin = None

    return change, lambda: [type(each).__name__ for each in (sys.stdin, sys.stdout, sys.stderr)]


@undone("recursion limit")
def _():
    import sys

    return lambda: sys.setrecursionlimit(50_000), sys.getrecursionlimit


@undone("garbage collection")
def _():
    import gc

    return gc.disable, gc.isenabled


@undone("tracing")
def _():
    import sys

    def change():
        sys.setprofile(lambda *_: None)
        sys.settrace(lambda *_: None)

    return change, lambda: (sys.getprofile(), sys.gettrace())


@undone("hooks")
def _():
    import sys

    def change():
        sys.excepthook = print

    return change, lambda: str(sys.excepthook)


@undone("sys.path and sys.modules")
def _():
    import sys

    def change():
        sys.path[:] = ["/nowhere"]
        del sys.modules["json"], sys.modules["mpipool.executor.runtime"]
        sys.modules["os"] = None

    def probe():
        names = "json", "os", "mpipool.executor.runtime"
        return sys.path, [sys.modules.get(name) is not None for name in names]

    return change, probe


@undone("builtins")
def _():
    import builtins

    def change():
        builtins.input = builtins.open = None

    return change, lambda: [str(each) for each in (input, open)]


@undone("warnings")
def _():
    import warnings

    def change():
        warnings.simplefilter("error")
        warnings.showwarning = print

    def probe():
        warnings.warn("harmless", stacklevel=1)
        return len(warnings.filters), str(warnings.showwarning)

    return change, probe


@undone("logging")
def _():
    import logging

    def change():
        logging.basicConfig(level=logging.DEBUG)
        logging.disable(logging.CRITICAL)
        logging.getLogger("concurrent.futures").addHandler(logging.NullHandler())

    def probe():
        named = logging.getLogger("concurrent.futures")
        return (
            logging.root.level,
            len(logging.root.handlers),
            len(named.handlers),
            (logging.root.manager.disable),
        )

    return change, probe


@undone("locale")
def _():
    import locale

    return lambda: locale.setlocale(locale.LC_ALL, "C"), lambda: locale.setlocale(locale.LC_ALL)


@undone("fault handler")
def _():
    import faulthandler

    def change():
        faulthandler.enable()
        faulthandler.dump_traceback_later(0.3, exit=True)

    def probe():
        import time

        time.sleep(0.5)
        return faulthandler.is_enabled()

    return change, probe


@undone("the default timeout of sockets")
def _():
    import socket

    return lambda: socket.setdefaulttimeout(1.0), socket.getdefaulttimeout


@undone("atexit and at-fork handlers")
def _():
    import atexit

    def change():
        atexit.register(os._exit, 3)
        os.register_at_fork(before=lambda: None)

    return change, lambda: None


def look(change, probe):
    """Run in the script: what the probe says before and after the change, and where."""

    def task(step):
        import time

        time.sleep(0.001)  # a task that takes long enough for everything to be looked at
        return os.getpid(), change() if step == 1 else probe()

    pool = Pool()
    (pid, before), (changed, _), (after_pid, after) = (pool.map(task, [x])[0] for x in range(3))
    del changed
    one = pool.map(task, [0, 1, 2])
    return before, [after, one[2][1]], {pid, after_pid, one[2][0]}


@pytest.fixture(scope="module")
def alone():
    """One rank, and so one executor."""
    from pool.world import World

    made = World(1)
    yield made
    assert made.close() == 0


@pytest.mark.parametrize("name", UNDONE)
def test_a_change_is_undone_and_the_process_stays(alone, name):
    change, probe = UNDONE[name]
    before, seen, pids = alone(look, change, probe)
    assert seen == [before] * len(seen)
    assert len(pids) == 1


def look_among_many(change, probe):
    """Run in the script: what tasks of microseconds see, which are run in large chunks."""

    def task(x):
        return change() if x % 100 == 99 else probe()

    pool = Pool()
    pool.map(abs, range(2000))
    return [repr(value) for x, value in enumerate(pool.map(task, range(1000))) if x % 100 != 99]


@pytest.mark.parametrize("name", sorted(UNDONE.keys() - {"fault handler"}))
def test_the_shortest_tasks_do_not_see_changes_either(alone, name):
    change, probe = UNDONE[name]
    assert len(set(alone(look_among_many, change, probe))) == 1
