"""What `Pool.map` and `Pool.scatterGather` promise, on ranks without mpiexec."""

from mpipool import Pool


def test_results_come_in_the_order_of_the_items(world):
    def script():
        def late_first(index):
            import time

            time.sleep(0.03 if index % 7 == 0 else 0.001)
            return index

        return Pool().map(late_first, range(60))

    assert world(script) == list(range(60))


def test_tasks_run_side_by_side_on_all_ranks(world):
    def script():
        def where(_):
            import os
            import time

            began = time.time()
            time.sleep(0.1)
            return os.getpid(), began, time.time()

        return Pool().map(where, range(6))

    runs = world(script)
    assert len({pid for pid, _, _ in runs}) == 3
    together = [sum(b <= began < e for _, b, e in runs) for _, began, _ in runs]
    assert max(together) == 3


def test_scatter_gather_passes_further_arguments_on(world):
    def script():
        def work(item, offset, *, scale=1):
            return (item + offset) * scale

        return Pool().scatterGather(work, [1, 2, 3], 10, scale=2)

    assert world(script) == [22, 24, 26]


def test_a_scatter_inside_a_scatter_inside_a_scatter(world):
    def script():
        def leaf(x):
            return x + 1

        def middle(x):
            return sum(Pool().scatterGather(leaf, range(x)))

        def top(x):
            return Pool().scatterGather(middle, range(x, x + 3))

        return Pool().map(top, range(6))

    assert world(script) == [[sum(range(1, m + 1)) for m in range(x, x + 3)] for x in range(6)]


def test_nesting_deeper_than_there_are_ranks(world):
    def script():
        def down(depth):
            if depth == 0:
                return 1
            return sum(Pool().scatterGather(down, [depth - 1] * 2))

        return Pool().map(down, [6, 5])

    assert world(script) == [64, 32]


def test_a_task_scatters_several_times_one_after_the_other(world):
    def script():
        def lead(x):
            first = Pool().scatterGather(lambda y: y * x, range(5))
            return Pool().scatterGather(lambda y: y + sum(first), range(3))

        return Pool().map(lead, range(4))

    assert world(script) == [[y + 10 * x for y in range(3)] for x in range(4)]


def test_closures_and_lambdas(world):
    def script():
        base = 7
        return Pool().map(lambda x: x + base, range(3))

    assert world(script) == [7, 8, 9]


def test_functions_and_classes_of_main_go_both_ways(python):
    done = python(
        """
from dataclasses import dataclass
from enum import Enum
from mpipool import Pool

class Colour(Enum):
    RED = 1

@dataclass
class Point:
    x: int
    colour: Colour = Colour.RED

class OwnError(Exception):
    pass

def move(point):
    if point.x == 3:
        raise OwnError(point.x)
    assert isinstance(point, Point) and point.colour is Colour.RED
    return Point(point.x + 1)

if __name__ == "__main__":
    with Pool(workers=2) as pool:
        *moved, error = pool.map(move, map(Point, range(4)), errors="return")
        assert moved == [Point(1), Point(2), Point(3)], moved
        assert all(type(point) is Point and point.colour is Colour.RED for point in moved)
        assert type(error) is OwnError and error.args == (3,)
        print("both ways")
"""
    )
    assert (done.returncode, done.stdout) == (0, "both ways\n"), done.stderr


def test_no_items(world):
    def script():
        calls = []
        values = Pool().map(abs, [], progress=lambda *numbers: calls.append(numbers))
        return values, Pool().scatterGather(abs, iter(())), calls[-1]

    assert world(script) == ([], [], (0, 0, 0))


def test_items_from_a_generator(world):
    def script():
        return Pool().map(abs, (-x for x in range(1000)))

    assert world(script) == list(range(1000))


def test_a_hundred_thousand_items(world):
    def script():
        return Pool().map(abs, range(-100_000, 0)) == list(range(100_000, 0, -1))

    assert world(script)


