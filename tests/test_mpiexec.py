"""Which mpiexec can do what, and what is said of how a job under one has ended."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mpipool import supervisor
from mpipool.mpiexec import (
    IMPOSSIBLE,
    SUPERVISED,
    ULFM,
    forwardable,
    last_line,
    survival_inside,
    survival_under,
)

RESUME = "; the same command resumes it"


@pytest.fixture
def executable(tmp_path):
    def write(text):
        path = tmp_path / "mpiexec"
        path.write_text(f"#!{sys.executable}\n{text}\n")
        path.chmod(0o755)
        return str(path)

    return write


@pytest.mark.parametrize(
    ("version", "survival"),
    [
        ("HYDRA build details:\n    Version:      4.1.2", SUPERVISED),
        ("mpiexec (Open MPI) 5.0.11\n", ULFM),
        ("mpirun (Open MPI) 4.1.6\n", IMPOSSIBLE),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.12", IMPOSSIBLE),
        ("", IMPOSSIBLE),
    ],
)
def test_the_launch_is_the_one_which_this_mpiexec_can_do(executable, version, survival):
    assert survival_under(executable(f"print({version!r})")) is survival


def test_an_mpiexec_that_cannot_be_asked_promises_nothing(tmp_path):
    assert survival_under(str(tmp_path / "is not there")) is IMPOSSIBLE


@pytest.mark.parametrize(
    ("environment", "survival"),
    [
        ({"PMI_FD": "9", "HYDI_CONTROL_FD": "7", "PMI_RANK": "0"}, SUPERVISED),
        ({"PMI_RANK": "0", "PMI_SIZE": "2"}, IMPOSSIBLE),  # srun
        ({"OMPI_MCA_mpi_ft_enable": "1"}, ULFM),
        ({"OMPI_COMM_WORLD_RANK": "0"}, IMPOSSIBLE),
    ],
)
def test_within_a_job_its_ranks_see_what_it_can_do(environment, survival):
    assert survival_inside(environment) is survival


@pytest.mark.parametrize(
    ("status", "notes", "survived", "line"),
    [
        (0, ["begun", "over"], False, ""),
        (1, ["begun", "over"], False, ""),  # the script has failed, and said why
        (75, ["begun", "rank 3 died", "over"], True, ""),
        (2, [], False, ""),  # mpiexec did not like its arguments, and has said so
        (9, ["begun", "rank 3 died", "rank 1 died"], False,
         "rank 3 died; the job has ended, with exit code 9"),
        (137, ["begun"], False, "a rank died; the job has ended, with exit code 137"),
        (9, ["begun", "rank 2 died", "rank 0 died", "rank 0 died (signal 9, SIGKILL)"], True,
         "rank 0 died (signal 9, SIGKILL); the job has ended, with exit code 9"),
        (-9, ["begun"], False,
         "mpiexec was killed by signal 9; the job has ended, with exit code 137"),
    ],
)  # fmt: skip
def test_the_last_line_says_who_died_if_the_run_was_not_over(status, notes, survived, line):
    said = last_line(status, notes, survived)
    assert said.startswith(line)
    assert said.endswith(RESUME) == bool(line)
    assert bool(said) == bool(line)


@pytest.mark.parametrize(("notes", "code"), [(["begun"], 137), (["begun", "over"], 0), ([], 0)])
def test_a_job_which_was_not_over_has_not_succeeded_whatever_mpiexec_says(executable, notes, code):
    """Open MPI's says 0 when rank 0 is killed and the others end, with ULFM."""
    said = "".join(f"{note}\n" for note in notes)
    tell = f"import os; open(os.environ[{supervisor.LAUNCHER!r}], 'w').write({said!r})"
    done = subprocess.run(
        [sys.executable, "-c", RUN, executable(tell)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stderr
    assert ("a rank died; the job has ended, with exit code 137" in done.stderr) == bool(code)


# --- mpiexec as a child --------------------------------------------------------------------------

RUN = "import sys; from mpipool.mpiexec import run; sys.exit(run(sys.argv[1:]))"
COUNT = """
import os, signal, sys, time
if "--version" in sys.argv:
    sys.exit(print("HYDRA build details:"))
signal.signal(signal.SIGUSR1, lambda *_: print("signalled", flush=True))
signal.signal(signal.SIGHUP, lambda *_: sys.exit(75))
print(os.getpid(), flush=True)
while True:
    time.sleep(0.01)
"""


@pytest.fixture
def started(executable):
    """A process which runs an mpiexec, and the process id of that."""
    parent = subprocess.Popen(
        [sys.executable, "-c", RUN, executable(COUNT)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield parent, int(parent.stdout.readline())
    parent.kill()
    parent.communicate()


def test_signals_reach_mpiexec_and_its_exit_code_comes_back(started):
    parent, _ = started
    os.kill(parent.pid, signal.SIGUSR1)
    assert parent.stdout.readline() == "signalled\n"
    os.kill(parent.pid, signal.SIGHUP)
    out, err = parent.communicate(timeout=60)
    assert (parent.returncode, out, err) == (75, "", "")


def test_an_mpiexec_that_is_killed_is_named(started):
    parent, mpiexec = started
    os.kill(mpiexec, signal.SIGKILL)
    _, err = parent.communicate(timeout=60)
    assert parent.returncode == 128 + signal.SIGKILL
    assert err.startswith("mpipool: mpiexec was killed by signal 9; the job has ended")


def test_mpiexec_does_not_survive_who_has_started_it(started):
    parent, mpiexec = started
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 60
    while os.path.exists(f"/proc/{mpiexec}") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not os.path.exists(f"/proc/{mpiexec}")


def test_ranks_can_tell_what_happens_to_them(executable):
    text = (
        "import os, sys\nopen(os.environ['MPIPOOL_LAUNCHER'], 'w').write('begun\\nrank 1 died\\n')"
    )
    command = [sys.executable, "-c", RUN, executable(f"{text}\nsys.exit(9)")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 9
    assert done.stderr == f"mpipool: rank 1 died; the job has ended, with exit code 9{RESUME}\n"


@pytest.mark.parametrize(
    ("version", "number", "before", "passed_on"),
    [
        ("HYDRA build details:", signal.SIGTERM, 0, signal.SIGTERM),
        ("HYDRA build details:", signal.SIGUSR2, 0, signal.SIGUSR1),
        ("HYDRA build details:", signal.SIGXCPU, 1, signal.SIGTERM),
        ("mpiexec (Open MPI) 5.0.11", signal.SIGTERM, 0, signal.SIGXCPU),
        ("mpiexec (Open MPI) 5.0.11", signal.SIGTERM, 1, signal.SIGXCPU),
        ("mpiexec (Open MPI) 5.0.11", signal.SIGTERM, 2, signal.SIGTERM),
        ("mpiexec (Open MPI) 5.0.11", signal.SIGINT, 0, signal.SIGUSR1),
        ("mpiexec (Open MPI) 5.0.11", signal.SIGINT, 1, signal.SIGINT),
        ("mpiexec (Open MPI) 5.0.11", signal.SIGUSR2, 0, signal.SIGUSR2),
    ],
)
def test_a_warning_is_passed_on_by_a_signal_which_mpiexec_survives(
    executable, version, number, before, passed_on
):
    assert forwardable(executable(f"print({version!r})"), number, before) == passed_on
