"""Single calls on the ranks of a world: results, errors, cancelling, graphs, and the ends."""

import pytest


def pool():
    from mpipool import Pool

    return Pool()


class Occupied:
    """All ranks are busy until the end of the block, or its `release`."""

    def __init__(self, p, folder):
        import os
        import uuid

        self.go = os.path.join(folder, "go")
        # By the name of a stage of their own nothing is known of them, and they go one by one.
        stage = str(uuid.uuid4())
        self.calls = [p.submit(wait_for_file, self.go, stage=stage) for _ in range(20 * p.size)]
        self.size = p.size

    def __enter__(self):
        import time

        while sum(call.running() for call in self.calls) < self.size:
            time.sleep(0.01)
        return self

    def release(self):
        open(self.go, "w").close()

    def __exit__(self, *_):
        self.release()


def wait_for_file(path):
    import os
    import time

    while not os.path.exists(path):
        time.sleep(0.01)


# --- results -------------------------------------------------------------------------------------


def test_a_call_returns_its_result(world):
    def script():
        return pool().submit(divmod, 17, 5).result()

    assert world(script) == (3, 2)


def test_arguments_and_keywords_go_to_the_function(world):
    def script():
        def gather(*args, **kwargs):
            return args, kwargs

        return pool().submit(gather, 1, [2], function=3, self=4).result()

    assert world(script) == ((1, [2]), {"function": 3, "self": 4})


def test_options_do_not_go_to_the_function_unless_by_a_partial(world):
    def script():
        from functools import partial

        def stages(stage="none"):
            return stage

        p = pool()
        return p.submit(stages, stage="s").result(), p.submit(partial(stages, stage="s")).result()

    assert world(script) == ("none", "s")


def test_an_option_that_makes_no_sense_is_an_error_at_the_call(world):
    def script():
        from mpipool import UsageError

        for options in ({"retries": -1}, {"previous": True}, {"errors": "return"}):
            try:
                pool().submit(abs, 1, **options)
            except UsageError:
                continue
            return options
        return None

    assert world(script) is None


def test_lambdas_closures_and_what_changes_between_calls_are_sent_as_they_are(world):
    def script():
        p, futures = pool(), []
        for factor in (2, 3):
            futures.append(p.submit(lambda x, factor=factor: factor * x, 10))
        sent = [1]
        from functools import partial

        append = partial(sum, sent)
        for number in (2, 3):
            sent.append(number)
            futures.append(p.submit(append))
        return [future.result() for future in futures]

    assert world(script) == [20, 30, 3, 6]


def test_a_global_which_a_function_uses_is_that_of_the_moment_of_the_call(python):
    done = python(
        """
from mpipool import Pool

def seen():
    return number

pool = Pool(workers=2)
futures = []
for number in range(3):
    futures.append(pool.submit(seen))
print([future.result() for future in futures])
"""
    )
    assert done.stdout.strip() == "[0, 1, 2]", done.stderr


def test_a_hundred_thousand_pending_calls_are_small_and_all_end(world, folder):
    def script(folder):
        import concurrent.futures
        import gc
        import tracemalloc

        p = pool()
        with Occupied(p, folder):
            gc.collect()
            tracemalloc.start()
            before, _ = tracemalloc.get_traced_memory()
            futures = [p.submit(abs, 1) for _ in range(100_000)]
            after, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            pending = sum(not future.done() for future in futures)
        done, _ = concurrent.futures.wait(futures, timeout=60)
        return (after - before) / len(futures), pending, len(done)

    each, pending, done = world(script, folder)
    assert each < 300
    assert pending == done == 100_000


def test_large_arguments_and_results_arrive(world):
    def script():
        p = pool()
        small = [p.submit(len, "x" * i) for i in range(20)]
        data = bytes(3_000_000)
        large = [p.submit(bytes.__add__, data, b"x") for _ in range(3)]
        return [f.result() for f in small], [len(f.result()) for f in large]

    assert world(script) == (list(range(20)), [3_000_001] * 3)


