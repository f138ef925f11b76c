"""When a node or a job has no memory left, and which executor goes then."""

import os
import subprocess
import sys

import pytest

from mpipool.cgroups import around
from mpipool.executor.limits import FIRST, LATER
from mpipool.executor.scarcity import Scarcity


class Kernel:
    """What the kernel says about a machine with 1000 kB and some processes."""

    def __init__(self, path) -> None:
        self.proc, self.root = path / "proc", path / "cgroup"
        self.root.mkdir()
        self.process("self", "/job")
        self.memory(500)
        self.kills(0)

    def memory(self, available: int) -> None:
        text = f"MemTotal: 1000 kB\nMemAvailable: {available} kB\n"
        (self.proc / "meminfo").write_text(text)

    def kills(self, count: int) -> None:
        (self.proc / "vmstat").write_text(f"pgfault 7\noom_kill {count}\n")

    def group(self, path: str, **files: object) -> None:
        (self.root / path).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (self.root / path / f"memory.{name}").write_text(str(text))

    def process(self, pid: str, group: str, score: int = 0, resident: int = 10) -> None:
        (self.proc / pid).mkdir(parents=True)
        (self.proc / pid / "cgroup").write_text(f"0::{group}\n")
        (self.proc / pid / "oom_score_adj").write_text(f"{score}\n")
        (self.proc / pid / "statm").write_text(f"99 {resident} 5\n")

    def scarcity(self) -> Scarcity:
        return Scarcity(self.proc, self.root)


@pytest.fixture
def kernel(tmp_path):
    return Kernel(tmp_path)


def test_a_node_with_memory_is_not_short_of_it(kernel):
    scarcity = kernel.scarcity()
    assert scarcity.look() is None
    kernel.memory(31)
    assert scarcity.look() is None


def test_a_node_without_is(kernel):
    scarcity = kernel.scarcity()
    kernel.memory(29)
    assert scarcity.look() == ("the memory of its node was used up", None)


def test_so_is_a_job_that_has_used_up_its_limit(kernel):
    kernel.group("job", max=1000 << 20, current=600 << 20, stat="inactive_file 0\n")
    scarcity = kernel.scarcity()
    assert scarcity.look() is None
    kernel.group("job", current=980 << 20)
    reason, group = scarcity.look()
    assert reason == "the memory limit of the job here, 1000 MiB, was used up"
    assert group.folder == kernel.root / "job"
    kernel.group("job", stat=f"inactive_file {500 << 20}\n")  # files, which need not be in memory
    assert scarcity.look() is None


def test_what_has_declared_nothing_goes_first_and_then_the_largest(kernel):
    kernel.process("11", "/job", FIRST, 100)
    kernel.process("12", "/job", FIRST, 300)
    kernel.process("13", "/job", LATER, 900)
    kernel.process("14", "/job", 0, 5000)  # no executor
    assert kernel.scarcity().heaviest(None) == 12


def test_if_all_have_declared_something_the_largest_does(kernel):
    kernel.process("11", "/job", LATER, 100)
    kernel.process("12", "/job", LATER, 300)
    assert kernel.scarcity().heaviest(None) == 12


def test_of_a_job_s_limit_another_job_is_not_to_blame(kernel):
    kernel.group("job", max=1000, current=1000)
    kernel.group("job/below", max="max")
    kernel.group("other", max="max")
    kernel.process("11", "/job/below", FIRST, 100)
    kernel.process("12", "/other", FIRST, 300)
    scarcity = kernel.scarcity()
    assert scarcity.heaviest(scarcity.look().group) == 11


def test_where_there_is_no_executor_none_goes(kernel):
    assert kernel.scarcity().heaviest(None) == 0


def test_the_kernel_s_kills_are_noticed_for_a_while(kernel):
    kernel.kills(3)
    scarcity = kernel.scarcity()
    assert not scarcity.has_killed()
    kernel.kills(4)
    assert scarcity.has_killed()
    assert scarcity.has_killed()


def test_if_the_own_group_counts_them_others_do_not_matter(kernel):
    kernel.group("job", events="oom_kill 1\n")
    scarcity = kernel.scarcity()
    kernel.kills(4)
    assert not scarcity.has_killed()
    kernel.group("job", events="oom_kill 2\n")
    assert scarcity.has_killed()


def test_this_very_node_can_be_asked():
    scarcity = Scarcity()
    scarcity.look()
    own = (
        "import os; open('/proc/self/oom_score_adj', 'w').write('1000'); print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", own], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as one:
        one.stdout.readline()
        assert scarcity.heaviest(None) > 0
        own_groups = around()
        assert not own_groups or scarcity.heaviest(own_groups[-1]) > 0
        one.communicate(b"\n")


def test_a_process_that_ends_meanwhile_is_none(kernel, monkeypatch):
    kernel.process("11", "/job", FIRST, 100)
    (kernel.proc / "11" / "statm").unlink()
    assert kernel.scarcity().heaviest(None) == 0


def test_other_users_processes_are_not_looked_at(kernel, monkeypatch):
    kernel.process("11", "/job", FIRST, 100)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert kernel.scarcity().heaviest(None) == 0
