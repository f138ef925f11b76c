"""Tasks which use more memory than they said: each fails alone, and is tried again with more.

What they use is small, so that many tests can run at once; a process without tasks has some 50 MiB.
"""

import pytest

from mpipool import Pool


def test_a_task_that_uses_more_than_it_asked_for_is_ended(world):
    def script():
        from mpipool import ExecutorDied, MemoryExceeded

        def grow(mib):
            import time

            held = []
            for _ in range(mib):
                held.append(b"x" * (1 << 20))
                time.sleep(0.002)
            return mib

        small, large, other = Pool().map(
            grow, [10, 300, 20], memory="150 MiB", memory_growth=1, errors="return"
        )
        assert isinstance(large, MemoryExceeded), large
        assert isinstance(large, ExecutorDied)
        assert 150 <= large.peak < 290
        return small, large.args[:2], other

    said = "it used more than its memory= of 150 MiB"
    assert world(script) == (10, ("task 1 of grow", said), 20)


@pytest.mark.parametrize("way", ["at once", "shared", "in a child", "with numpy"])
def test_however_it_does_that(world, way):
    def script(way):
        from mpipool import MemoryExceeded

        def use(mib):
            import mmap
            import subprocess
            import sys
            import time

            if way == "at once":
                held = b"x" * (mib << 20)
            elif way == "shared":
                held = mmap.mmap(-1, mib << 20)
                for page in range(0, mib << 20, 4096):
                    held[page] = 1
            elif way == "in a child":
                code = f"import time; held = b'x' * ({mib} << 20); time.sleep(5)"
                return subprocess.run([sys.executable, "-c", code]).returncode
            else:
                import numpy

                held = numpy.ones(mib << 17)
            time.sleep(1)
            return len(held)

        (error,) = Pool().map(use, [250], memory="150 MiB", memory_growth=1, errors="return")
        # Of a process below it the kernel may have ended just that.
        return isinstance(error, (MemoryExceeded, MemoryError)), str(error)

    ended, said = world(script, way)
    assert ended, said


def test_it_is_tried_again_with_twice_as_much_and_that_is_none_of_its_retries(world):
    def script():
        def use(mib):
            import time

            held = b"x" * (mib << 20)
            time.sleep(0.2)
            return len(held) >> 20

        return Pool().map(use, [10, 250, 20, 700], memory="150 MiB")

    assert world(script) == [10, 250, 20, 700]


def test_at_most_up_to_the_cap(world):
    def script():
        from mpipool import MemoryExceeded

        def use(mib):
            import time

            held = b"x" * (mib << 20)
            time.sleep(0.2)
            return len(held) >> 20

        two, three = Pool().map(
            use, [170, 300], memory="100 MiB", memory_cap="200 MiB", errors="return"
        )
        assert isinstance(three, MemoryExceeded), three
        return two, three.args[1]

    assert world(script) == (170, "it used more than its memory= of 200 MiB")


def test_a_memory_error_counts_as_want_of_memory_and_has_its_own_exception_in_the_end(world):
    def script():
        def picky(_):
            import resource

            soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
            if soft < 3000 << 20:
                raise MemoryError("not enough")
            return soft >> 30

        done = Pool().map(picky, [0], memory="200 MiB")
        (error,) = Pool().map(picky, [0], memory="200 MiB", memory_growth=1, errors="return")
        return done, type(error).__name__, str(error)

    assert world(script) == ([3], "MemoryError", "not enough")


def test_one_that_was_scattered_is_not_the_outer_task_s(world):
    def script():
        from mpipool import Pool

        def inner(_):
            raise MemoryError("inside")

        def outer(path):
            with open(path, "a") as file:
                file.write("x")
            Pool().map(inner, [0], memory_growth=1)

        def count(path):
            (error,) = Pool().map(outer, [path], errors="return")
            with open(path) as file:
                return str(error), file.read()

        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            return count(f"{folder}/ran")

    assert world(script) == ("inside", "x")


def test_scatters_inside_tasks_too(world):
    def script():
        from mpipool import Pool

        def use(mib):
            import time

            held = b"x" * (mib << 20)
            time.sleep(0.2)
            return len(held) >> 20

        def lead(mib):
            return sum(Pool().map(use, [mib, 10], memory="150 MiB"))

        return Pool().map(lead, [20, 250]), Pool().map(lead, [20, 250], memory="400 MiB")

    assert world(script) == ([30, 260], [30, 260])


