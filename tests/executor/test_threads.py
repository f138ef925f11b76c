"""How many threads a task has, and where; in processes of their own, which are pinned for it."""

import json
import os
import subprocess
import sys

import pytest

CPUS = sorted(os.sched_getaffinity(0))
several_cpus = pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")
BEGIN = """
import json, os, threading, time
from mpipool.executor.threads import begin, threads_in_use, use_threads
def affinity():
    return sorted(os.sched_getaffinity(0))
begin()
"""


def run(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


PINNED = {
    "MPIPOOL_CPUS": str(CPUS[-1]),
    "MPIPOOL_NODE_CPUS": ",".join(map(str, CPUS)),
}


@several_cpus
def test_more_threads_have_the_cpus_of_the_node_and_the_next_chunk_its_own_again():
    code = """
seen = [affinity()]
for threads in (2, 1):
    assert use_threads(threads)
    seen.append(affinity())
print(json.dumps(seen))
"""
    assert run(code, **PINNED) == [[CPUS[-1]], CPUS, [CPUS[-1]]]


@several_cpus
def test_cpus_which_are_named_are_used_for_whichever_number():
    code = f"""
seen = []
for arguments in ((3, {{ {CPUS[0]} }}), (3, set({CPUS})), (1, set()), (1, {{ {CPUS[0]} }})):
    assert use_threads(*arguments)
    seen.append(affinity())
print(json.dumps(seen))
"""
    assert run(code, **PINNED) == [[CPUS[0]], CPUS, [CPUS[-1]], [CPUS[0]]]
    assert run(code) == [[CPUS[0]], CPUS, CPUS, [CPUS[0]]]


@several_cpus
def test_threads_which_libraries_have_started_move_along():
    code = """
started = threading.Thread(target=time.sleep, args=(30,), daemon=True)
started.start()
use_threads(2)
before = sorted(os.sched_getaffinity(started.native_id))
use_threads(1)
print(json.dumps([before, sorted(os.sched_getaffinity(started.native_id))]), flush=True)
os._exit(0)
"""
    assert run(code, **PINNED) == [CPUS, [CPUS[-1]]]


def test_a_process_that_is_not_pinned_stays_where_it_may_run():
    code = """
seen = [affinity()]
for threads in (4, 1):
    use_threads(threads)
    seen.append(affinity())
print(json.dumps(seen))
"""
    assert run(code) == [CPUS] * 3


def test_libraries_that_are_loaded_already_are_told_and_told_again():
    code = """
os.environ["OPENBLAS_NUM_THREADS"] = "1"
import numpy, threadpoolctl
def blas():
    return [each["num_threads"] for each in threadpoolctl.threadpool_info()]
seen = [blas()]
for threads in (3, 1):
    use_threads(threads)
    seen.append(blas())
    assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == str(threads)
print(json.dumps(seen))
"""
    before, during, after = run(code)
    assert before == after == [1] * len(before)
    assert during == [3] * len(before)


def test_going_back_and_changing_nothing():
    code = """
use_threads(2)
before = threads_in_use()
use_threads(3)
changed = use_threads(*before), use_threads(*before), use_threads(2)
print(json.dumps([changed, threads_in_use()[0], os.environ["OMP_NUM_THREADS"]]))
"""
    assert run(code) == [[True, False, False], 2, "2"]


def test_tasks_have_one_thread_each(world):
    def script():
        from mpipool import Pool

        def look(_):
            import os

            import numpy as np  # noqa: F401 - brings OpenBLAS along
            import threadpoolctl

            told = [each["num_threads"] for each in threadpoolctl.threadpool_info()]
            names = ("OMP", "OPENBLAS", "MKL", "NUMEXPR")
            return told, [os.environ[f"{name}_NUM_THREADS"] for name in names]

        return Pool().map(look, range(6))

    for told, variables in world(script):
        assert set(told) == {1}
        assert variables == ["1"] * 4


def test_tasks_with_threads_have_them_all_along_and_the_next_call_has_one_again(world):
    def script():
        from mpipool import Pool

        def look(_):
            import os

            before = os.environ["OMP_NUM_THREADS"]
            os.environ["OMP_NUM_THREADS"] = "9"  # of no concern to the next task
            return before

        pool = Pool()
        return pool.map(look, range(40), threads=3), pool.map(look, range(40))

    assert world(script) == (["3"] * 40, ["1"] * 40)
