"""What fails fails alone, says why, and leaves a usable pool."""

import os
import time

import pytest

from mpipool import Pool


def test_the_original_exception_with_the_remote_traceback_as_its_cause(world):
    def script():
        from mpipool import RemoteTraceback

        def explode_in_the_task(x):
            if x == 3:
                raise LookupError("no such star", x)
            return x

        with pytest.raises(LookupError) as caught:
            Pool().map(explode_in_the_task, range(6))
        assert caught.value.args == ("no such star", 3)
        assert isinstance(caught.value.__cause__, RemoteTraceback)
        return str(caught.value.__cause__)

    text = world(script)
    assert "explode_in_the_task" in text
    assert "LookupError: ('no such star', 3)" in text
    assert "mpipool" not in text.split("explode_in_the_task")[0], "our own frames are no help"


def test_the_first_failure_is_raised_after_the_others_are_finished(world, tmp_path):
    def script(folder):
        import time
        from pathlib import Path

        def work(x):
            if x == 2:
                time.sleep(0.2)
            if x in (2, 5):
                raise ValueError(x)
            Path(folder, str(x)).touch()

        try:
            Pool().map(work, range(30))
        except ValueError as error:
            return error.args

    assert world(script, str(tmp_path)) == (2,)
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [0, 1, 3, 4, *range(6, 30)]


def test_exceptions_in_the_places_of_results(world):
    def script():
        def odd(x):
            if x % 2 == 0:
                raise ValueError(x)
            return x

        return [
            value if isinstance(value, int) else (type(value).__name__, value.args)
            for value in Pool().map(odd, range(4), errors="return")
        ]

    assert world(script) == [("ValueError", (0,)), 1, ("ValueError", (2,)), 3]


def test_an_exception_which_does_not_unpickle_is_told_in_words(world):
    def script():
        from mpipool import RemoteTraceback, TaskError

        class Stubborn(Exception):
            def __init__(self, one, two):
                super().__init__(f"{one} and {two}")

        def fail(_):
            raise Stubborn("salt", "pepper")

        (error,) = Pool().map(fail, [0], errors="return")
        assert type(error) is TaskError
        assert isinstance(error.__cause__, RemoteTraceback)
        return str(error)

    assert world(script) == "task 0 of fail: Stubborn: salt and pepper"


def test_an_exception_which_can_not_even_be_shown(world):
    def script():
        class Mute(Exception):
            def __str__(self):
                raise RuntimeError("I say nothing")

        def fail(_):
            raise Mute

        (error,) = Pool().map(fail, [0], errors="return")
        return type(error).__name__

    assert world(script) == "Mute"


def test_sys_exit_in_a_task_fails_it_and_does_not_end_the_script(world):
    def script():
        import sys

        from mpipool import TaskError

        try:
            Pool().map(lambda x: sys.exit(3), [0])
        except TaskError as error:
            return str(error)

    assert "SystemExit: 3" in world(script)


def test_os_exit_fails_that_task_alone(world):
    def script():
        import os

        from mpipool import ExecutorDied

        def work(x):
            if x == 5:
                os._exit(3)
            return x

        results = Pool().map(work, range(40), errors="return")
        error = results.pop(5)
        assert type(error) is ExecutorDied
        return str(error), results

    message, results = world(script)
    assert message.startswith("task 5 of work: ")
    assert "exit code 3" in message
    assert results == [x for x in range(40) if x != 5]


def test_a_crash_in_the_middle_of_a_chunk_repeats_nothing_that_was_reported(world, tmp_path):
    """Tasks before the crash may run again, but each gives one result, and none is skipped."""

    def script():
        import os

        Pool().map(abs, range(1000))  # so that chunks are large

        def work(x):
            if x % 100 == 50:
                os._exit(1)
            return -x

        return Pool().map(work, range(1000), errors="return")

    results = world(script)
    assert [x for x, value in enumerate(results) if value != -x] == list(range(50, 1000, 100))


