"""The pool as an executor of the standard library, and as users of mpi4py's know theirs."""

import pytest


def executor(*args, **kwargs):
    from mpipool import PoolExecutor

    return PoolExecutor(*args, **kwargs)


# --- calls ---------------------------------------------------------------------------------------


def test_it_is_an_executor_and_all_keywords_go_to_the_function(world):
    def script():
        from concurrent.futures import Executor

        def gather(*args, **kwargs):
            return args, kwargs

        with executor() as e:
            future = e.submit(gather, 1, stage="s", after=2, retries=3, self=4, fn=5)
            return isinstance(e, Executor), future.result()

    kwargs = {"stage": "s", "after": 2, "retries": 3, "self": 4, "fn": 5}
    assert world(script) == (True, ((1,), kwargs))


def test_a_pool_gives_one(world):
    def script():
        from mpipool import Pool

        with Pool().executor() as e:
            return e.num_workers, e.submit(abs, -1).result()

    assert world(script) == (3, 1)


def test_many_executors_live_one_after_the_other_and_beside_each_other(world):
    def script():
        results = []
        outer = executor()
        for number in range(20):
            with executor(max_workers=1 + number % 3) as e:
                results.append(e.submit(abs, -number).result())
        return results, outer.submit(abs, -5).result()

    assert world(script) == (list(range(20)), 5)


def test_futures_and_lists_of_them_stand_for_their_results(world):
    def script():
        with executor() as e:
            return e.submit(sum, [e.submit(abs, -1), e.submit(abs, -2)]).result()

    assert world(script) == 3


def test_what_can_not_be_pickled_raises_what_the_pickler_raised_with_a_note(world):
    def script():
        import threading

        with executor() as e:
            futures = e.submit(abs, {"a": threading.Lock()}), e.submit(threading.Lock)
            errors = [future.exception(timeout=30) for future in futures]
            return [(type(error), error.__notes__[0], error.__cause__) for error in errors[:1]] + [
                type(errors[1])
            ]

    (kind, note, cause), result = world(script)
    assert (kind, result) == (TypeError, TypeError)
    assert "can't be sent" in note
    assert "'a'" in note
    assert cause is None


def test_no_more_than_max_workers_run_at_once(world, folder):
    def script(folder):
        def count(folder):
            import os
            import tempfile
            import time

            with tempfile.NamedTemporaryFile(dir=folder):
                time.sleep(0.03)
                return len(os.listdir(folder))

        with executor(max_workers=2) as e:
            futures = [e.submit(count, folder) for _ in range(30)]
            return max(future.result() for future in futures)

    assert world(script, folder) == 2


# --- maps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunksize", [1, 3, 100])
@pytest.mark.parametrize("buffersize", [None, 1, 4, 1000])
def test_map_is_that_of_the_standard_library(world, chunksize, buffersize):
    def script(chunksize, buffersize):
        with executor() as e:
            options = {"chunksize": chunksize, "buffersize": buffersize}
            return list(e.map(pow, range(10), range(20), **options))

    assert world(script, chunksize, buffersize) == list(map(pow, range(10), range(10)))


def test_map_raises_where_the_result_would_be(world):
    def script():
        results = []
        with executor() as e:
            try:
                for result in e.map(divmod, [1, 1, 1, 1], [2, 3, 0, 5]):
                    results.append(result)
            except ZeroDivisionError:
                return results

    assert world(script) == [(0, 1), (0, 1)]


def test_map_takes_no_more_than_its_buffer_of_an_endless_input(world):
    def script():
        import itertools

        taken = itertools.count()
        with executor() as e:
            results = e.map(abs, taken, buffersize=5)
            before = next(taken)
            first = [next(results) for _ in range(20)]
            results.close()
            return before, first, next(taken) < 30

    # What the buffer took, one that the test took, and so on.
    assert world(script) == (5, [0, 1, 2, 3, 4, *range(6, 21)], True)


def test_a_map_that_is_left_cancels_what_did_not_begin(world, folder):
    def script(folder):
        import os
        import time

        def trace(number):
            time.sleep(0.1)
            open(os.path.join(folder, str(number)), "w").close()

        with executor() as e:
            results = e.map(trace, range(50))
            next(results)
            results.close()
        return len(os.listdir(folder)) < 30

    assert world(script, folder)


def test_map_has_a_timeout(world):
    def script():
        import time

        results = []
        with executor() as e:
            try:
                for result in e.map(time.sleep, [0, 0, 1.0], timeout=0.5):
                    results.append(result)
            except TimeoutError:
                return results

    assert world(script) == [None, None]


def test_starmap_and_unordered_are_those_of_mpi4py(world):
    def script():
        import time

        def nap(seconds):
            time.sleep(seconds)
            return seconds

        with executor() as e:
            return (
                list(e.starmap(pow, [(2, 3), (3, 2)])),
                list(e.map(nap, [0.5, 0.0], unordered=True)),
                sorted(e.map(abs, range(10), unordered=True, chunksize=3)),
            )

    assert world(script) == ([8, 9], [0.0, 0.5], list(range(10)))


