"""What the end of a script does with calls which are not over."""

import signal
import subprocess
import sys

SCRIPT = """
import time
from mpipool import Pool

if __name__ == "__main__":
    pool = Pool(workers=2)
    pool.submit(time.sleep, {long})
    future = pool.submit(time.sleep, {long})
    while not future.running():
        time.sleep(0.01)
    print("running", flush=True)
    {then}
"""


def begin(tmp_path, long, then):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(long=long, then=then))
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "running\n"
    return process


def test_a_script_ended_by_ctrl_c_does_not_wait_for_what_it_has_submitted(tmp_path):
    process = begin(tmp_path, long=600, then="future.result()")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in said
    assert process.returncode != 0


def test_a_script_which_just_ends_waits_for_it(tmp_path):
    then = "future.add_done_callback(lambda _: print('done', flush=True))"
    process = begin(tmp_path, long=1.5, then=then)
    printed, said = process.communicate(timeout=60)
    assert (process.returncode, printed) == (0, "done\n"), said
