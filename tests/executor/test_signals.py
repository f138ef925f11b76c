"""What an agent, a script's process and an executor make of signals."""

import os
import select
import signal
import subprocess
import sys
from signal import SIGCONT, SIGINT, SIGTERM, SIGUSR1

from mpipool.executor.signals import Ear, Inbox, of_agent


def heard(*came, kills=False, below=True):
    """What an agent does, of signals as (number, seconds)."""
    said = []
    ear = Ear(
        lambda *warning: said.append(warning), (lambda: said.append("Ctrl-C")) if below else None
    )
    for number, now in came:
        ear.heard(number, now, kills)
    return said


def test_a_signal_is_a_warning():
    assert heard((SIGUSR1, 0.0), (SIGTERM, 1.0)) == [(SIGUSR1, False), (SIGTERM, False)]


def test_the_second_ctrl_c_is_for_the_script_below():
    assert heard((SIGINT, 0.0), (SIGINT, 0.5)) == [(SIGINT, False), "Ctrl-C"]
    assert heard((SIGINT, 0.0), (SIGINT, 9.0), below=False) == [(SIGINT, False)] * 2


def test_open_mpis_launcher_leaves_no_time_when_it_continues_and_terminates():
    assert heard((SIGCONT, 0.0), (SIGTERM, 0.25), kills=True) == [(SIGTERM, True)]
    assert heard((SIGCONT, 0.0), (SIGTERM, 5.0), kills=True) == [(SIGTERM, False)]
    assert heard((SIGCONT, 0.0), (SIGTERM, 0.25)) == [(SIGTERM, False)]
    assert heard((SIGTERM, 0.25), kills=True) == [(SIGTERM, False)]


def test_a_ctrl_c_outside_of_mpiexec_is_not_for_the_agent():
    assert SIGINT in of_agent(takes_ctrl_c=True)
    assert SIGINT not in of_agent(takes_ctrl_c=False)


AGENT = """
import os, select, sys, time
from mpipool.executor.signals import Ear, Inbox, of_agent
inbox = Inbox(at_once=True)
inbox.catch(of_agent(takes_ctrl_c=True))
ear = Ear(lambda number, hurried: print(int(number), flush=True))
print("ready", flush=True)
while True:
    select.select([inbox.fileno()], [], [])
    for number in inbox.read():
        ear.heard(number, time.monotonic())
"""
SCRIPT = """
import signal, sys, time
from mpipool.executor.signals import pass_on
pass_on(int(sys.argv[1]), takes_ctrl_c=True)
print("ready", flush=True)
for _ in range(1000):
    time.sleep(0.1)
"""


def start(text, *arguments):
    process = subprocess.Popen(
        [sys.executable, "-c", text, *arguments], stdout=subprocess.PIPE, text=True,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_script_passes_warnings_on_and_goes_on_itself():
    with start(AGENT) as agent:
        with start(SCRIPT, str(agent.pid)) as script:
            for number in (SIGTERM, SIGUSR1, SIGINT):
                script.send_signal(number)
                assert agent.stdout.readline() == f"{int(number)}\n"
            assert script.poll() is None
            script.send_signal(SIGINT)  # the second Ctrl-C is Python's
            assert "KeyboardInterrupt" in script.communicate(timeout=60)[1]
        agent.kill()


def test_a_script_whose_agent_is_gone_dies_of_a_warning_as_any_process():
    with start(AGENT) as agent:
        agent.kill()
    with start(SCRIPT, str(agent.pid)) as script:
        script.send_signal(SIGTERM)
        assert script.wait(timeout=60) == -SIGTERM


def test_a_handler_of_the_scripts_own_stays():
    text = SCRIPT.replace("pass_on(int", "signal.signal(15, lambda *_: sys.exit(7))\npass_on(int")
    with start(text, str(os.getpid())) as script:
        script.send_signal(SIGTERM)
        assert script.wait(timeout=60) == 7


def test_an_executor_does_not_mind_a_warning_but_what_it_starts_does(world):
    def wounded(_):
        import multiprocessing
        import os
        import signal
        import subprocess
        import time

        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            os.kill(os.getpid(), number)
        program = subprocess.Popen(["sleep", "100"])
        program.terminate()
        fork = multiprocessing.get_context("fork").Process(target=time.sleep, args=(100,))
        fork.start()
        fork.terminate()
        fork.join()
        return program.wait(), fork.exitcode

    def script(wounded):
        from mpipool import Pool

        return Pool().map(wounded, [0])

    assert world(script, wounded) == [(-15, -15)]


def test_an_inbox_takes_signals_in_while_the_interpreter_is_elsewhere():
    """In a process which does not run Python code, as in a collective of MPI."""
    text = """
import ctypes, os, signal, sys, threading
from mpipool.executor.signals import Inbox
inbox = Inbox(at_once=True)
inbox.catch([signal.SIGUSR1])
def look():
    import select
    select.select([inbox.fileno()], [], [])
    print(inbox.read(), flush=True)
    os._exit(0)
threading.Thread(target=look).start()
print("ready", flush=True)
ctypes.CDLL(None).sleep(100)
ctypes.CDLL(None).sleep(100)
"""
    with start(text) as process:
        process.send_signal(SIGUSR1)
        assert process.stdout.readline() == f"[{int(SIGUSR1)}]\n"


def test_an_inbox_in_anothers_process_does_the_same_from_python():
    inbox = Inbox(at_once=False)
    before = signal.getsignal(SIGUSR1)
    try:
        inbox.catch([SIGUSR1])
        assert inbox.read() == []
        signal.raise_signal(SIGUSR1)
        assert select.select([inbox.fileno()], [], [], 0)[0]
        assert inbox.read() == [SIGUSR1]
    finally:
        signal.signal(SIGUSR1, before)