def test_a_result_is_not_held_by_the_iterator(world):
    def script():
        import weakref

        class Big:
            pass

        with executor() as e:
            for result in e.map(lambda _: Big(), range(10)):
                held = weakref.ref(result)
                del result
                if held() is not None:
                    return False
            return True

    assert world(script)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"chunksize": 0}, "ValueError"),
        ({"buffersize": 0}, "ValueError"),
        ({"buffersize": "1"}, "TypeError"),
        ({"buffersize": 1, "unordered": True}, "ValueError"),
    ],
)
def test_what_makes_no_sense_for_map_is_an_error_at_the_call(world, options, error):
    def script(options):
        with executor() as e:
            try:
                e.map(abs, [1], **options)
            except (ValueError, TypeError) as caught:
                return type(caught).__name__

    assert world(script, options) == error


# --- processes -----------------------------------------------------------------------------------


def test_the_initializer_runs_once_in_each_process_and_for_this_executor_only(world):
    def script():
        def init(value):
            import builtins

            builtins.mpipool_test = [*getattr(builtins, "mpipool_test", []), value]

        def seen():
            import builtins

            return list(builtins.mpipool_test)

        with executor(initializer=init, initargs=("first",)) as e:
            first = [e.submit(seen).result() for _ in range(10)]
        with executor(initializer=init, initargs=("second",)) as e:
            second = [e.submit(seen).result() for _ in range(10)]
        return [v.count("first") for v in first], [v.count("second") for v in second]

    assert world(script) == ([1] * 10, [1] * 10)


def test_an_initializer_that_fails_breaks_the_executor_and_no_other(world):
    def script():
        import concurrent.futures

        from mpipool import BrokenPool

        def init():
            raise ValueError("no licence")

        e = executor(initializer=init)
        futures = [e.submit(abs, -i) for i in range(20)]
        errors = [future.exception(timeout=30) for future in futures]
        try:
            e.submit(abs, 1)
        except concurrent.futures.BrokenExecutor as error:
            again = "no licence" in str(error)
        with executor() as other:
            return (
                all(isinstance(error, BrokenPool) for error in errors),
                again,
                other.submit(abs, -1).result(timeout=30),
            )

    assert world(script) == (True, True, 1)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_workers": 0}, "ValueError"),
        ({"max_workers": -1}, "ValueError"),
        ({"initializer": 123}, "TypeError"),
        ({"max_tasks_per_child": 0}, "ValueError"),
        ({"max_tasks_per_child": "1"}, "TypeError"),
        ({"colour": "red"}, "TypeError"),
        ({"mp_context": None, "thread_name_prefix": "x", "max_tasks_per_child": 1}, None),
        ({"main": False, "path": [], "env": {}, "python_args": ["-B"], "use_pkl5": True}, None),
    ],
)
def test_arguments_are_those_of_other_executors(world, options, error):
    def script(options):
        try:
            executor(**options).shutdown()
        except (ValueError, TypeError) as caught:
            return type(caught).__name__

    assert world(script, options) == error


# --- the end -------------------------------------------------------------------------------------


def test_a_shutdown_waits_and_nothing_can_be_submitted_after_it(world):
    def script():
        import time

        e = executor()
        futures = [e.submit(time.sleep, 0.1) for _ in range(6)]
        e.bootup().shutdown()
        done = all(future.done() for future in futures)
        errors = 0
        for late in (lambda: e.submit(abs, 1), e.bootup, lambda: e.map(abs, [1])):
            try:
                late()
            except RuntimeError:
                errors += 1
        e.shutdown()
        return done, errors, e.num_workers

    assert world(script) == (True, 3, 0)


def test_a_shutdown_can_cancel_what_did_not_begin(world):
    def script():
        import time

        e = executor()
        futures = [e.submit(time.sleep, 0.1) for _ in range(60)]
        e.shutdown(cancel_futures=True)
        cancelled = sum(future.cancelled() for future in futures)
        return all(future.done() for future in futures), 0 < cancelled < 60

    assert world(script) == (True, True)


def test_a_shutdown_without_waiting_loses_nothing(world):
    def script():
        import time

        e = executor()
        futures = [e.submit(time.sleep, 0.05) for _ in range(10)]
        futures.append(e.submit(abs, e.submit(abs, -3)))
        e.shutdown(wait=False)
        return futures[-1].result(timeout=30), all(
            f.result(timeout=30) is None for f in futures[:-1]
        )

    assert world(script) == (3, True)


def test_an_executor_that_was_forgotten_runs_what_it_was_given(python, tmp_path):
    done = python(
        """
import time
from mpipool import PoolExecutor

def late(path):
    time.sleep(0.3)
    open(path, "w").close()

def forgotten(name):
    PoolExecutor(max_workers=2).submit(late, name)

forgotten("a")
forgotten("b")
print(PoolExecutor().num_workers)
"""
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "2"
    assert {"a", "b"} <= {path.name for path in tmp_path.iterdir()}


def test_nothing_can_be_submitted_when_the_interpreter_ends(python):
    done = python(
        """
import atexit
from mpipool import PoolExecutor

@atexit.register
def at_the_end():
    try:
        e.submit(abs, 1)
    except RuntimeError as error:
        print(error)

e = PoolExecutor(max_workers=1)
"""
    )
    assert "after interpreter shutdown" in done.stdout, done.stderr


def test_executors_work_in_tasks(world):
    def script():
        from mpipool import Pool

        def task(n):
            with executor(max_workers=2) as e:
                return list(e.map(pow, range(n), [2] * n))

        return Pool().map(task, [3, 4, 5])

    assert world(script) == [[i * i for i in range(n)] for n in (3, 4, 5)]