def test_threads_submit_and_map_at_once(world):
    def script():
        import threading

        p, results = pool(), {}

        def work(number):
            futures = [p.submit(pow, number, 2) for _ in range(50)]
            mapped = p.map(lambda x: x + 1, range(number))
            results[number] = ({future.result() for future in futures}, mapped)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        return results

    found = world(script)
    assert found == {n: ({n * n}, list(range(1, n + 1))) for n in range(8)}


def test_wait_as_completed_and_asyncio_work_on_it(world, folder):
    def script(folder):
        import asyncio
        import concurrent.futures
        import os

        p, go = pool(), os.path.join(folder, "go")
        slow, fast = p.submit(wait_for_file, go), p.submit(abs, -1)
        first, _ = concurrent.futures.wait([slow, fast], return_when="FIRST_COMPLETED")
        open(go, "w").close()
        in_order = list(concurrent.futures.as_completed([slow, fast]))

        async def main():
            return await asyncio.gather(*(asyncio.wrap_future(p.submit(abs, -i)) for i in (1, 2)))

        return first == {fast}, in_order == [fast, slow], asyncio.run(main())

    assert world(script, folder) == (True, True, [1, 2])


def test_a_timeout_leaves_the_future_as_it_is(world):
    def script():
        import time

        future = pool().submit(time.sleep, 0.3)
        try:
            future.result(timeout=0.01)
        except TimeoutError:
            return future.result()

    assert world(script) is None


def test_a_call_is_running_once_a_rank_has_it(world):
    def script():
        import time

        future = pool().submit(time.sleep, 0.5)
        end = time.monotonic() + 20
        while not future.running() and time.monotonic() < end:
            time.sleep(0.001)
        return future.running(), future.cancel(), future.result(), future.running()

    assert world(script) == (True, False, None, False)


# --- errors --------------------------------------------------------------------------------------


def test_an_exception_carries_the_remote_traceback(world):
    def script():
        def guilty():
            raise KeyError("missing")

        error = pool().submit(guilty).exception()
        return repr(error), "in guilty" in str(error.__cause__), type(error.__cause__).__name__

    assert world(script) == ("KeyError('missing')", True, "RemoteTraceback")


def test_what_can_not_be_sent_is_an_error_in_the_future_and_the_others_go_on(world):
    def script():
        import threading

        from mpipool import UnpicklableError

        p = pool()
        before = [p.submit(abs, -i) for i in range(30)]
        bad = [p.submit(abs, threading.Lock()), p.submit(threading.Lock)]
        after = [p.submit(abs, -i) for i in range(30)]
        errors = [isinstance(future.exception(timeout=30), UnpicklableError) for future in bad]
        return errors, sum(future.result() for future in before + after)

    assert world(script) == ([True, True], 870)


def test_a_result_which_can_not_be_loaded_here_is_an_error(world):
    def script():
        from mpipool import TaskError

        class Poisoned:
            def __reduce__(self):
                return int, ("no number",)

        error = pool().submit(Poisoned).exception(timeout=30)
        return isinstance(error, TaskError) and "can't be loaded" in str(error)

    assert world(script)


def test_a_process_that_dies_fails_its_call_alone(world):
    def script():
        import os

        from mpipool import ExecutorDied

        p = pool()
        others = [p.submit(abs, -i) for i in range(10)]
        error = p.submit(os._exit, 3).exception(timeout=30)
        return isinstance(error, ExecutorDied), [future.result() for future in others]

    assert world(script) == (True, list(range(10)))


def test_retries_try_again(world, folder):
    def script(folder):
        import os

        def second_time(path):
            if not os.path.exists(path):
                open(path, "w").close()
                raise ValueError("the first time")
            return "well"

        return pool().submit(second_time, os.path.join(folder, "x"), retries=1).result()

    assert world(script, folder) == "well"


def test_what_can_never_run_is_refused_in_the_future(world):
    def script():
        from mpipool import UsageError

        future = pool().submit(abs, 1, resources={"nonsense": 1})
        return isinstance(future.exception(timeout=30), UsageError)

    assert world(script)


