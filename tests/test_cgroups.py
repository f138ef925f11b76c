"""Control groups of both versions, as the kernel shows them to a process."""

import pytest

from mpipool.cgroups import V1, V2, around

NO_LIMIT = str((1 << 63) - 4096)
"""As version 1 writes it."""


@pytest.fixture
def kernel(tmp_path):
    """Write what the kernel would say; return what it is to be asked for."""

    def make(lines):
        for process in ("self", "77"):
            (tmp_path / "proc" / process).mkdir(parents=True, exist_ok=True)
            (tmp_path / "proc" / process / "cgroup").write_text(lines)
        return tmp_path / "proc", tmp_path / "cgroup"

    def write(path, text):
        file = tmp_path / "cgroup" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    make.write = write
    return make


def test_version_2(kernel):
    proc, root = kernel("0::/job_7/step_0\n")
    kernel.write("job_7/step_0/memory.max", "max\n")
    kernel.write("job_7/memory.max", "1000000\n")
    kernel.write("job_7/memory.current", "900000\n")
    kernel.write("job_7/memory.stat", "anon 1\ninactive_file 300000\nactive_file 50000\n")
    kernel.write("job_7/memory.events", "oom 5\noom_kill 3\n")
    own, job, top = around(proc, root)
    assert [group.folder for group in (own, job, top)] == [
        root / "job_7/step_0", root / "job_7", root,
    ]  # fmt: skip
    assert {group.files for group in (own, job, top)} == {V2}
    assert (own.limit, own.free, own.kills) == (0, 0, 0)
    assert (job.limit, job.free, job.kills) == (1000000, 450000, 3)


def test_version_1_is_the_one_for_memory_where_there_are_both(kernel):
    proc, root = kernel("9:name=systemd:/x\n4:cpu,memory:/job_7\n0::/y\n")
    kernel.write("memory/job_7/memory.limit_in_bytes", "1000000\n")
    kernel.write("memory/job_7/memory.usage_in_bytes", "900000\n")
    kernel.write("memory/job_7/memory.stat", "total_inactive_file 1000\ntotal_active_file 2000\n")
    kernel.write("memory/job_7/memory.oom_control", "under_oom 0\noom_kill 2\n")
    kernel.write("memory/memory.limit_in_bytes", NO_LIMIT)
    job, top = around(proc, root)
    assert job.files is V1
    assert (job.limit, job.free, job.kills) == (1000000, 103000, 2)
    assert (top.limit, top.free) == (0, 0)


def test_a_group_that_is_used_up_is_not_one_without_a_limit(kernel):
    proc, root = kernel("0::/\n")
    kernel.write("memory.max", "1000")
    kernel.write("memory.current", "2000")
    [own] = around(proc, root)
    assert own.free == 1


def test_seen_from_within_a_container_the_top_is_the_own_group(kernel):
    proc, root = kernel("0::/../outside\n")
    kernel.write("memory.max", "1000")
    assert [group.limit for group in around(proc, root)] == [1000]


def test_the_groups_of_another_process(kernel):
    proc, root = kernel("0::/\n")
    kernel.write("memory.max", "1000")
    assert around(proc, root, "77") == around(proc, root)
    assert around(proc, root, "78") == []


def test_without_control_groups_there_are_none(tmp_path):
    assert around(tmp_path, tmp_path) == []


def test_this_very_process_can_be_asked():
    for group in around():
        assert group.limit >= group.free >= 0
