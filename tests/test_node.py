"""What a node has to share out."""

import pytest

from mpipool.node import MIB, PER_RANK, memory_mib

OWN = PER_RANK // MIB


def node(tmp_path, installed=1000, limit=None):
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text("0::/job\n")
    (tmp_path / "meminfo").write_text(f"MemFree: 1 kB\nMemTotal: {installed * 1024} kB\n")
    (tmp_path / "job").mkdir()
    (tmp_path / "job/memory.max").write_text("max" if limit is None else str(limit * MIB))
    return {"proc": tmp_path, "root": tmp_path}


def test_what_the_machine_has_without_what_the_ranks_need(tmp_path):
    kernel = node(tmp_path)
    assert memory_mib(1, {}, **kernel) == 1000 - OWN
    assert memory_mib(4, {}, **kernel) == 1000 - 4 * OWN


def test_the_least_of_all_limits(tmp_path):
    kernel = node(tmp_path, limit=500)
    assert memory_mib(1, {}, **kernel) == 500 - OWN
    assert memory_mib(1, {"SLURM_MEM_PER_NODE": "400"}, **kernel) == 400 - OWN
    assert memory_mib(1, {"SLURM_MEM_PER_NODE": "600"}, **kernel) == 500 - OWN


@pytest.mark.parametrize(
    ("environment", "memory"),
    [
        ({"SLURM_MEM_PER_CPU": "100", "SLURM_CPUS_ON_NODE": "4"}, 400),
        ({"SLURM_MEM_PER_CPU": "100"}, 1000),
        ({"SLURM_MEM_PER_NODE": "0"}, 1000),  # all of it
        ({"SLURM_MEM_PER_NODE": "much"}, 1000),
    ],
)
def test_what_slurm_says(tmp_path, environment, memory):
    assert memory_mib(1, environment, **node(tmp_path)) == memory - OWN


def test_there_is_something_even_where_ranks_need_more_than_there_is(tmp_path):
    assert memory_mib(100, {}, **node(tmp_path)) == 1


def test_where_nothing_is_known_nothing_is_said(tmp_path):
    assert memory_mib(1, {}, tmp_path, tmp_path) == 0
