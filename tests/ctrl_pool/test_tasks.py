"""Tasks with batch options: what they submit, and what they do."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ctrl_pool.survey import CountPixels
from mpipool.ctrl_pool.diagnostics import getBatchType
from mpipool.ctrl_pool.parallel import BatchCmdLineTask
from mpipool.ctrl_pool.standins import Struct

TESTS = Path(__file__).parents[1]
CODE = (
    "import os; os.umask(0o002); import mpipool.ctrl_pool.log; "
    "mpipool.ctrl_pool.log.jobLog({job}); {more}"
    "import ctrl_pool.survey; ctrl_pool.survey.CountPixels.parseAndRun()"
)


def submit(task, text, capsys):
    """Submit with --dry-run; return the last line of the script that would be."""
    task.parseAndSubmit((text + " --dry-run").split())
    told = capsys.readouterr().out
    script = Path(told.split()[-1])
    lines = script.read_text().splitlines()
    script.unlink()
    return lines


def run(task, text, **environment):
    """Do a task's parseAndSubmit in a process of its own."""
    code = f"import sys; from ctrl_pool.survey import {task}; {task}.parseAndSubmit()"
    paths = [str(TESTS), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    with tempfile.TemporaryDirectory() as folder:  # where scripts are left
        return subprocess.run(
            [sys.executable, "-c", code, *text.split()],
            capture_output=True,
            text=True,
            timeout=100,
            env=os.environ | environment | {"TMPDIR": folder},
        )


def shell_words(line):
    done = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True, check=True
    )
    return done.stdout.split("\0")[:-1]


@pytest.mark.parametrize(
    ("options", "job", "more"),
    [
        ("", "'job'", ""),
        (
            "--job night --batch-stats",
            "'night'",
            "import atexit; atexit.register(mpipool.ctrl_pool.log.printProcessStats); ",
        ),
    ],
)
def test_a_job_runs_the_task_with_its_own_options(options, job, more, plain, capsys):
    lines = submit(CountPixels, f"--id 1 2 {options} --cores 2 --batch-type slurm --time 9", capsys)
    assert shell_words(lines[-1]) == [
        "/opt/mpi/bin/mpiexec",
        "/opt/bin/python",
        "-c",
        CODE.format(job=job, more=more),
        "--id",
        "1",
        "2",
    ]


def test_a_profiled_job_says_where_its_profile_is(plain, capsys):
    *_, line = submit(CountPixels, "--id 1 --cores 2 --job n --batch-profile", capsys)
    code = shell_words(line)[5]
    assert code.startswith('import cProfile, os; cProfile.run("import os; os.umask(')
    assert "filename='profile-n-' + " in code
    compile(code, "job", "exec")


def test_the_walltime_is_that_of_all_targets_on_all_cores(plain, capsys):
    lines = submit(CountPixels, "--id 1 2 3 --cores 2 --batch-type slurm --time 600", capsys)
    assert "#SBATCH --time=0-0:15" in lines


def test_the_batch_type_is_known(plain, capsys):
    submit(CountPixels, "--id 1 --cores 2", capsys)
    assert getBatchType().numCores == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("--id 1 --cores 2 --batch-type slurm", "give --time"),
        ("--cores 2", "required: --id"),
        ("--id 1", "say how large the job is"),
    ],
)
def test_a_wrong_command_line_is_said_in_a_sentence(text, says, capsys):
    with pytest.raises(SystemExit) as ended:
        CountPixels.parseAndSubmit(text.split())
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_a_task_that_a_job_can_not_import_is_refused(capsys, monkeypatch):
    class Hidden(CountPixels):
        __module__ = "__main__"

    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    with pytest.raises(SystemExit):
        Hidden.parseAndSubmit(["--id", "1", "--cores", "2"])
    assert "put it into a module" in capsys.readouterr().err


def test_lsst_command_lines_are_told_not_to_exit(capsys, plain):
    class LsstParser:
        def parse_args(self, config, args=None, override=None):
            return Struct(id=[1])

    class Task(CountPixels):
        @classmethod
        def _makeArgumentParser(cls, **kwargs):
            return LsstParser()

    lines = submit(Task, "--cores 2 --id 1", capsys)
    assert shell_words(lines[-1])[-1] == "--noExit"


class Log:
    def __init__(self):
        self.lines = []

    def info(self, line):
        self.lines.append(line)

    warn = info  # as LSST's older logs


def test_operations_are_logged_and_errors_caught_on_request():
    task = BatchCmdLineTask(log=Log())
    with task.logOperation("reading"):
        pass
    with task.logOperation("writing", catch=True, trace=False):
        raise OSError("disk is full")
    told = [line.partition(": ")[2] for line in task.log.lines]
    assert told == [
        "Start reading",
        "Finished reading",
        "Start writing",
        "Caught OSError while writing: disk is full",
        "Finished writing",
    ]
    with pytest.raises(OSError, match="full"), task.logOperation("writing"):
        raise OSError("disk is full")


def test_in_place_a_task_maps_on_its_own_rank():
    done = run("CountPixels", "--id 2 3 --batch-type none")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "visit 2: 21 pixels on 1 ranks",
        "visit 3: 33 pixels on 1 ranks",
    ]
    assert "count INFO" in done.stderr
    assert "Finished visit 3" in done.stderr


def test_in_place_each_target_is_a_task():
    done = run("Square", "--id 2 3 --batch-type none")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["2 squared is 4", "3 squared is 9"]


def test_targets_that_fail_are_told_and_the_others_are_done():
    done = run("Square", "--id 2 13 3 --batch-type none")
    assert done.returncode == 1
    assert sorted(done.stdout.splitlines()) == ["2 squared is 4", "3 squared is 9"]
    assert "failed on 13: ValueError: thirteen" in done.stderr


@pytest.mark.long
@pytest.mark.parametrize("task", ["CountPixels", "Square"])
def test_on_one_machine_a_job_runs_at_once_on_its_cores(task):
    done = run(task, "--id 2 3 --cores 2")
    assert done.returncode == 0, done.stderr
    assert (
        sorted(done.stdout.splitlines())
        == {
            "CountPixels": ["visit 2: 21 pixels on 2 ranks", "visit 3: 33 pixels on 2 ranks"],
            "Square": ["2 squared is 4", "3 squared is 9"],
        }[task]
    )


@pytest.mark.long
def test_on_one_machine_a_job_that_fails_has_its_code():
    assert run("Square", "--id 13 --cores 2").returncode == 1


def test_with_a_checkpoint_targets_that_are_done_are_not_done_again(tmp_path):
    where = {"MPIPOOL_CHECKPOINT": str(tmp_path / "run.db")}
    first = run("Square", "--id 2 13 3 --batch-type none", **where)
    again = run("Square", "--id 2 13 4 3 --batch-type none", **where)
    assert sorted(first.stdout.splitlines()) == ["2 squared is 4", "3 squared is 9"]
    assert again.stdout == "4 squared is 16\n"
    assert "failed on 13" in again.stderr
    assert (first.returncode, again.returncode) == (1, 1)


def test_a_target_that_takes_its_process_along_fails_alone():
    done = run("Square", "--id 2 666 3 --batch-type none")
    assert done.returncode == 1
    assert sorted(done.stdout.splitlines()) == ["2 squared is 4", "3 squared is 9"]
    assert "failed on 666: ExecutorDied" in done.stderr