# --- cancelling ----------------------------------------------------------------------------------


def test_what_waits_can_be_cancelled_and_what_runs_can_not(world, folder):
    def script(folder):
        p = pool()
        with Occupied(p, folder) as occupied:
            waiting = [p.submit(wait_for_file, "never", stage="never") for _ in range(50)]
            cancelled = [future.cancel() for future in waiting]
            running = [future for future in occupied.calls if future.running()]
            refused = [future.cancel() for future in running]
        return (
            all(cancelled) and all(future.cancelled() for future in waiting),
            any(refused),
            {future.result(timeout=30) for future in occupied.calls},
            p.submit(abs, -1).result(timeout=30),
        )

    assert world(script, folder) == (True, False, {None}, 1)


def test_callbacks_and_waiters_hear_of_a_cancellation(world, folder):
    def script(folder):
        import concurrent.futures

        p, heard = pool(), []
        with Occupied(p, folder):
            future = p.submit(abs, 1)
            future.add_done_callback(lambda done: heard.append(done.cancelled()))
            future.cancel()
            done, _ = concurrent.futures.wait([future], timeout=10)
        return heard, len(done)

    assert world(script, folder) == ([True], 1)


# --- callbacks -----------------------------------------------------------------------------------


def test_a_callback_may_submit_and_wait(world):
    def script():
        import queue

        p, results = pool(), queue.Queue()

        def go_on(done):
            results.put(p.submit(abs, -done.result()).result(timeout=30))
            results.put(p.map(abs, [-1, -2]))

        p.submit(abs, -5).add_done_callback(go_on)
        return results.get(timeout=30), results.get(timeout=30)

    assert world(script) == (5, [1, 2])


# --- graphs --------------------------------------------------------------------------------------


def test_futures_as_arguments_stand_for_their_results(world):
    def script():
        p = pool()
        one, two = p.submit(abs, -1), p.submit(abs, -2)

        def take(a, pair, named, *, last):
            return a, pair, named, last

        future = p.submit(take, one, (two, [one]), {"x": two, 1: "y"}, last=one)
        return future.result()

    assert world(script) == (1, (2, [1]), {"x": 2, 1: "y"}, 1)


def test_a_call_comes_after_others(world, folder):
    def script(folder):
        import os
        import time

        def write(path):
            time.sleep(0.1)
            open(path, "w").close()

        p, path = pool(), os.path.join(folder, "x")
        return p.submit(os.path.exists, path, after=[p.submit(write, path)]).result()

    assert world(script, folder)


def test_a_graph_grows_while_it_runs_and_may_be_deep(world):
    def script():
        p = pool()
        last = p.submit(abs, 0)
        for _ in range(2000):
            last = p.submit(lambda x: x + 1, last)
        return last.result(timeout=60)

    assert world(script) == 2000


def test_what_waits_for_a_failure_is_blocked_down_to_the_last(world):
    def script():
        from mpipool import Blocked

        p = pool()
        chain = [p.submit(divmod, 1, 0)]
        for _ in range(2000):
            chain.append(p.submit(abs, chain[-1]))
        errors = [future.exception(timeout=60) for future in chain]
        return (
            type(errors[0]).__name__,
            all(isinstance(error, Blocked) for error in errors[1:]),
            errors[2].__cause__ is errors[1],
            "ZeroDivisionError" in str(errors[1]),
        )

    assert world(script) == ("ZeroDivisionError", True, True, True)


def test_what_waits_for_something_cancelled_is_blocked(world):
    def script():
        from mpipool import Blocked, Future

        p, never = pool(), Future()
        future = p.submit(abs, 1, after=[never])
        never.cancel()
        return isinstance(future.exception(timeout=30), Blocked)

    assert world(script)