def test_sigsegv_is_named_with_the_task_and_what_it_wrote_last(world):
    def script():
        import os
        import signal
        import sys

        from mpipool import ExecutorDied

        def work(x):
            if x == 2:
                print("last words", file=sys.stderr)
                os.kill(os.getpid(), signal.SIGSEGV)
            return x

        results = Pool().map(work, range(6), errors="return")
        error = results.pop(2)
        assert type(error) is ExecutorDied
        assert error.stderr.endswith("last words\n")
        return str(error), results

    message, results = world(script)
    assert "task 2 of work" in message
    assert "SIGSEGV" in message
    assert "last words" in message
    assert results == [0, 1, 3, 4, 5]


def test_a_function_an_argument_or_an_item_that_can_not_be_sent(world):
    def script():
        import threading

        from mpipool import UnpicklableError

        lock = threading.Lock()
        messages = []
        for call in (
            lambda: Pool().map(lambda x: lock, [1]),
            lambda: Pool().scatterGather(max, [1], lock),
            lambda: Pool().map(abs, [*range(2000), lock, *range(5)]),
        ):
            try:
                call()
            except UnpicklableError as error:
                messages.append(str(error))
            assert Pool().map(abs, [-1, -2]) == [1, 2]
        return messages

    function, argument, item = world(script)
    assert function.startswith("the function can't be sent")
    assert argument.startswith("the function can't be sent")
    assert item.startswith("the item of task 2000 of abs can't be sent")


def test_a_result_that_can_not_be_sent_fails_its_task(world):
    def script():
        import threading

        from mpipool import UnpicklableError

        def work(x):
            return threading.Lock() if x == 1 else x

        zero, error, two = Pool().map(work, range(3), errors="return")
        assert type(error) is UnpicklableError
        return str(error), zero, two

    message, *others = world(script)
    assert message.startswith("the result can't be sent")
    assert others == [0, 2]


def test_a_task_is_tried_as_often_as_was_asked_for(world, tmp_path):
    def script(folder):
        from pathlib import Path

        def work(x):
            tries = len(list(Path(folder).glob(f"{x}-*")))
            Path(folder, f"{x}-{tries}").touch()
            if tries < x:
                raise ValueError(x)
            return tries + 1

        results = Pool().map(work, range(4), retries=2, errors="return")
        return [value if isinstance(value, int) else repr(value) for value in results]

    assert world(script, str(tmp_path)) == [1, 2, 3, "ValueError(3)"]
    assert len(list(tmp_path.glob("3-*"))) == 3


def test_a_crash_counts_as_an_attempt(world, tmp_path):
    def script(folder):
        import os
        from pathlib import Path

        def work(x):
            if x == 1 and not Path(folder, "crashed").exists():
                Path(folder, "crashed").touch()
                os._exit(9)
            return x

        return Pool().map(work, range(3), retries=1)

    assert world(script, str(tmp_path)) == [0, 1, 2]


def test_an_item_that_crashes_is_seen_by_its_leader_which_goes_on(world):
    def script():
        import os
        import signal

        from mpipool import ExecutorDied

        def item(x):
            if x == 4:
                os.kill(os.getpid(), signal.SIGKILL)
            return x

        def lead(x):
            before = os.getpid()
            try:
                Pool().scatterGather(item, range(8))
            except ExecutorDied as error:
                assert os.getpid() == before
                return "SIGKILL" in str(error), sum(Pool().scatterGather(item, range(4)))
            return "nothing seen"

        return Pool().map(lead, range(3))

    assert world(script) == [(True, 6)] * 3


