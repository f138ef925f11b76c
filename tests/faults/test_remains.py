"""What a task has started ends with it; what can't be ended costs the process, and nothing else."""

import os
import re
import time

import pytest

from mpipool import ExecutorDied, Pool


def lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def left(pids, seconds=0.0):
    """Which of the processes live, after waiting for their end."""
    deadline = time.monotonic() + seconds
    while any(map(lives, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return [pid for pid in pids if lives(pid)]


def start_all():
    """Start a child, a grandchild in a session of its own, a daemon, and a child of a thread."""
    import os
    import subprocess
    import threading

    plain = subprocess.Popen(["sleep", "1000"])
    text = "setsid sleep 1000 & echo $!; wait"
    shell = subprocess.Popen(["sh", "-c", text], stdout=subprocess.PIPE)
    grandchild = int(shell.stdout.readline())
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(write, str(os.getpid()).encode())
            os.closerange(0, 1000)
            os.execvp("sleep", ["sleep", "1000"])
        os._exit(0)
    daemon = int(os.read(read, 100))
    of_thread = []
    thread = threading.Thread(target=lambda: of_thread.append(subprocess.Popen(["sleep", "1000"])))
    thread.start()
    thread.join()
    return [plain.pid, shell.pid, grandchild, daemon, of_thread[0].pid]


ENDS = {
    "returns": lambda: None,
    "raises": lambda: 1 / 0,
    "dies": lambda: os._exit(1),
}


@pytest.mark.parametrize("end", ENDS)
def test_all_that_a_task_has_started_ends_with_it(world, tmp_path, end):
    def script(folder, end):
        from pathlib import Path

        def work(_):
            pids = start_all()
            Path(folder, "pids").write_text(" ".join(map(str, pids)))
            end()
            return os.getpid()

        first = Pool().map(work, [0], errors="return")
        gone = left(map(int, Path(folder, "pids").read_text().split()))
        return len(first), gone

    ended, alive = world(script, str(tmp_path), ENDS[end])
    assert ended == 1
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 5
    assert end == "dies" or alive == [], "they are gone when the result is there"
    assert left(pids, 5) == []


def test_other_tasks_keep_what_they_have_started(world, tmp_path):
    """A daemon has no parent that would tell whose it is, and the rank has two processes."""

    def script(folder):
        import time

        def item(_):
            start_all()
            os._exit(1)

        def work(_):
            pids = start_all()
            with pytest.raises(ExecutorDied):
                Pool().scatterGather(item, range(4))
            time.sleep(0.3)
            return len(left(pids)), pids

        return Pool().map(work, range(2))

    results = world(script, str(tmp_path))
    assert [count for count, _ in results] == [5, 5]
    assert left([pid for _, pids in results for pid in pids], 5) == []


def test_what_waits_below_keeps_what_it_has_started(new_world):
    """A task which goes on with a cache may run on top of one that waits."""

    def script():
        import socket
        import subprocess
        import threading
        from types import SimpleNamespace

        from mpipool.executor.remains import Remains
        from mpipool.executor.tidying import Tidying

        def start():
            return subprocess.Popen(["sleep", "1000"])

        function, (channel, _other) = SimpleNamespace(name="work"), socket.socketpair()
        tidying = Tidying(Remains(channel.fileno()))
        stopped = threading.Event()
        below = start()
        threading.Thread(target=stopped.wait).start()
        with tidying.above():
            above = start()
            tidying.after_task(function, 1.0)
            tidying.look()
            kept = left([below.pid]) == [below.pid], left([above.pid]), tidying.spoiled
        stopped.set()
        tidying.after_task(function, 1.0)
        return kept, left([below.pid])

    assert new_world(1)(script) == ((True, [], []), [])


def test_the_helper_of_multiprocessing_stays(world):
    """It removes the shared memory which a task has not, once its process ends."""

    def script():
        from multiprocessing import resource_tracker, shared_memory

        def work(name):
            memory = shared_memory.SharedMemory(name=name, create=name is None, size=100)
            memory.close()
            return memory.name, os.getpid(), resource_tracker._resource_tracker._pid

        name, process, helper = Pool().map(work, [None])[0]
        alive = left([helper])
        seen = Pool().map(work, [name])[0][0]
        return name == seen, alive == [helper], process

    assert world(script)[:2] == (True, True)


def stay(seconds=1000.0):
    import threading
    import time

    threading.Thread(target=time.sleep, args=(seconds,), daemon=True, name="sleeper").start()


def unnamed():
    import _thread
    import time

    _thread.start_new_thread(time.sleep, (1000.0,))
    time.sleep(0.05)  # it is counted once it runs


def close_stdout():
    import sys

    sys.stdout.close()


def close_copies():
    import fcntl
    import os

    for number in map(int, os.listdir("/proc/self/fd")):
        if number >= 64 or number == 2:
            try:
                flags = fcntl.fcntl(number, fcntl.F_GETFD)
                if number == 2 or flags & fcntl.FD_CLOEXEC:
                    os.close(number)
            except OSError:
                continue


def lose_the_folder():
    import os

    os.rename(os.getcwd(), os.getcwd() + ".moved")
    os.chdir("/")


SPOILS = {
    "a daemon thread": (stay, r"left a thread running \(sleeper\)"),
    "a thread without a name": (unnamed, r"left a thread running \(without a name\)"),
    "a closed stream": (close_stdout, "closed the stream of descriptor 1"),
    "closed descriptors": (close_copies, "closed descriptor 2, and all copies of it"),
    "a lost folder": (lose_the_folder, "what it changed can't be undone .*No such file"),
}


@pytest.mark.parametrize("name", SPOILS)
def test_what_can_not_be_undone_costs_the_process_and_no_result(capfd, new_world, name):
    spoil, reason = SPOILS[name]

    def script(spoil):
        def work(x):
            import time

            time.sleep(0.001)
            if x == 3:
                spoil()
            return x, os.getpid()

        pool = Pool()
        pids = [pool.map(work, [x])[0][1] for x in range(5)]
        results = pool.map(work, range(20))
        return pids, [x for x, _ in results]

    world = new_world(1)
    pids, results = world(script, spoil)
    assert results == list(range(20))
    assert pids[0] == pids[1] == pids[2] == pids[3] != pids[4]
    world.close()
    told = re.findall(r"mpipool: rank 0 replaces a process after work: .*", _err(capfd))
    assert told
    assert re.search(reason, told[0])


def test_a_thread_that_is_about_to_end_costs_nothing(capfd, new_world):
    def script():
        def work(x):
            stay(0.005)
            return os.getpid()

        return len({Pool().map(work, [x])[0] for x in range(5)})

    world = new_world(1)
    assert world(script) == 1
    world.close()
    assert "replaces" not in _err(capfd)


def test_a_crash_behind_a_result_costs_the_process_and_not_the_result(capfd, new_world, tmp_path):
    def script(folder):
        import threading
        import time
        from pathlib import Path

        def work(x):
            Path(folder, f"{x}-{os.getpid()}").touch()
            if x == 1:
                threading.Timer(0.01, os._exit, (9,)).start()
            return x

        results = [Pool().map(work, [x])[0] for x in range(2)]
        time.sleep(0.1)
        return results + Pool().map(work, range(2, 6))

    world = new_world(1)
    assert world(script, str(tmp_path)) == list(range(6))
    assert len(list(tmp_path.glob("?-*"))) == 6, "none ran twice"
    world.close()
    assert (
        "mpipool: rank 0 replaces a process which ended between two tasks: its process ended "
        in (told := _err(capfd))
    ), told


def test_a_flood_of_output_stops_nobody(new_world, capfd):
    """100 MB, while another task of the rank's agent wants answers."""

    def script():
        def flood(x):
            import sys

            if x == 0:
                for _ in range(100):
                    sys.stderr.write("x" * 10**6)
            else:
                for _ in range(100):
                    assert Pool().scatterGather(abs, [-1, -2]) == [1, 2]
            return x

        return Pool().map(flood, range(3))

    assert new_world(2)(script) == [0, 1, 2]


def _err(capfd):
    return capfd.readouterr().err