def test_items_and_results_of_fifty_megabytes(world):
    def script():
        import hashlib
        import os

        def double(data):
            return data + data

        def digest(data):
            return hashlib.sha1(data).hexdigest()

        items = [os.urandom(25_000_000), os.urandom(50_000_000), b"small"]
        results = Pool().map(double, items)
        return [digest(item + item) for item in items] == [digest(each) for each in results]

    assert world(script)


def test_progress_ends_with_what_was_done_and_never_runs_backwards(world):
    def script():
        calls = []

        def work(x):
            if x == 17:
                raise ValueError(x)

        pool = Pool()
        pool.map(work, range(50), errors="return", progress=lambda *n: calls.append(n))
        return calls, pool.last_map.done, pool.last_map.failed, pool.last_map.tasks

    calls, *numbers = world(script)
    assert calls[0] == (0, 0, 50)
    assert calls[-1] == (49, 1, 50)
    assert calls == sorted(calls)
    assert numbers == [49, 1, 50]


def test_the_summary_says_how_well_the_ranks_were_used(world):
    def script():
        import time

        pool = Pool()
        pool.map(lambda _: time.sleep(0.05), range(6))
        return pool.last_map

    summary = world(script)
    assert summary.ranks == 3
    assert summary.busy >= 0.3
    assert 0 < summary.utilisation <= 1


def test_an_exception_of_the_progress_callback_ends_the_call_not_the_pool(world):
    def script():
        def complain(done, failed, total):
            if done:
                raise KeyError("enough")

        try:
            Pool().map(abs, range(100), progress=complain)
        except KeyError:
            return Pool().map(abs, [-1])
        return "no exception"

    assert world(script) == [1]


def test_the_environment_and_the_working_folder_do_not_leak_into_the_next_task(world):
    """Short tasks go in chunks: the next one runs in the same process at once."""

    def script():
        import os

        def litter(_):
            found = "LITTER" in os.environ, os.getcwd()
            os.environ["LITTER"] = "yes"
            os.chdir("/")
            return found

        Pool().map(abs, range(1000))  # so that chunks are large
        return set(Pool().map(litter, range(500))), os.getcwd()

    found, home = world(script)
    assert found == {(False, home)}


def test_more_workers_than_there_are_is_an_error(world):
    def script():
        from mpipool import UsageError

        try:
            Pool(workers=5)
        except UsageError as error:
            return str(error), Pool(workers=3).size, Pool().size

    assert world(script) == ("Pool(workers=5), but there are 3 ranks already", 3, 3)


def test_a_wrong_value_of_errors_is_refused_before_anything_runs(world):
    def script():
        from mpipool import UsageError

        try:
            Pool().map(print, [1], errors="ignore")
        except UsageError as error:
            return str(error)

    assert "say 'raise' or 'return'" in world(script)


def test_what_a_task_prints_arrives(python):
    done = python(
        """
import sys
from mpipool import Pool
with Pool() as pool:
    pool.map(lambda x: print("out", x), range(3))
    pool.map(lambda x: print("err", x, file=sys.stderr), range(3))
"""
    )
    assert sorted(done.stdout.split("\n")) == ["", "out 0", "out 1", "out 2"]
    assert all(f"err {x}" in done.stderr for x in range(3))
    assert done.returncode == 0


def test_a_child_of_the_script_does_not_end_the_world_when_it_exits(python):
    done = python(
        """
import os, sys
from mpipool import Pool
with Pool(workers=2) as pool:
    pool.map(abs, range(3))
    child = os.fork()
    if child == 0:
        sys.exit(0)
    os.waitpid(child, 0)
    print(pool.map(abs, [-4]))
"""
    )
    assert (done.returncode, done.stdout) == (0, "[4]\n"), done.stderr


def test_the_exit_code_of_a_script_is_its_own(python):
    begin = "from mpipool import Pool\nprint(Pool(workers=2).map(abs, [-1]), flush=True)\n"
    for end, code in (("", 0), ("raise ValueError", 1), ("raise SystemExit(3)", 3)):
        done = python(begin + end)
        assert (done.returncode, done.stdout) == (code, "[1]\n"), done.stderr
