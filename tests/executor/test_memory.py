"""Whose memory is too large: looked at from outside, in processes which use as much as they say."""

import subprocess
import sys

import pytest

from mpipool.cgroups import V2, Group
from mpipool.executor.memory import MIB, SELDOM, Memory
from mpipool.executor.scarcity import Shortage
from mpipool.ids import ExecutorId

ONE, TWO = ExecutorId(1), ExecutorId(2)
USE = "held = b'x' * ({} << 20); print(flush=True)"
FORK = """
import os
{0}
for _ in range(3):
    if os.fork() == 0:
        break
else:
    print(flush=True)
input()
"""
START = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {0!r} + "; input()"], stdout=subprocess.PIPE)
child.stdout.readline()
print(flush=True)
input()
"""


class Plenty:
    """A node which has memory left, unless something else is said."""

    shortage = None
    heaviest_pid = 0
    killed = False

    def look(self):
        return self.shortage

    def heaviest(self, group):
        return self.heaviest_pid

    def has_killed(self):
        return self.killed


@pytest.fixture
def process():
    """Start a process; it is there when it has printed a line."""
    started = []

    def start(code):
        one = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(one)
        one.stdout.readline()
        return one.pid

    yield start
    for one in started:
        one.kill()
        one.communicate()


def looked(memory, *busy, now=0.0):
    return list(memory.look(busy or (ONE,), lambda executor: "a task", now))


def memory_of(pid, limit, scarcity=None):
    memory = Memory(scarcity=scarcity or Plenty())
    memory.begin(ONE, pid)
    memory.hold(ONE, limit)
    return memory


def test_what_keeps_to_its_limit_goes_on(process):
    pid = process(USE.format(100) + "; input()")
    memory = memory_of(pid, 200)
    assert looked(memory) == []
    peak, reason = memory.end(ONE)
    assert 100 < peak / 1024 < 150
    assert reason == ""


def test_what_does_not_is_named_with_its_limit(process):
    memory = memory_of(process(USE.format(100) + "; input()"), 90)
    assert looked(memory) == [(ONE, "it used more than its memory= of 90 MiB")]


def test_only_those_with_work_are_looked_at(process):
    memory = memory_of(process(USE.format(100) + "; input()"), 90)
    memory.begin(TWO, process(USE.format(100) + "; input()"))
    memory.hold(TWO, 50)
    assert [executor for executor, _ in looked(memory, TWO)] == [TWO]


def test_without_a_limit_there_is_none(process):
    memory = memory_of(process(USE.format(100) + "; input()"), 90)
    memory.hold(ONE, 0)
    assert looked(memory) == []


def test_what_it_has_started_counts(process):
    memory = memory_of(process(START.format(USE.format(100))), 90)
    assert looked(memory) == [(ONE, "it used more than its memory= of 90 MiB")]


def test_memory_which_it_shares_counts(process):
    code = "import mmap; held = mmap.mmap(-1, 100 << 20); held.write(b'x' * (100 << 20))"
    memory = memory_of(process(f"{code}; print(flush=True); input()"), 90)
    assert [executor for executor, _ in looked(memory)] == [ONE]


def test_pages_shared_with_what_it_has_forked_count_once(process):
    pid = process(FORK.format("held = b'x' * (100 << 20)"))
    memory = memory_of(pid, 200)
    memory._gauges[ONE].look_below()
    assert memory._gauges[ONE].read()[1] > 400 * MIB
    assert looked(memory) == []
    memory.hold(ONE, 90)
    assert len(looked(memory, now=2 * SELDOM)) == 1


def test_descendants_are_looked_for_now_and_then(process):
    pid = process("import sys; print(flush=True); input()")
    memory = memory_of(pid, 90)
    assert looked(memory) == []
    memory._gauges[ONE].pid = process(START.format(USE.format(100)))
    assert looked(memory, now=SELDOM / 2) == []
    assert len(looked(memory, now=2 * SELDOM)) == 1


def test_the_peak_is_that_of_the_task_which_ran_last(process):
    memory = memory_of(process(USE.format(100) + "; input()"), 0)
    list(memory.look([ONE], lambda executor: 1, 0.0))
    memory._gauges[ONE].peak = 10**12
    list(memory.look([ONE], lambda executor: 2, 0.05))
    assert memory.end(ONE)[0] < 200 * 1024


def test_a_process_that_is_gone_uses_nothing():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    memory = memory_of(gone.pid, 1)
    assert looked(memory) == []
    assert memory.end(ONE) == (0, "")


def test_when_the_node_has_no_memory_left_the_heaviest_goes(process):
    scarcity = Plenty()
    scarcity.shortage = Shortage("the memory of its node was used up")
    memory = memory_of(process("print(flush=True); input()"), 0, scarcity)
    assert looked(memory) == []  # it is another agent's
    scarcity.heaviest_pid = memory._gauges[ONE].pid
    assert looked(memory, now=SELDOM / 2) == []
    assert looked(memory, now=2 * SELDOM) == [(ONE, "the memory of its node was used up")]


def test_what_the_kernel_has_ended_it_has_ended_for_want_of_memory(process):
    scarcity = Plenty()
    memory = memory_of(process("print(flush=True); input()"), 0, scarcity)
    scarcity.killed = True
    assert memory.end(ONE)[1] == "the kernel ended it, as memory was used up"


def test_what_the_kernel_has_ended_in_its_own_control_group(tmp_path, process):
    pid = process("print(flush=True); input()")
    (tmp_path / f"mpipool-{pid}").mkdir()
    events = tmp_path / f"mpipool-{pid}" / V2.kills
    events.write_text("oom_kill 3\n")
    memory = Memory(str(tmp_path), Plenty())
    memory.begin(ONE, pid, lambda: 3)  # those of tasks that are over
    memory.hold(ONE, 100)
    assert memory._gauges[ONE].leaf.group == Group(tmp_path / f"mpipool-{pid}", V2)
    assert looked(memory, now=2 * SELDOM) == []
    events.write_text("oom_kill 4\n")
    assert len(looked(memory, now=4 * SELDOM)) == 1
    assert memory.end(ONE)[1] == "it used more than its memory= of 100 MiB"


def test_a_task_whose_process_the_kernel_has_ended_before_the_first_look(tmp_path, process):
    pid = process("print(flush=True); input()")
    (tmp_path / f"mpipool-{pid}").mkdir()
    (tmp_path / f"mpipool-{pid}" / V2.kills).write_text("oom_kill 1\n")
    memory = Memory(str(tmp_path), Plenty())
    memory.begin(ONE, pid)
    memory.hold(ONE, 100)
    looked(memory)  # it is being torn down, and the guard has not reaped it yet
    assert memory.end(ONE)[1] == "it used more than its memory= of 100 MiB"


def test_there_the_kernel_may_have_ended_what_has_no_limit(tmp_path, process):
    pid = process("print(flush=True); input()")
    (tmp_path / f"mpipool-{pid}").mkdir()
    (tmp_path / f"mpipool-{pid}" / V2.kills).write_text("oom_kill 1\n")
    memory = Memory(str(tmp_path), Plenty())
    memory.begin(ONE, pid)
    assert memory.end(ONE)[1] == "the kernel ended it, as memory was used up"
