"""How the drivers end: when they are stopped, when nobody reads, when the registry is locked."""

import errno
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import mpipool
from drivers import ingest, product, repository, survey_plan, survey_run
from drivers.command import Ending, carry_out
from drivers.graph.node import NodeId
from drivers.single_frame import main
from drivers.survey_summary import list_failures, notes_of


def after_three(pool, error):
    """Return what submits three calls, and then raises."""
    submit, calls = pool.submit, []

    def stopping(self, *arguments, **options):
        if len(calls) == 3:
            raise error
        calls.append(arguments)
        return submit(self, *arguments, **options)

    return stopping


@pytest.mark.parametrize("error", [KeyboardInterrupt(), mpipool.WorldLost("the agent went away")])
def test_a_stopped_run_says_how_far_it_was(repo, pool, monkeypatch, capsys, error):
    monkeypatch.setattr(pool, "submit", after_three(pool, error))
    assert main([str(repo), "--rerun", "a"]) == 130
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "stopped: 3 of 4 tasks are done; the same command goes on from there"


def test_a_stopped_ingest_says_that_nothing_was_ingested(
    tmp_path, frames, pool, monkeypatch, capsys
):
    def stopped(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(mpipool.Pool, "map", stopped)
    assert ingest.main([str(tmp_path / "repo"), str(frames[0])]) == 130
    assert "stopped: nothing was ingested" in capsys.readouterr().err
    assert not (tmp_path / "repo").exists()


@pytest.mark.parametrize("code", [75, 1])
def test_a_drained_run_brings_the_table_up_to_date_and_says_how_far_it_was(
    repo, pool, monkeypatch, capsys, code
):
    calls = []
    error = mpipool.Drained("singleFrame", "SIGUSR1", 3, 0, 1, code)
    monkeypatch.setattr(pool, "submit", after_three(pool, error))
    monkeypatch.setattr(survey_run, "replace_products", lambda *arguments: calls.append(arguments))
    assert main([str(repo), "--rerun", "a"]) == code
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == (
        "drained (SIGUSR1): 3 of 4 tasks are done; the same command goes on from there"
    )
    ((_, rerun, table, rows),) = calls
    assert (rerun, table, len(rows)) == ("a", "calexp", 3)


def test_a_drained_ingest_can_go_on(tmp_path, frames, pool, monkeypatch, capsys):
    def drained(*arguments, **options):
        raise mpipool.Drained("scan_file", "SIGTERM", 1, 0, 1)

    monkeypatch.setattr(mpipool.Pool, "map", drained)
    assert ingest.main([str(tmp_path / "repo"), str(frames[0])]) == 75
    assert capsys.readouterr().err.startswith("drained: scan_file: the run drains (SIGTERM)")
    assert not (tmp_path / "repo").exists()


def test_it_can_be_stopped_while_it_imports(monkeypatch, capsys):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(survey_plan, "make_plan", interrupted)
    assert main(["repo", "--rerun", "a"]) == 130
    assert capsys.readouterr().err == "stopped before anything was begun\n"


def test_a_registry_that_can_not_be_written_at_the_end_comes_after_the_summary(
    repo, monkeypatch, capsys
):
    def locked(*arguments):
        raise sqlite3.OperationalError("database is locked")

    with_the_registry = survey_run.replace_products
    monkeypatch.setattr(survey_run, "replace_products", locked)
    assert main([str(repo), "--rerun", "a"]) == 1
    said = capsys.readouterr()
    assert re.search(r"^singleFrame +4 +4 ", said.out, re.MULTILINE)
    assert "error: " in said.err
    assert "database is locked" in said.err
    safe = f"the records are safe in {repo / 'rerun/a/run.db'}; the next start derives the tables"
    assert said.err.splitlines()[-1] == safe
    monkeypatch.setattr(survey_run, "replace_products", with_the_registry)
    assert main([str(repo), "--rerun", "a"]) == 0


@pytest.mark.parametrize("code", [0, 1])
def test_a_reader_who_has_seen_enough_gets_the_code_of_the_run(code):
    script = (
        "import sys; from drivers.command import *;"
        f"end(carry_out(lambda: Ending({code}, ['line'] * 100_000)))"
    )
    command = f'"{sys.executable}" -c "{script}" | head -1; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["line", str(code)]
    assert done.stderr == ""


def test_nobody_who_reads_the_errors_is_no_reason_to_stop():
    script = (
        "import time; from drivers.command import *; from drivers.progress import shown\n"
        "with shown(1, 'x', 'y') as show: time.sleep(0.3); show(1, 0, 1)\n"
        "end(carry_out(lambda: Ending(1, ['line'], ['but'])))"
    )
    command = f'"{sys.executable}" -c "{script}" 2>&1 >/dev/null | true; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_lines_and_errors_go_where_they_belong(capsys):
    assert carry_out(lambda: Ending(1, ["done"], ["but"])) == 1
    assert capsys.readouterr() == ("done\n", "but\n")


def test_take_over_and_group_are_passed_on(repo, pool):
    pool.opened.clear()
    command = [str(repo), "--rerun", "a", "--id", "visit=100", "ccd=0"]
    for more in (["--take-over"], ["--group", "survey"], []):
        assert main([*command, *more]) == 0
    assert pool.opened == [(True, ""), (False, "survey"), (False, "")]


def test_a_refused_database_leaves_no_empty_folder(repo, pool, monkeypatch, capsys):
    def refused(self, *arguments, **options):
        raise mpipool.CheckpointLocked("run.db", "somebody holds it")

    monkeypatch.setattr(pool, "__init__", refused)
    (repo / "rerun").mkdir()
    assert main([str(repo), "--rerun", "me/first"]) == 2
    assert list((repo / "rerun").iterdir()) == []
    (repo / "rerun" / "mine").mkdir()
    assert main([str(repo), "--rerun", "mine"]) == 2
    assert (repo / "rerun" / "mine").is_dir()


@pytest.mark.parametrize("words", [["--rer", "a"], ["--rerun", "a", "--dry"]])
def test_options_are_not_abbreviated(repo, words):
    with pytest.raises(SystemExit) as caught:
        main([str(repo), *words])
    assert caught.value.code == 2
    with pytest.raises(SystemExit):
        ingest.main([str(repo), "x.fits", "--core", "1"])


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "no space left on the disk of {}"),
        (errno.EROFS, "the file system of {} is read-only"),
        (errno.EIO, "{}/a.fits can't be written: Input/output error"),
    ],
)
def test_a_file_that_can_not_be_written_says_where_and_why(tmp_path, number, says):
    with pytest.raises(product.ProductError) as caught, product.written(tmp_path / "a.fits"):
        raise OSError(number, os.strerror(number))
    assert str(caught.value) == says.format(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_file_system_is_called_so(repo, monkeypatch, capsys):
    read_only = os.statvfs_result([4096, 4096, 1, 1, 1, 1, 1, 1, os.ST_RDONLY, 255])
    monkeypatch.setattr(repository.os, "statvfs", lambda path: read_only)
    assert main([str(repo), "--rerun", "a"]) == 2
    assert f"the file system of {repo} is read-only" in capsys.readouterr().err
    assert main([str(repo), "--rerun", "a", "--dry-run"]) == 0  # it writes nothing
    assert ingest.main([str(repo), "x.fits"]) == 2
    assert f"the file system of {repo} is read-only" in capsys.readouterr().err


def test_the_summary_of_many_failures_is_short():
    plan = SimpleNamespace(rerun=SimpleNamespace(run_db=Path("run.db")), root="/repo")
    failures = [
        (NodeId("singleFrame", (1, n)), ValueError(f"/repo/raw/{n}.fits: is truncated: {n}\nmore"))
        for n in range(30)
    ]
    failures += [(NodeId("coadd", (9, 1, 2, "g")), ValueError("something else"))]
    lines = list_failures(plan, failures)
    assert lines[:3] == [
        "failed (31); details: mpipool failed run.db",
        "  30 x raw/0.fits: is truncated: 0",
        "  1 x something else",
    ]
    assert lines[3] == "  singleFrame visit=1 ccd=0: /repo/raw/0.fits: is truncated: 0"
    assert len(lines) == 14
    assert lines[-1] == "  … and 21 more: mpipool failed run.db"
    assert list_failures(plan, failures[30:])[1] == (
        "  coadd tract=9 patch=1,2 filter=g: something else"
    )


def test_notes_name_the_first_tasks():
    notes = [(NodeId("singleFrame", (101, 3)), "dim"), (NodeId("singleFrame", (101, 3)), "odd")]
    notes += [(NodeId("singleFrame", (102, n)), "dim") for n in range(4)]
    first = "singleFrame visit=101 ccd=3, singleFrame visit=102 ccd=0, singleFrame visit=102 ccd=1"
    assert notes_of(notes) == [
        f"note (5 x, {first}, …): dim",
        "note (1 x, singleFrame visit=101 ccd=3): odd",
    ]
