"""The pool in a notebook's kernel and in a REPL: cells, interrupts, restarts."""

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest
from jupyter_client import KernelManager

pytestmark = pytest.mark.long

TIMEOUT = 60.0
"""Seconds after which something counts as hung."""
BEGIN = """
import os, time
from itertools import count
from concurrent.futures import as_completed, wait
from mpipool import Pool, PoolExecutor
pool = Pool(workers=4)

def endless(number):
    with open(f"begun-{number}", "w") as file:
        file.write(str(os.getpid()))
    time.sleep(600)
"""


class Notebook:
    """A real kernel, and somebody who runs cells in it."""

    def __init__(self, folder):
        # A short name: that of a socket may have 107 characters.
        file = str(Path(tempfile.mkdtemp(dir=folder.parent.parent, prefix="k")) / "kernel.json")
        self.kernel = KernelManager(transport="ipc", connection_file=file)
        environment = os.environ | {"IPYTHONDIR": str(folder), "PYTHONPATH": ""}
        del environment["PYTEST_CURRENT_TEST"]  # in a test a kernel leaves descriptor 1 alone
        self.kernel.start_kernel(cwd=str(folder), env=environment)
        self._client = self.kernel.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=TIMEOUT)

    def run(self, code):
        """Run a cell; return what it printed, and the text of what it evaluates to, or raised."""
        told = []
        self._client.execute_interactive(
            code, timeout=TIMEOUT, output_hook=lambda message: told.append(message["content"])
        )
        printed = "".join(each["text"] for each in told if "text" in each)
        values = [each["data"]["text/plain"] for each in told if "data" in each]
        raised = [each["ename"] for each in told if "ename" in each]
        return printed, "".join(values + raised)

    def begin(self, code):
        """Run a cell without waiting for it."""
        self._client.execute(code)

    def interrupt(self, code, when):
        """Run a cell, and interrupt it once something is so; return what it raised."""

        def press():
            wait_until(when)
            self.kernel.interrupt_kernel()

        pressing = threading.Thread(target=press)
        pressing.start()
        _, raised = self.run(code)
        pressing.join()
        return raised

    def restart(self):
        """Restart the kernel, as from the menu."""
        self.kernel.restart_kernel()
        self._client.wait_for_ready(timeout=TIMEOUT)

    def processes(self):
        """Return the processes below the kernel."""
        return psutil.Process(self.kernel.provisioner.pid).children(recursive=True)

    def close(self):
        self._client.stop_channels()
        self.kernel.shutdown_kernel(now=True)


@pytest.fixture
def notebook(tmp_path):
    made = Notebook(tmp_path)
    try:
        made.run(BEGIN)
        yield made
    finally:
        made.close()


def wait_until(condition):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def begun(folder):
    """Return the processes of the endless tasks which have begun."""
    return [int(text) for path in folder.glob("begun-*") if (text := path.read_text())]


def left_after(seconds, processes):
    """Return which of some processes still live after a time, at the latest."""
    return psutil.wait_procs(processes, timeout=seconds)[1]


def is_gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_cells_map_the_functions_of_the_notebook_as_they_are_now(notebook):
    notebook.run("def plus(number):\n    return number + offset\noffset = 1")
    assert notebook.run("pool.map(plus, range(3))") == ("", "[1, 2, 3]")
    notebook.run("offset = 10")
    assert notebook.run("pool.map(plus, range(3))") == ("", "[10, 11, 12]")
    notebook.run("def plus(number):\n    return -number")
    assert notebook.run("pool.map(plus, range(3))") == ("", "[0, -1, -2]")
    assert notebook.run("pool.submit(plus, 7).result()") == ("", "-7")
    assert notebook.run("pool.map(lambda number: number**offset, [2])") == ("", "[1024]")
    notebook.run("def add(a, b, c=0):\n    return a + b + c")
    assert notebook.run("pool.scatterGather(add, range(3), 10, c=100)") == ("", "[110, 111, 112]")
    endless = "stream = pool.imap(plus, count())\nresult = [next(stream), next(stream)]\nresult"
    assert notebook.run(endless) == ("", "[0, -1]")
    notebook.run("futures = [pool.submit(pow, number, 2) for number in range(5)]")
    done = "sorted(future.result() for future in as_completed(futures))"
    assert notebook.run(done) == ("", "[0, 1, 4, 9, 16]")
    gathered = "with PoolExecutor() as executor:\n    r = list(executor.map(plus, range(3)))\nr"
    assert notebook.run(gathered) == ("", "[0, -1, -2]")


def test_what_tasks_print_appears_below_a_cell(notebook):
    printed, _ = notebook.run("pool.map(lambda number: print('task', number), range(3))")
    wanted = {"task 0", "task 1", "task 2"}
    deadline = time.monotonic() + TIMEOUT
    while not wanted.issubset(printed.splitlines()):  # it may come a moment after the cell's end
        assert time.monotonic() < deadline, printed
        printed += notebook.run("time.sleep(0.1)")[0]


