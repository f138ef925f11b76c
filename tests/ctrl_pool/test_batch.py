"""The scripts of batch jobs, against golden files, and how they are run."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from mpipool.ctrl_pool.batch import BATCH_TYPES, Batch, PbsBatch, SlurmBatch, SmpBatch, exportEnv

GOLDEN = Path(__file__).parent / "golden"
COMMAND = "/opt/bin/python -c 'import survey' --id visit=1"
SCRIPTS = {
    "slurm-cores": SlurmBatch(numCores=112, jobName="night", walltime=90061),
    "slurm-nodes": SlurmBatch(
        numNodes=2,
        numProcsPerNode=56,
        jobName="a night",
        queue="normal",
        outputDir="/data/log's",
        walltime=60,
        options="--mem=0",
        mpiexec="-bind-to none",
        verbose=True,
    ),
    "pbs": PbsBatch(
        numNodes=2,
        numProcsPerNode=56,
        jobName="night",
        queue="normal",
        outputDir="/data/logs",
        walltime=3600.4,
        options="-A survey",
    ),
    "pbs-least": PbsBatch(numNodes=1, numProcsPerNode=4),
    "smp": SmpBatch(numCores=4),
}
WALLTIMES = {"pbs-least": 10.0}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_script_is_as_before(name, plain):
    script = SCRIPTS[name].render(COMMAND, WALLTIMES.get(name))
    assert script == (GOLDEN / f"{name}.sh").read_text()


@pytest.mark.parametrize("name", SCRIPTS)
def test_bash_can_read_the_script(name):
    assert subprocess.run(["bash", "-n", GOLDEN / f"{name}.sh"], check=False).returncode == 0


def test_a_walltime_is_rounded_up_to_minutes():
    assert [SlurmBatch.formatWalltime(s) for s in (1, 60, 61, 3600, 86400, 90060.5)] == [
        "0-0:1",
        "0-0:1",
        "0-0:2",
        "0-1:0",
        "1-0:0",
        "1-1:2",
    ]


def test_one_machine_takes_nodes_and_procs_for_cores():
    assert SmpBatch(numNodes=1, numProcsPerNode=3).numCores == 3
    with pytest.raises(RuntimeError, match="say --cores"):
        SmpBatch(numNodes=2, numProcsPerNode=3)


def test_one_machine_without_an_mpi_has_ranks_of_its_own(plain, monkeypatch):
    monkeypatch.setattr("mpipool.ctrl_pool.batch.find_mpiexec", lambda: None)
    launcher = SmpBatch(numCores=4).launcher()
    assert launcher == "/opt/bin/python -P -m mpipool.agent_main --local 4 --run"


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        (Batch, {}, "say how large the job is"),
        (SlurmBatch, {"numNodes": 2}, "say how large the job is"),
        (SlurmBatch, {"numCores": 2, "jobName": "a\n#SBATCH -p other"}, "line break"),
        (SlurmBatch, {"numCores": 2}, "give --time"),
        (SlurmBatch, {"numCores": 2, "numNodes": 1, "walltime": 9}, "not both"),
        (PbsBatch, {"numNodes": 2, "numProcsPerNode": 1}, "give --time"),
        (PbsBatch, {"numCores": 2, "walltime": 9}, "not --cores"),
    ],
)
def test_what_can_not_be_asked_for_is_said(kind, options, says):
    with pytest.raises(RuntimeError, match=says):
        kind(**options).render(COMMAND)


def test_bash_makes_the_same_environment_again():
    environment = {
        "SIMPLE": "1",
        "HARD": 'it\'s "$HOME" `id`\nand a line',
        "BASH_FUNC_greet%%": "() {  echo hello\n}",
    }
    done = subprocess.run(
        ["bash", "-c", exportEnv(environment) + "\ngreet; env -0"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    greeting, _, rest = done.stdout.partition("\n")
    found = dict(entry.split("=", 1) for entry in rest.split("\0") if entry)
    assert greeting == "hello"
    assert environment.items() <= found.items()


@pytest.mark.parametrize(
    "name",
    ["MY_TOKEN", "db_password", "AWS_REGION", "PMI_RANK", "DISPLAY", "a.b", "MPIPOOL_FD", "PWD"],
)
def test_secrets_and_what_a_job_must_not_inherit_stay_out(name):
    assert exportEnv({name: "x", "LANG": "C"}) == "export LANG=C"


def test_a_dry_run_writes_the_script_for_its_owner_only_and_says_how_it_is_submitted(capsys):
    batch = SlurmBatch(numCores=2, walltime=60, dryrun=True, submit="--hold")
    name = Path(batch.run(COMMAND))
    assert capsys.readouterr().out == f"Would run: sbatch --hold {name}\n"
    assert stat.S_IMODE(name.stat().st_mode) == 0o700
    name.unlink()


class Echo(SmpBatch):
    """Runs a command alone."""

    def launcher(self):
        return ""


def test_one_machine_runs_at_once(capfd):
    name = Path(Echo(numCores=1).run("echo done"))
    assert capfd.readouterr().out == "done\n"
    name.unlink()


def test_the_code_of_what_fails_is_that_of_the_command(capfd):
    with pytest.raises(SystemExit) as ended:
        Echo(numCores=1).run("(exit 75)")
    assert ended.value.code == 75
    assert "ended with code 75" in capfd.readouterr().err


def test_the_types_have_their_names():
    assert {
        "none": None,
        "None": None,
        "pbs": PbsBatch,
        "slurm": SlurmBatch,
        "smp": SmpBatch,
    } == BATCH_TYPES