def test_what_is_held_can_be_cancelled(world):
    def script():
        import concurrent.futures

        p, never = pool(), concurrent.futures.Future()
        future = p.submit(abs, never)
        cancelled = future.cancel()
        never.set_result(1)
        return cancelled, future.cancelled()

    assert world(script) == (True, True)


def test_futures_of_others_may_be_prerequisites(world):
    def script():
        import concurrent.futures
        import time

        with concurrent.futures.ThreadPoolExecutor() as threads:
            slow = threads.submit(lambda: time.sleep(0.1) or -7)
            return pool().submit(abs, slow).result(timeout=30)

    assert world(script) == 7


def test_a_blocked_call_is_on_record_with_its_cause(new_world, tmp_path):
    def script(path):
        import sqlite3

        from mpipool import Pool

        with Pool(checkpoint=path) as p:
            bad = p.submit(divmod, 1, 0, stage="bad")
            good = p.submit(abs, -1, stage="good")
            for future in (p.submit(abs, bad, stage="held"), good):
                future.exception()
        rows = sqlite3.connect(path).execute(
            "SELECT stage, state, error, message FROM record ORDER BY stage"
        )
        return [(stage, state, error, message or "") for stage, state, error, message in rows]

    one = new_world()
    (bad, good, held) = one(script, str(tmp_path / "run.db"))
    assert bad[:3] == ("bad", "failed", "ZeroDivisionError")
    assert good[:3] == ("good", "done", None)
    assert held[:3] == ("held", "blocked", "Blocked")
    assert "ZeroDivisionError" in held[3]
    assert one.close() == 0


# --- inside tasks --------------------------------------------------------------------------------


def test_tasks_submit_too_to_any_depth(world):
    def script():
        def fib(n):
            from mpipool import Pool

            if n < 2:
                return n
            p = Pool()
            return sum(f.result() for f in [p.submit(fib, n - 1), p.submit(fib, n - 2)])

        return pool().submit(fib, 7).result(timeout=60)

    assert world(script) == 13


@pytest.mark.parametrize("ways", ["result", "wait", "as_completed", "callback"])
def test_a_task_which_waits_gives_its_core_up_even_on_one_rank(new_world, ways):
    def script(ways):
        def task(ways):
            import concurrent.futures

            from mpipool import Pool

            p = Pool()
            futures = [p.submit(abs, -i) for i in range(20)]
            if ways == "wait":
                concurrent.futures.wait(futures, timeout=60)
            elif ways == "as_completed":
                for _ in concurrent.futures.as_completed(futures, timeout=60):
                    pass
            elif ways == "callback":
                last = p.submit(abs, futures[-1], after=futures)
                return last.result(timeout=60)
            return sum(future.result(timeout=60) for future in futures)

        return pool().submit(task, ways).result(timeout=60)

    assert new_world(workers=1)(script, ways) == (19 if ways == "callback" else 190)


def test_a_task_ends_when_what_it_has_submitted_has(world, folder):
    def script(folder):
        import os

        def write_late(path):
            import time

            time.sleep(0.2)
            open(path, "w").close()

        def task(folder):
            from mpipool import Pool

            for number in range(4):
                Pool().submit(write_late, os.path.join(folder, str(number)))

        pool().submit(task, folder).result(timeout=60)
        return sorted(os.listdir(folder))

    assert world(script, folder) == ["0", "1", "2", "3"]


def test_what_a_task_that_raised_has_submitted_is_dropped(world, folder):
    def script(folder):
        import os
        import time

        def write_late(path):
            time.sleep(0.5)
            open(path, "w").close()

        def task(folder):
            from mpipool import Pool

            for number in range(20):
                Pool().submit(write_late, os.path.join(folder, str(number)))
            raise ValueError("changed my mind")

        error = pool().submit(task, folder).exception(timeout=60)
        time.sleep(1.0)
        return repr(error), len(os.listdir(folder)) < 20

    assert world(script, folder) == ("ValueError('changed my mind')", True)