def test_when_a_leader_dies_the_tasks_of_its_scatter_are_ended_and_the_run_goes_on(world, tmp_path):
    def script(folder):
        import os
        import time
        from pathlib import Path

        from mpipool import ExecutorDied

        def item(x, leader):
            Path(folder, f"{os.getpid()}").touch()
            if x == 1:
                while len(list(Path(folder).iterdir())) < 2:
                    time.sleep(0.01)
                os.kill(leader, 9)
            time.sleep(1000)

        def lead(x):
            if x:
                return x
            return Pool().scatterGather(item, range(6), os.getpid())

        dead, *others = Pool().map(lead, range(12), errors="return")
        assert type(dead) is ExecutorDied
        assert "task 0 of lead" in str(dead)
        return others

    assert world(script, str(tmp_path)) == list(range(1, 12))
    pids = [int(path.name) for path in tmp_path.iterdir()]
    deadline = time.monotonic() + 5
    while any(map(_lives, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not [pid for pid in pids if _lives(pid)]


def _lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_killed_guard_costs_only_its_own_rank(new_world, tmp_path):
    """Without mpiexec the guards of all ranks are children of one process."""

    def script(folder):
        import os
        import time
        from pathlib import Path

        def work(x):
            with open(Path(folder, str(x)), "a") as log:
                log.write(f"{os.getppid()}\n")
            while not Path(folder, "go").exists():
                time.sleep(0.01)
            return x

        return Pool().map(work, range(3))

    world = new_world(3)
    world.begin(script, str(tmp_path))
    begun = [tmp_path / str(x) for x in range(3)]
    _wait_for(lambda: all(path.exists() and path.read_text() for path in begun))
    os.kill(int(begun[1].read_text()), 9)
    _wait_for(lambda: len(begun[1].read_text().splitlines()) == 2)
    time.sleep(0.3)  # time in which others could wrongly begin again
    (tmp_path / "go").touch()
    assert world.result() == [0, 1, 2]
    assert [len(path.read_text().splitlines()) for path in begun] == [1, 2, 1]


def test_what_tasks_print_is_read_from_every_later_executor(world):
    """An executor whose output nobody reads hangs once the pipe is full."""

    def script():
        import os
        import sys

        def crash(x):
            os._exit(1)

        def talk(x):
            sys.stderr.write(" " * 200_000)
            return x

        for _ in range(8):
            Pool().map(crash, range(6), errors="return")
        return Pool().map(talk, range(12))

    assert world(script) == list(range(12))


def test_the_world_ends_with_its_script_though_a_fork_of_that_lives_on(new_world, tmp_path):
    """The fork keeps the script's end of the socket open: nobody sees an end of file."""

    def script(folder):
        import os
        import time
        from pathlib import Path

        def work(_):
            Path(folder, str(os.getpid())).touch()
            time.sleep(1000)

        if os.fork() == 0:
            time.sleep(8)
            os._exit(0)
        Pool().map(work, range(2))

    world = new_world(2)
    world.begin(script, str(tmp_path))
    _wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
    pids = [int(path.name) for path in tmp_path.iterdir()]
    world.kill()
    deadline = time.monotonic() + 5
    while any(map(_lives, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not [pid for pid in pids if _lives(pid)]


def _wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_result_that_does_not_unpickle_is_a_failure_of_its_task(world):
    def script():
        from mpipool import TaskError

        class Spiteful:
            def __init__(self, how):
                self.how = how

            def __reduce__(self):
                return eval, (self.how,)

        hows = "1 / 0", "exit(3)"
        results = []
        for extra in {}, {"stage": "told"}:
            made = Pool().map(
                lambda x: Spiteful(hows[x % 2]) if x in (2, 5) else x,
                range(8),
                errors="return",
                **extra,
            )
            errors = [made.pop(5), made.pop(2)]
            assert made == [0, 1, 3, 4, 6, 7]
            assert all(type(error) is TaskError for error in errors)
            results += [(error.reason, type(error.__cause__).__name__) for error in errors]
        return results

    by_zero = "its result can't be unpickled: ZeroDivisionError: division by zero"
    left = "its result can't be unpickled: SystemExit: 3"
    expected = [(left, "SystemExit"), (by_zero, "ZeroDivisionError")]
    assert world(script) == expected * 2
