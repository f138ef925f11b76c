"""Large data through the pool: what arrives is writeable, whole, and stays valid."""

import pytest

from mpipool import Pool


def test_arrays_of_all_sizes_to_tasks_and_back(world):
    def script():
        import numpy as np

        def double(pair):
            number, array = pair
            assert array.flags.writeable
            assert array.flags.aligned
            array *= 2
            return number, array

        sizes = [10, 8_000, 8_192, 20_000, 131_072, 131_073, 500_000, 3] * 2
        items = [(n, np.arange(n, dtype=float)) for n in sizes]
        found = Pool().map(double, items)
        for (n, array), result in zip(found, Pool().imap(double, items), strict=True):
            np.testing.assert_array_equal(array, 2 * np.arange(n, dtype=float))
            np.testing.assert_array_equal(result[1], array)
            assert array.flags.writeable
            assert array.flags.aligned
            array += 1  # nobody else's memory
        assert all(array[-1] == 2 * n - 1 for n, array in found)
        return len(found)

    assert world(script) == 16


def test_large_arguments_are_views_of_what_came_and_shared_by_the_tasks_of_a_process(world):
    def script():
        import numpy as np

        def add(x, array, other):
            return x + array[-1] + other["b"][0], array.flags.writeable, array.base is not None

        array = np.arange(300_000.0)
        return Pool().scatterGather(add, range(50), array, other={"b": array})

    assert world(script) == [(x + 299_999.0, True, True) for x in range(50)]


def test_an_item_is_sent_as_it_was_when_it_was_given(world):
    """A generator may fill the same array again and again."""

    def script():
        import numpy as np

        def exposures():
            pixels, few = np.zeros(500_000), np.zeros(9_000)
            for number in range(30):
                pixels[:] = few[:] = number
                yield pixels, few

        return list(Pool().imap(lambda item: [float(array.mean()) for array in item], exposures()))

    assert world(script) == [[number, number] for number in range(30)]


def test_a_result_is_sent_as_it_was_when_it_was_returned(world):
    """The next task of the same process may fill the same array."""

    def script():
        import numpy as np

        Pool().map(abs, range(1000))  # so that chunks are large

        def fill(number):
            import builtins

            if not hasattr(builtins, "buffer"):
                builtins.buffer = np.zeros(200_000)
            builtins.buffer[:] = number
            return builtins.buffer if number % 3 else number

        found = Pool().map(fill, range(60))
        return [float(np.mean(each)) for each in found]

    assert world(script) == list(range(60))


def test_results_among_small_ones_and_failures(world):
    def script():
        import numpy as np

        Pool().map(abs, range(1000))

        def work(x):
            if x % 7 == 3:
                raise ValueError(x)
            return np.full(200_000, x) if x % 5 == 0 else x

        results = Pool().map(work, range(200), errors="return")
        return [
            each.args[0] if isinstance(each, ValueError) else int(np.mean(each)) for each in results
        ]

    assert world(script) == list(range(200))


def test_a_caller_needs_memory_for_a_large_result_once(world):
    def script():
        import numpy as np

        def peak():
            with open("/proc/self/status") as status:
                return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

        def lead(_):
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")  # forgets the peak
            before = peak()
            (result,) = Pool().map(lambda _: np.ones(64 << 17), [0])
            return peak() - before, result.nbytes >> 10

        return Pool().map(lead, [0])

    ((grown, size),) = world(script)
    assert grown < 1.5 * size


def test_sending_a_large_item_or_argument_needs_no_memory(world):
    def script():
        import numpy as np

        def peak():
            with open("/proc/self/status") as status:
                return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

        array, text = np.ones(64 << 17), b"x" * (64 << 20)
        grown = []
        for call in (
            lambda: Pool().map(len, [array, array]),
            lambda: Pool().map(len, [text]),
            lambda: Pool().scatterGather(lambda x, y: len(y), [1], array),
        ):
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")
            before = peak()
            call()
            grown.append(peak() - before)
        return grown

    assert all(grown < 16 << 10 for grown in world(script))


def test_a_task_needs_memory_for_its_large_result_once(world):
    def script():
        import os

        import numpy as np

        def peak():
            with open("/proc/self/status") as status:
                return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

        def make(_):
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")
            return os.getpid(), peak(), np.ones(64 << 17)

        def look(_):
            return os.getpid(), peak()

        ((pid, before, _),) = Pool().map(make, [0])
        later = Pool().map(look, range(300))
        return [after - before for other, after in later if other == pid]

    measured = world(script)
    assert measured, "no task ran in that process again"
    assert all(grown < 1.5 * (64 << 10) for grown in measured)


def test_the_memory_of_a_result_is_let_go_when_it_was_sent(world):
    def script():
        import os

        import numpy as np

        def resident():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * 4096

        def make(_):
            before = resident()
            return os.getpid(), before, np.ones(64 << 17)

        def look(_):
            return os.getpid(), resident()

        ((pid, before, _),) = Pool().map(make, [0])
        return [after - before for other, after in Pool().map(look, range(300)) if other == pid]

    measured = world(script)
    assert measured, "no task ran in that process again"
    assert all(grown < 32 << 20 for grown in measured)


def test_a_large_result_in_a_checkpoint_is_a_pickle_that_anybody_can_load(python, tmp_path):
    text = """
import pathlib, pickle, sys
import numpy as np
from mpipool import Pool
def work(n):
    print("ran", n)
    return np.arange(n)
with Pool(workers=2, checkpoint="run.db") as pool:
    options = dict(stage="work", key=lambda n: {"n": n})
    found = pool.map(work, [10, 7_000, 9_000, 500_000], **options)
    assert [len(each) for each in found] == [10, 7_000, 9_000, 500_000]
    assert all((each == np.arange(len(each))).all() and each.flags.writeable for each in found)
loaded = [pickle.loads(path.read_bytes()) for path in pathlib.Path("results").iterdir()]
print(sorted(len(each) for each in loaded))
"""
    first, second = python(text), python(text)
    assert first.stdout.count("ran") == 4, first.stderr
    assert second.stdout == "[9000, 500000]\n", second.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_more_than_two_gibibytes_in_both_directions(python):
    done = python(
        """
import numpy as np
from mpipool import Pool
def back(array):
    assert array[-1] == 7
    array[0] = 5
    return array
with Pool(workers=1) as pool:
    array = np.zeros((2 << 30) + 1000, dtype=np.uint8)
    array[-1] = 7
    (found,) = pool.map(back, [array])
    print(len(found) - (2 << 30), found[0], found[-1])
"""
    )
    assert done.stdout == "1000 5 7\n", done.stderr
