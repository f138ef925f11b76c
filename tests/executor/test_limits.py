"""What the kernel is told: in processes of their own, which then try to use more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mpipool.cgroups import V1, V2, around
from mpipool.executor.leaf import Leaf, place_for_leaves

HOLD = """
import resource, sys
from pathlib import Path
from mpipool.executor import limits

def score():
    return int(Path("/proc/self/oom_score_adj").read_text())

def soft():
    return resource.getrlimit(resource.RLIMIT_DATA)[0]

def group():
    return Path("/proc/self/cgroup").read_text()

MIB = 1 << 20
told = []
limits.note_beginning(told.append)
"""

PLACE = place_for_leaves()
needs_groups = pytest.mark.skipif(not PLACE, reason="no control groups can be made here")


def run(code, group="", **variables):
    """Run code in a process below which may make control groups in a folder."""
    environment = os.environ | {"MPIPOOL_CGROUP": str(group)} | variables
    return subprocess.run(
        [sys.executable, "-c", HOLD + code], env=environment, capture_output=True, text=True
    )


def said(code, group=""):
    done = run(code, group)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


# --- the process itself --------------------------------------------------------------------------


def test_a_process_may_reserve_twice_what_its_tasks_may_use():
    assert said("""
unlimited = soft()
assert limits.hold_to(1000)
print((soft() - limits._began) // MIB, limits.memory_in_use())
assert not limits.hold_to(1000)
assert limits.hold_to(0)
print(soft() == unlimited, limits.memory_in_use())
""") == ["2000", "1000", "True", "0"]


def test_a_small_limit_leaves_room_for_libraries():
    assert said("limits.hold_to(1); print((soft() - limits._began) // MIB)") == ["256"]


def test_a_limit_of_the_users_stays_the_least():
    assert said("""
resource.setrlimit(resource.RLIMIT_DATA, (900 * MIB, resource.RLIM_INFINITY))
limits.note_beginning()
limits.hold_to(1000)
print(soft() // MIB)
limits.hold_to(100)
print(soft() // MIB < 900)
limits.hold_to(0)
print(soft() // MIB)
""") == ["900", "True", "900"]


def test_what_goes_beyond_it_is_a_memory_error():
    assert said("""
limits.hold_to(200)
try:
    held = bytearray(600 * MIB)
except MemoryError:
    print("too much")
held = bytearray(300 * MIB)
""") == ["too", "much"]


def test_the_kernel_ends_those_first_which_have_declared_nothing():
    assert said("""
limits._adjust(limits.FIRST)
for memory in 0, 100, 200, 0:
    limits.hold_to(memory)
    print(score())
""") == ["1000", "900", "900", "1000"]


# --- a control group -----------------------------------------------------------------------------


def fake(tmp_path, files):
    """Make a folder which looks like a place for groups of one version."""
    (tmp_path / files.limit).write_text("")
    return tmp_path


@pytest.mark.parametrize(("files", "nothing"), [(V1, "-1"), (V2, "max")])
def test_the_group_is_made_with_the_first_limit_and_follows_it(tmp_path, files, nothing):
    code = f"""
limits.hold_to(0)
print(limits._leaf)
limits.hold_to(1000)
folder = limits._leaf.group.folder
print(folder.name, (folder / "cgroup.procs").read_text())
print((folder / {files.limit!r}).read_text())
limits.hold_to(100)
print((folder / {files.limit!r}).read_text())
limits.hold_to(0)
print((folder / {files.limit!r}).read_text())
"""
    nobody, name, pid, first, second, third = said(code, fake(tmp_path, files))
    assert (nobody, name) == ("None", f"mpipool-{pid}")
    assert [int(first) >> 20, int(second) >> 20, third] == [1250, 164, nothing]


def test_where_none_can_be_made_there_is_none(tmp_path):
    assert said("limits.hold_to(100); print(limits._leaf.group)", tmp_path / "nowhere") == ["None"]


@needs_groups
def test_a_process_moves_to_its_own_group_and_the_kernel_holds_it_to_the_limit():
    done = run("limits.hold_to(100); print(group()); held = b'x' * (180 * MIB)", PLACE)
    assert done.returncode == -9
    [pid] = {name.partition("-")[2] for name in done.stdout.split("/") if "mpipool-" in name[:8]}
    leaf = Leaf.below(PLACE, int(pid.split()[0]))
    assert leaf.kills == 1
    assert leaf.remove()
    assert leaf.remove()
    assert leaf.kills == 0


@needs_groups
def test_what_the_kernel_ends_below_a_task_is_noticed_once():
    code = """
import subprocess
limits.hold_to(100)
print(limits.has_killed_below())
hog = subprocess.run([sys.executable, "-c", "held = b'x' * (180 << 20)"])
print(hog.returncode, limits.has_killed_below(), limits.has_killed_below(), *told)
print(limits._leaf.group.folder.name.partition("-")[2])
"""
    *seen, pid = said(code, PLACE)
    assert seen == ["False", "-9", "True", "False", "1"]
    assert Leaf.below(PLACE, int(pid)).remove()


@needs_groups
def test_a_group_with_a_process_in_it_is_not_removed_yet():
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD + "limits.hold_to(100); print(flush=True); input()"],
        env=os.environ | {"MPIPOOL_CGROUP": PLACE}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    process.stdout.readline()
    leaf = Leaf.below(PLACE, process.pid)
    assert leaf.group.folder.is_dir()
    assert not leaf.remove()
    process.communicate(b"\n")
    assert leaf.remove()
    assert not leaf.group.folder.exists()


# --- where groups can be made ---------------------------------------------------------------------


@needs_groups
def test_the_place_is_this_process_s_own_group_or_the_one_around_it():
    assert PLACE in [str(group.folder) for group in around()[:2]]


class Kernel:
    """A kernel's files of version 2, with a process in ``/outer/inner``."""

    def __init__(self, path: Path) -> None:
        self.proc, self.root = path / "proc", path / "cgroup"
        self.outer, self.inner = self.root / "outer", self.root / "outer/inner"
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "self/cgroup").write_text("0::/outer/inner\n")
        for folder in (self.outer, self.inner):
            folder.mkdir(parents=True)
            (folder / "cgroup.procs").write_text("")

    def place(self, monkeypatch):
        """Look for the place; what is made has the files that the kernel would put there."""
        make = Path.mkdir

        def mkdir(path, *arguments, **options):
            make(path, *arguments, **options)
            (path / V2.limit).write_text("max")

        def rmdir(path):
            (path / V2.limit).unlink()
            os.rmdir(path)

        monkeypatch.setattr(Path, "mkdir", mkdir)
        monkeypatch.setattr(Path, "rmdir", rmdir)
        return place_for_leaves(self.proc, self.root)


def test_in_version_2_it_is_beside_the_own_group_if_that_one_passes_memory_on(
    tmp_path, monkeypatch
):
    kernel = Kernel(tmp_path)
    (kernel.outer / "cgroup.subtree_control").write_text("cpu memory pids\n")
    assert kernel.place(monkeypatch) == str(kernel.outer)


@pytest.mark.parametrize("controllers", ["", "cpu pids"])
def test_not_if_it_does_not(tmp_path, monkeypatch, controllers):
    kernel = Kernel(tmp_path)
    (kernel.outer / "cgroup.subtree_control").write_text(controllers)
    assert kernel.place(monkeypatch) == ""


def test_not_if_a_limit_of_the_own_group_would_be_escaped(tmp_path, monkeypatch):
    kernel = Kernel(tmp_path)
    (kernel.outer / "cgroup.subtree_control").write_text("memory")
    (kernel.inner / V2.limit).write_text("1000000")
    assert kernel.place(monkeypatch) == ""
