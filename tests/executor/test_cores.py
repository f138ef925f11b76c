"""Which CPUs a rank's executors get."""

import os

import pytest

from mpipool.executor import cores
from mpipool.executor.cores import Share, choose, group, of_this_rank, parent_of, parse
from mpipool.executor.environment import PIN, for_user_code, local_place

FOUR = [[0], [1], [2], [3]]
HYPERTHREADS = [[0, 4], [1, 5], [2, 6], [3, 7]]


@pytest.mark.parametrize("shape", [FOUR, HYPERTHREADS, [[2], [3, 9], [11]]])
def test_the_ranks_of_a_node_get_cpus_of_their_own(shape):
    allowed = [cpu for core in shape for cpu in core]
    for size in range(1, len(allowed) + 1):
        chosen = [choose(shape, index, size) for index in range(size)]
        assert all(len(cpus) == 1 for cpus in chosen)
        assert len(set.union(*map(set, chosen))) == size
        assert set.union(*map(set, chosen)) <= set(allowed)


def test_no_two_ranks_share_a_core_while_there_are_others():
    for size in range(1, 5):
        used = [choose(HYPERTHREADS, index, size) for index in range(size)]
        assert set.union(*map(set, used)) <= {0, 1, 2, 3}


def test_few_ranks_are_spread():
    assert [choose(FOUR, index, 2) for index in range(2)] == [{0}, {2}]


def test_more_ranks_than_cpus_are_not_pinned():
    assert choose(FOUR, 0, 5) is None
    assert choose(HYPERTHREADS, 7, 8) == {7}
    assert choose(HYPERTHREADS, 7, 9) is None


def test_cpus_are_grouped_into_cores():
    siblings = {cpu: {cpu % 4, cpu % 4 + 4} for cpu in range(8)}
    assert group(range(8), siblings) == HYPERTHREADS
    assert group([1, 4, 5], siblings) == [[1, 5], [4]]
    assert group([3, 1], {}) == [[1], [3]]


def test_lists_of_cpus():
    assert parse("0-3,64\n") == {0, 1, 2, 3, 64}
    assert parse("7") == {7}
    assert parse("") == frozenset()


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({"MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "4"}, (1, 4)),
        ({"OMPI_COMM_WORLD_LOCAL_RANK": "0", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}, (0, 2)),
        ({"PALS_LOCAL_RANKID": "3", "PALS_LOCAL_SIZE": "5"}, (3, 5)),
        ({"MPI_LOCALRANKID": "1"}, None),
        ({}, None),
        ({"SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_STEP_TASKS_PER_NODE": "4"}, None),
    ],
)
def test_the_place_of_a_rank_on_its_node(environment, place):
    assert local_place(environment) == place


@pytest.mark.parametrize(("node", "size"), [(0, 16), (2, 16), (3, 8), (4, 2), (5, None)])
def test_the_place_on_a_node_of_slurm(node, size):
    environment = {
        "PMIX_RANK": "7",
        "SLURM_LOCALID": "1",
        "SLURM_NODEID": str(node),
        "SLURM_STEP_TASKS_PER_NODE": "16(x3),8,2",
    }
    assert local_place(environment) == ((1, size) if size else None)


HYDRA = {"MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}


@pytest.fixture
def masks(monkeypatch):
    """Say which CPUs this process (0) and its launcher (1) may use."""
    allowed = {0: {0, 1, 2, 3}, 1: {0, 1, 2, 3}}
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(allowed[pid]))
    monkeypatch.setattr(cores, "_siblings", lambda cpus: {})
    return allowed


def test_a_rank_has_one_cpu_and_knows_those_of_its_node(masks):
    assert of_this_rank(HYDRA, 1) == Share(frozenset({2}), frozenset({0, 1, 2, 3}))


def test_what_the_launcher_has_bound_keeps_its_cpus(masks):
    masks[0] = {1, 2}
    assert of_this_rank(HYDRA, 1) == Share(frozenset({1, 2}), frozenset({0, 1, 2, 3}))


def test_nobody_is_pinned_outside_of_a_launcher_or_on_request(masks):
    assert of_this_rank({}, 1) is None
    assert of_this_rank(HYDRA | {PIN: "0"}, 1) is None
    assert of_this_rank(HYDRA | {PIN: "1"}, 1) is not None


def test_nobody_is_pinned_where_ranks_share_cpus(masks):
    masks[0] = masks[1] = {5}
    assert of_this_rank(HYDRA, 1) is None


def test_nobody_is_pinned_where_the_launcher_can_not_be_asked(masks, monkeypatch):
    def refuse(pid):
        if pid:
            raise PermissionError
        return masks[0]

    monkeypatch.setattr(os, "sched_getaffinity", refuse)
    assert of_this_rank(HYDRA, 1) is None


def test_the_parent_of_a_process():
    assert parent_of(os.getpid()) == os.getppid()
    assert parent_of(2**22 + 1) == 0


def test_executors_are_told_their_cpus_and_one_thread_each():
    made = for_user_code({"PMI_RANK": "1", "HOME": "x", "MPIPOOL_CPUS": "9"}, {3, 1}, {1, 2, 3})
    assert made["MPIPOOL_CPUS"] == "1,3"
    assert made["MPIPOOL_NODE_CPUS"] == "1,2,3"
    assert made["OMP_NUM_THREADS"] == made["OPENBLAS_NUM_THREADS"] == "1"
    assert "PMI_RANK" not in made
    assert for_user_code({"MPIPOOL_CPUS": "9"})["MPIPOOL_CPUS"] == "", "a run within a task"