def test_what_can_not_be_had_fails_with_what_was_seen_last(world):
    def script():
        from mpipool import MemoryExceeded

        def use(mib):
            import time

            held = b"x" * (mib << 20)
            time.sleep(0.2)
            return len(held) >> 20

        growing = {"memory": "150 MiB", "memory_growth": 1e6, "memory_cap": "100 TB"}
        error, small = Pool().map(use, [300, 10], errors="return", **growing)
        assert isinstance(error, MemoryExceeded), error
        return error.args[1], small

    said, small = world(script)
    assert said.startswith("it used more than its memory= of 150 MiB; it can't have 95367432 MiB: ")
    assert "each task needs 95367432 MiB and no node has more than" in said
    assert small == 10


def test_the_limit_of_one_task_does_not_hold_for_the_next(world):
    def script():
        def use(mib):
            import time

            held = b"x" * (mib << 20)
            time.sleep(0.2)
            return len(held) >> 20

        for _ in range(3):
            Pool().map(use, [10] * 6, memory="100 MiB", memory_growth=1)
            Pool().map(use, [200] * 3)
        return True

    assert world(script)


def test_futures_are_tried_again_as_well(world):
    def script():
        def use(mib):
            import time

            held = b"x" * (mib << 20)
            time.sleep(0.2)
            return len(held) >> 20

        futures = [Pool().submit(use, mib, memory="150 MiB") for mib in (10, 250)]
        return [future.result() for future in futures]

    assert world(script) == [10, 250]


def test_a_lost_cache_is_made_again_with_more_memory(world):
    def script():
        def fill(mib):
            Pool().cache.held = b"x" * (mib << 20)
            return mib

        def use(mib):
            import time

            more = Pool().cache.held + b"x" * (mib << 20)
            time.sleep(0.2)
            return len(more) >> 20

        pool = Pool("caches")
        pool.map(fill, [10, 60])
        return pool.map(use, [10, 60], previous=True, memory="200 MiB")

    assert world(script) == [20, 120]


RUN = """
import sys, time
from mpipool import Pool

def use(mib):
    held = b"x" * (mib << 20)
    time.sleep(0.2)
    if "fail" in sys.argv:
        raise ValueError("later")
    return len(held) >> 20

def name(mib):
    return {"mib": mib}

with Pool(workers=2, checkpoint="run.db") as pool:
    growth = float(sys.argv[1])
    options = dict(stage="use", key=name, memory="150 MiB", memory_growth=growth)
    results = pool.map(use, [10, 250, 20], errors="return", **options)
    print([value if isinstance(value, int) else type(value).__name__ for value in results])
"""


def test_every_attempt_is_on_record_under_its_own_scatter(python, tmp_path):
    assert python(RUN, "2").stdout == "[10, 250, 20]\n"
    attempts = query(tmp_path, "SELECT task, attempt, state, error FROM attempt ORDER BY 1, 2")
    assert attempts == [
        (0, 1, "done", None),
        (1, 1, "failed", "MemoryExceeded"),
        (1, 2, "done", None),
        (2, 1, "done", None),
    ]
    [(message, peak)] = query(tmp_path, "SELECT message, peak_memory FROM attempt WHERE error > ''")
    assert message.startswith("it used more than its memory= of 150 MiB (peak ")
    assert 150 <= peak / 1024 < 320
    assert query(tmp_path, "SELECT count(*), count(DISTINCT scatter) FROM scatter, attempt") == [
        (4, 1)
    ]


def test_a_later_run_begins_with_what_a_task_has_shown_to_need(python, tmp_path):
    assert python(RUN, "1").stdout == "[10, 'MemoryExceeded', 20]\n"
    assert python(RUN, "2").stdout == "[10, 250, 20]\n"
    assert query(tmp_path, "SELECT session, task, attempt, state FROM attempt WHERE data_id = "
                 """'{"mib":250}' ORDER BY id""") == [
        (1, 1, 1, "failed"),
        (2, 0, 2, "done"),
    ]  # fmt: skip


def query(folder, sql):
    import sqlite3

    with sqlite3.connect(folder / "run.db") as connection:
        return connection.execute(sql).fetchall()