def test_a_task_goes_on_while_what_it_has_submitted_runs(world):
    def script():
        def task():
            import time

            from mpipool import Pool

            future = Pool().submit(time.time)
            end = time.monotonic() + 20
            while not future.done() and time.monotonic() < end:
                pass  # it never waits
            return future.done()

        return pool().submit(task).result(timeout=60)

    assert world(script)


def test_a_task_maps_and_submits_at_once(world):
    def script():
        def task(n):
            from mpipool import Pool

            p = Pool()
            futures = [p.submit(abs, -i) for i in range(n)]
            mapped = p.map(lambda x: x * x, range(n))
            lazily = list(p.imap(lambda x: x + 1, range(n)))
            return [future.result() for future in futures], mapped, lazily

        return pool().map(task, [3] * 6)

    expected = ([0, 1, 2], [0, 1, 4], [1, 2, 3])
    assert world(script) == [expected] * 6


# --- the ends ------------------------------------------------------------------------------------


def test_the_script_ends_when_what_it_has_submitted_has(python, tmp_path):
    done = python(
        """
import sys, time
from mpipool import Pool

def late(path):
    time.sleep(0.5)
    open(path, "w").close()

pool = Pool(workers=2)
for name in "abc":
    pool.submit(late, name)
pool.submit(late, pool.submit(str, "d"))
"""
    )
    assert done.returncode == 0, done.stderr
    assert {"a", "b", "c", "d"} <= {path.name for path in tmp_path.iterdir()}


def test_a_ctrl_c_while_waiting_leaves_the_pool_usable(world):
    def script():
        import os
        import signal
        import threading
        import time

        def interrupt(after):
            threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT)).start()

        p, caught = pool(), 0

        def endlessly():
            while True:
                p.map(abs, range(20_000))

        waits = (
            lambda: p.submit(time.sleep, 0.4).result(),
            lambda: p.map(time.sleep, [0.4] * 4),
            lambda: list(p.imap(time.sleep, [0.4] * 4)),
            endlessly,
        )
        for wait in waits:
            interrupt(0.1)
            try:
                wait()
            except KeyboardInterrupt:
                caught += 1
        return caught, p.map(abs, [-1, -2]), p.submit(abs, -3).result(timeout=30)

    assert world(script) == (4, [1, 2], 3)


def test_many_ctrl_cs_in_the_middle_of_messages_lose_none(world):
    def script():
        import os
        import signal
        import threading
        import time

        stop = threading.Event()

        def interrupt():
            while not stop.wait(0.02):
                os.kill(os.getpid(), signal.SIGINT)

        p, caught = pool(), 0
        thread = threading.Thread(target=interrupt)
        thread.start()
        end = time.monotonic() + 2.0
        while time.monotonic() < end:
            try:
                p.map(bytes, [1000] * 3000)
            except KeyboardInterrupt:
                caught += 1
        while thread.is_alive():
            try:
                stop.set()
                thread.join()
            except KeyboardInterrupt:
                pass
        return caught > 10, p.map(abs, [-1, -2])

    assert world(script) == (True, [1, 2])


def test_when_the_world_is_lost_every_future_says_so(new_world):
    def script():
        import concurrent.futures
        import os
        import signal
        import subprocess
        import time

        from mpipool import BrokenPool, WorldLost

        p = pool()
        futures = [p.submit(time.sleep, 60) for _ in range(10)]
        held = p.submit(abs, futures[0])
        agents = subprocess.run(
            ["pgrep", "-P", str(os.getpid())], capture_output=True, text=True, check=True
        )
        os.kill(int(agents.stdout.split()[0]), signal.SIGKILL)
        errors = [future.exception(timeout=30) for future in [*futures, held]]
        broken = all(isinstance(error, BrokenPool) for error in errors[:-1])
        try:
            p.submit(abs, 1)
        except BrokenPool as error:
            kinds = (
                isinstance(error, WorldLost),
                isinstance(error, concurrent.futures.BrokenExecutor),
            )
        return broken, type(errors[-1]).__name__ in {"BrokenPool", "Blocked"}, kinds

    assert new_world()(script) == (True, True, (True, True))
