"""`singleFrameDriver`: what is selected, done, recorded, refused."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import pytest
from astropy.io import fits

import mpipool
from drivers import single_frame
from drivers.registry import open_registry, replace_products
from drivers.single_frame import main

SOURCE = Path(single_frame.__file__).parents[1]


def calexps(repo):
    connection = sqlite3.connect(repo / "registry.sqlite")
    connection.row_factory = sqlite3.Row
    try:
        rows = connection.execute("SELECT * FROM calexp ORDER BY rerun, visit, ccd")
        return [dict(row) for row in rows]
    finally:
        connection.close()


def counted(said):
    """Return what the summary says of the single frames."""
    lines = said.splitlines()
    heads = next(line for line in lines if line.startswith("stage ")).split()
    words = next(line for line in lines if line.startswith("singleFrame ")).split()
    return {head: int(word) for head, word in zip(heads[1:], words[1:], strict=True)}


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_every_selected_ccd_gets_an_image_a_catalogue_and_a_row(repo, capsys):
    assert main([str(repo), "--rerun", "me/first", "--id", "visit=100..101", "ccd=1"]) == 0
    rows = calexps(repo)
    assert [(row["rerun"], row["visit"], row["ccd"], row["filter"]) for row in rows] == [
        ("me/first", 100, 1, "g"),
        ("me/first", 101, 1, "r"),
    ]
    for row in rows:
        with fits.open(repo / row["image"]) as units:
            names = [unit.name for unit in units]
            assert names[:5] == ["PRIMARY", "IMAGE", "MASK", "VARIANCE", "SKY"]
            assert {unit.shape for unit in units[1:4]} == {(400, 300)}
            assert units[0].header["SEEING"] == pytest.approx(row["seeing"])
            header = units["IMAGE"].header
            assert {key: header[key] for key in json.loads(row["wcs"])} == json.loads(row["wcs"])
        with fits.open(repo / row["catalog"]) as units:
            assert len(units["SOURCES"].data) == row["n_sources"] > 5
        assert row["image"].startswith("rerun/me/first/calexp/")
        assert row["dec0"] < row["dec2"]
    said = capsys.readouterr().out
    assert counted(said) == {"tasks": 2, "done": 2, "before": 0, "failed": 0, "nothing": 0}
    assert f"outputs: {repo / 'rerun/me/first'}; " in said


def test_the_same_command_again_redoes_nothing(repo, pool, capsys):
    command = [str(repo), "--rerun", "a"]
    assert main(command) == 0
    before = calexps(repo)
    pool.calls.clear()
    capsys.readouterr()
    assert main(command) == 0
    assert pool.calls == []
    assert calexps(repo) == before
    said = counted(capsys.readouterr().out)
    assert (said["done"], said["before"]) == (4, 4)


def test_the_table_is_brought_up_to_date_before_anything_is_run(repo, pool, monkeypatch):
    assert main([str(repo), "--rerun", "a", "--id", "visit=100"]) == 0
    # As if an earlier run had been killed between its records and the registry.
    with open_registry(repo / "registry.sqlite", create=True) as connection:
        replace_products(connection, "a", "calexp", [])
    seen = []

    def interrupted(self, *arguments, **options):
        seen.append(len(calexps(repo)))
        raise KeyboardInterrupt

    monkeypatch.setattr(pool, "submit", interrupted)
    assert main([str(repo), "--rerun", "a", "--id", "visit=101"]) == 130
    assert seen == [2]


def test_reruns_do_not_touch_each_others_rows(repo):
    main([str(repo), "--rerun", "a", "--id", "visit=100"])
    main([str(repo), "--rerun", "b", "--id", "visit=101", "ccd=0"])
    assert [(row["rerun"], row["visit"]) for row in calexps(repo)] == [
        ("a", 100),
        ("a", 100),
        ("b", 101),
    ]


def test_one_ccd_that_fails_is_named_and_the_others_are_done(tmp_path, frames, pool, capsys):
    from drivers.ingest import main as ingest

    raw = tmp_path / "raw"
    raw.mkdir()
    copies = [shutil.copy(frame, raw) for frame in frames]
    repo = tmp_path / "repo"
    assert ingest([str(repo), *map(str, copies)]) == 0
    # Cut short after it was ingested.
    stat = os.stat(copies[1])
    with open(copies[1], "r+b") as file:
        file.truncate(100_000)
    assert main([str(repo), "--rerun", "a"]) == 1
    said = capsys.readouterr().out
    assert (counted(said)["done"], counted(said)["failed"]) == (3, 1)
    assert f"mpipool failed {repo / 'rerun/a/run.db'}" in said
    reason = "has changed since it was ingested and is truncated: the data of HDU 0 should be"
    assert f"  singleFrame visit=100 ccd=1: {copies[1]}: {reason}" in said
    assert len(calexps(repo)) == 3
    # Repaired, the same command does this one only.
    shutil.copy(frames[1], raw)
    os.utime(copies[1], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    pool.calls.clear()
    assert main([str(repo), "--rerun", "a"]) == 0
    assert [str(job.frame) for job in pool.calls] == ["visit=100 ccd=1"]
    assert len(calexps(repo)) == 4


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(repo, pool, capsys):
    main([str(repo), "--rerun", "a", "--id", "visit=100", "ccd=0"])
    before = files(repo)
    capsys.readouterr()
    pool.calls.clear()
    for words, tasks, done in ((["a", "--id", "visit=100"], 2, 1), (["new"], 4, 0)):
        assert main([str(repo), "--dry-run", "--rerun", *words]) == 0
        said = capsys.readouterr().out
        assert re.search(rf"^singleFrame +{tasks} +{done} ", said, re.MULTILINE)
        assert "nothing was changed" in said
    assert main([str(repo), "--show", "data", "--rerun", "a", "--id", "visit=100"]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("visit=100 ccd=0 filter=g SimCam")
    assert first.endswith(" (done already)")
    assert not second.endswith(" (done already)")
    assert pool.calls == []
    assert files(repo) == before


def test_the_configuration_that_is_shown_is_a_file_for_config_file(repo, tmp_path, capsys):
    words = [str(repo), "--rerun", "a", "--show", "config"]
    assert main([*words, "-c", "coadd.clip_sigma=3.5"]) == 0
    shown = capsys.readouterr().out
    assert "# not set: reference.colour" in shown
    assert tomllib.loads(shown)["coadd"]["clip_sigma"] == 3.5
    (tmp_path / "shown.toml").write_text(shown)
    assert main([*words, "--config-file", str(tmp_path / "shown.toml")]) == 0
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--id", "visit=5"], "There are visit=100..101 ccd=0..1 filter=g^r instrument=SimCam"),
        (["--id", "visit=100", "filter=r"], "--id selects nothing"),
        (["--id", "visit"], "not of the form"),
        (["--id", "night=3"], "there is no 'night'"),
        (["--config", "nonsense=1"], "nonsense: there is no such field"),
        (["-c", "singleFrame.sky.cell=1"], "singleFrame.sky.cell: Input should be greater than"),
        (["--selectId", "patch=1,2"], "--selectId 'patch=1,2': there is no 'patch'"),
        (["--where", "seeing <"], "--where"),
        (["--id", "tract=1"], "--id selects no patch. There are tract="),
        (["--reuse-outputs-from", "warps"], "the stages are singleFrame, exposure"),
        (["--rerun", "none:a"], "there is no rerun none"),
        (["--id", "filter=g..r"], "text has no ranges"),
        (["--rerun", "../out"], "is not a name"),
        (["--rerun", "/abs"], "is not a name"),
        (["--rerun", ""], "is not a name"),
        (["--rerun", "a/../../b"], "is not a name"),
        (["--rerun", "a\0b"], "is not a name"),
        (["--rerun", "a/calexp"], "is not a name"),
        (["--rerun", "a/run.db-wal"], "is not a name"),
        (["--rerun", "a\nb"], "is not a name"),
        (["--rerun", "a/" + "b" * 10_000], "is not a name"),
        (["--rerun", ".hidden"], "is not a name"),
        (["--rerun", "in/the/way"], "is no folder"),
    ],
)
def test_a_bad_command_is_a_sentence_and_changes_nothing(repo, pool, capsys, words, says):
    (repo / "rerun" / "in").mkdir(parents=True)
    (repo / "rerun" / "in" / "the").write_text("a file")
    before = files(repo)
    pool.calls.clear()
    assert main([str(repo), "--rerun", "a", *words]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert says in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert files(repo) == before
    assert pool.calls == []


def test_a_repository_that_does_not_exist_is_a_sentence(tmp_path, pool, capsys):
    assert main([str(tmp_path / "none"), "--rerun", "a"]) == 2
    assert "does not exist; ingestDriver" in capsys.readouterr().err
    assert main([str(tmp_path), "--rerun", "a"]) == 2
    assert "is no repository: it has no registry.sqlite" in capsys.readouterr().err
    (tmp_path / "registry.sqlite").write_text("something else" * 100)
    assert main([str(tmp_path), "--rerun", "a"]) == 2
    assert "registry.sqlite" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["registry.sqlite"]


def test_a_database_of_another_configuration_is_a_sentence_and_stays(repo, capsys):
    assert main([str(repo), "--rerun", "a", "--id", "ccd=0"]) == 0
    before = files(repo)
    capsys.readouterr()
    assert main([str(repo), "--rerun", "a", "-c", "singleFrame.sky.cell=64"]) == 2
    said = capsys.readouterr().err
    assert "another configuration" in said
    assert "singleFrame.sky.cell: 128 → 64" in said
    assert "--clobber-config goes on all the same" in said
    assert main([str(repo), "--rerun", "a", "-c", "singleFrame.sky.cell=64", "--dry-run"]) == 2
    assert capsys.readouterr().err == said
    assert files(repo) == before


def test_a_configuration_changes_what_is_found(repo):
    main([str(repo), "--rerun", "a", "--id", "visit=100", "ccd=0"])
    words = ["singleFrame.detection.threshold=50", "singleFrame.photometry.apertures=2,4"]
    main([str(repo), "--rerun", "b", "--id", "visit=100", "ccd=0", "--config", *words])
    few, many = calexps(repo)[1], calexps(repo)[0]
    assert few["n_sources"] < many["n_sources"] / 2
    with fits.open(repo / few["catalog"]) as units:
        assert units["SOURCES"].data["flux"].shape[1] == 2
        assert units["SOURCES"].header["APRAD2"] == 4


def test_the_pool_is_told_what_a_task_is(repo, pool, monkeypatch):
    told = []

    def spy(self, function, job, **options):
        told.append(options)
        raise mpipool.MpipoolError("enough")

    monkeypatch.setattr(pool, "submit", spy)
    assert main([str(repo), "--rerun", "a", "--id", "visit=100", "--retries", "2"]) == 2
    (options,) = told
    assert (options["key"]["visit"], options["key"]["ccd"]) == (100, 0)
    assert (options["stage"], options["retries"]) == ("singleFrame", 2)
    assert options["cost"] > 0
    assert options["memory"] > 10_000_000


def test_the_modules_that_every_rank_imports_are_light():
    code = "import sys, drivers.survey, drivers.single_frame, drivers.ingest; "
    code += "print('numpy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=SOURCE
    )
    assert done.stdout == "False\n"


def test_a_dry_run_counts_what_is_whole_and_made_of_this_configuration(repo, capsys):
    def done(*words):
        capsys.readouterr()
        assert main([str(repo), "--rerun", "a", "--dry-run", *words]) == 0
        return int(re.search(r"^singleFrame +4 +(\d)", capsys.readouterr().out, re.MULTILINE)[1])

    assert main([str(repo), "--rerun", "a"]) == 0
    assert done() == 4
    next((repo / "rerun/a").rglob("catalog-*.fits")).unlink()
    assert done() == 3
    assert done("-c", "coadd.clip_sigma=4", "--clobber-config") == 3
    assert done("-c", "singleFrame.sky.cell=64", "--clobber-config") == 0


def test_terms_that_match_nothing_are_noted(repo, capsys):
    words = ["--rerun", "a", "--dry-run", "--id"]
    assert main([str(repo), *words, "visit=100^999..1010^2000", "ccd=0^7"]) == 0
    said = capsys.readouterr()
    assert said.err == "note: --id visit=999..1010^2000 ccd=7 match nothing\n"
    assert main([str(repo), *words, "visit=100..9999", "ccd=0^1"]) == 0
    assert capsys.readouterr().err == ""
    assert main([str(repo), *words, "visit=100", "--id", "visit=101", "filter=z^g"]) == 0
    assert capsys.readouterr().err == "note: --id visit=101 filter=z^g match nothing\n"
    assert main([str(repo), *words, "visit=100", "--selectId", "ccd=1^9"]) == 0
    assert capsys.readouterr().err == "note: --selectId ccd=9 match nothing\n"


def test_a_damaged_file_is_named_without_advice_for_programmers(tmp_path, frames):
    from drivers.exposure_io import _read_image
    from drivers.frame_error import FrameError

    whole = frames[0].read_bytes()
    for content, says in (
        (b"x" * 10_000, "is not FITS"),
        (whole[:100_000], "is truncated: the data of HDU 0"),
        (b"", "is empty"),
    ):
        path = tmp_path / "bad.fits"
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(FrameError, match=says):
                _read_image(path, 0)