def test_an_error_of_a_task_is_the_cells(notebook):
    assert notebook.run("pool.map(lambda number: 1 / number, range(2))")[1] == "ZeroDivisionError"
    assert notebook.run("pool.map(abs, [-1])") == ("", "[1]")


@pytest.mark.parametrize(
    "cell",
    [
        "pool.map(endless, range(20))",
        "list(pool.imap_unordered(endless, count()))",
        "futures = [pool.submit(endless, n) for n in range(20)]\n[f.result() for f in futures]",
        "wait([pool.submit(endless, number) for number in range(20)])",
        "with PoolExecutor() as executor:\n    list(executor.map(endless, range(20)))",
    ],
)
def test_an_interrupt_cancels_what_waits_ends_what_runs_and_leaves_the_pool(
    notebook, tmp_path, cell
):
    raised = notebook.interrupt(cell, when=lambda: len(begun(tmp_path)) == 4)
    assert raised == "KeyboardInterrupt"
    running = begun(tmp_path)
    wait_until(lambda: all(map(is_gone, running)))
    for _ in range(2):
        assert notebook.run("pool.map(abs, range(-8, 0))")[1] == "[8, 7, 6, 5, 4, 3, 2, 1]"
        assert notebook.run("pool.submit(pow, 2, 3).result()")[1] == "8"
    assert sorted(begun(tmp_path)) == sorted(running), "others have begun after the interrupt"


def test_a_restart_leaves_nothing_behind_and_need_not_kill_the_kernel(notebook, tmp_path):
    assert notebook.run("pool.map(abs, [-1, -2])") == ("", "[1, 2]")
    before = notebook.processes()
    assert len(before) > 5, "an agent, four guards, and what they have started"
    notebook.run("import atexit, pathlib\natexit.register(pathlib.Path('ended').touch)")
    notebook.restart()
    assert not left_after(5, before)
    assert (tmp_path / "ended").exists(), "the kernel has waited in vain for what is below it"
    notebook.run(BEGIN)
    assert notebook.run("pool.map(abs, [-1, -2])") == ("", "[1, 2]")


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_a_kernel_that_is_ended_in_the_middle_leaves_nothing_behind(notebook, tmp_path, how):
    notebook.begin("pool.map(endless, range(20))")
    wait_until(lambda: len(begun(tmp_path)) == 4)
    before = notebook.processes()
    if how == "restart":
        notebook.restart()
    else:
        psutil.Process(notebook.kernel.provisioner.pid).kill()
    assert not left_after(5, before)


# --- REPLs ---------------------------------------------------------------------------------------


class Repl:
    """A session at a prompt; what is said to it comes through a pipe."""

    def __init__(self, command, folder):
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env=os.environ | {"IPYTHONDIR": str(folder), "PYTHONPATH": "", "TERM": "dumb"},
            start_new_session=True,
        )
        self._said = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self._process.stdout:
            self._said.put(line)

    def say(self, code):
        self._process.stdin.write(code + "\n")
        self._process.stdin.flush()

    def hear(self, words):
        """Wait until something is printed."""
        while words not in self._said.get(timeout=TIMEOUT):
            pass

    def press_ctrl_c(self):
        os.killpg(self._process.pid, signal.SIGINT)  # a terminal sends it to all in front

    def close(self):
        """Say good-bye, and wait for the end."""
        self._process.stdin.close()
        try:
            return self._process.wait(TIMEOUT)
        finally:
            self._process.kill()


IPYTHON = ["-m", "IPython", "--simple-prompt", "--no-banner", "--no-confirm-exit"]


@pytest.mark.parametrize("command", [["-i", "-q"], IPYTHON], ids=["python", "ipython"])
def test_a_ctrl_c_at_a_prompt_leaves_the_pool(tmp_path, command):
    (tmp_path / "begin.py").write_text(BEGIN)
    repl = Repl([sys.executable, *command], tmp_path)
    repl.say("exec(open('begin.py').read())")
    repl.say("print('sum', sum(pool.map(lambda number: number + 1, range(10))))")
    repl.hear("sum 55")
    repl.say("pool.map(endless, range(20))")
    wait_until(lambda: len(begun(tmp_path)) == 4)
    running = begun(tmp_path)
    repl.press_ctrl_c()
    repl.hear("KeyboardInterrupt")
    wait_until(lambda: all(map(is_gone, running)))
    repl.say("print('sum', sum(pool.map(abs, range(10))), pool.submit(pow, 2, 3).result())")
    repl.hear("sum 45 8")
    assert repl.close() == 0
    assert sorted(begun(tmp_path)) == sorted(running)
