"""What a script that nothing catches says: a sentence where the world is to blame."""

KILLED = """
import os, signal, subprocess
from mpipool import Pool

pool = Pool(workers=2)
children = subprocess.run(["pgrep", "-P", str(os.getpid())], capture_output=True, text=True)
agent = int(children.stdout.split()[0])

def end(agent):
    import time
    os.kill(agent, signal.SIGKILL)
    time.sleep(60)

{}
"""
LOST = "mpipool: the script ends: the agent is gone: the run was stopped or killed\n"


def test_a_lost_world_is_said_in_a_sentence(python):
    done = python(KILLED.format("pool.map(end, [agent])"))
    assert (done.returncode, done.stderr) == (1, LOST)


def test_also_by_a_future(python):
    done = python(KILLED.format("pool.submit(end, agent).result()"))
    assert (done.returncode, done.stderr) == (1, LOST)


def test_a_checkpoint_that_can_not_be_used_is_said_in_a_sentence(python, tmp_path):
    (tmp_path / "run.db").write_bytes(b"no database" * 1000)
    done = python("from mpipool import Pool\nPool(checkpoint='run.db')")
    path = tmp_path / "run.db"
    sentence = "it is not a run database; choose another path, or move this file away"
    assert (done.returncode, done.stderr) == (1, f"mpipool: {path}: {sentence}\n")


def test_what_the_script_has_done_wrong_shows_where(python):
    done = python("from mpipool import Pool\nPool(workers=2).map(abs, [1], memory='much')")
    assert done.returncode == 1
    assert "script.py" in done.stderr
    assert "UsageError" in done.stderr


def test_so_does_an_error_of_a_task_and_a_hook_of_the_users_is_called(python):
    done = python("""
import sys
from mpipool import Pool

sys.excepthook = lambda kind, *rest: print("hooked", kind.__name__)
Pool().map(int, ["one"])
""")
    assert (done.returncode, done.stdout, done.stderr) == (1, "hooked ValueError\n", "")
