"""The batch options in front of a task's."""

from __future__ import annotations

import argparse

import pytest

from mpipool.ctrl_pool.arguments import BatchArgumentParser
from mpipool.ctrl_pool.batch import PbsBatch, SlurmBatch, SmpBatch


def task_parser():
    parser = argparse.ArgumentParser(prog="theTask", add_help=False)
    parser.add_argument("repo", help="where the data are")
    parser.add_argument("--id", nargs="*", default=[])
    return parser


class LsstParser:
    """Takes what LSST's take, and notes it."""

    prog = "lsstTask"

    def parse_args(self, config, args=None, log=None, override=None):
        return argparse.Namespace(config=config, args=args, override=override)


def parse(text, parent=None, **kwargs):
    return BatchArgumentParser(parent=parent).parse_args(args=text.split(), **kwargs)


def test_options_of_both_may_be_mixed():
    found = parse("--cores 4 REPO --job night --id 1 2 --queue q", task_parser(), config="c")
    assert (found.cores, found.job, found.queue) == (4, "night", "q")
    assert (found.parent.repo, found.parent.id, found.parent.config) == ("REPO", ["1", "2"], "c")
    assert found.leftover == ["REPO", "--id", "1", "2"]


def test_lsst_parsers_are_given_all_that_they_take():
    found = parse("--cores 4 --id 1", LsstParser(), config="c", override="o")
    assert vars(found.parent) == {"config": "c", "args": ["--id", "1"], "override": "o"}


def test_a_task_without_options_is_parsed_too():
    found = parse("--cores 1", argparse.ArgumentParser())
    assert found.parent is not None
    assert found.leftover == []


def test_every_option_reaches_the_batch():
    found = parse(
        "--batch-type slurm --queue q --job j --nodes 2 --procs 3 --time 5 --batch-output o "
        "--batch-submit=--hold --batch-options=--mem=0 --dry-run --do-exec --mpiexec=-v "
        "--batch-verbose --batch-profile --batch-stats"
    )
    assert isinstance(found.batch, SlurmBatch)
    assert vars(found.batch) == {
        "outputDir": "o",
        "queue": "q",
        "jobName": "j",
        "numNodes": 2,
        "numProcsPerNode": 3,
        "numCores": 0,
        "walltime": 5.0,
        "dryrun": True,
        "doExec": True,
        "mpiexec": "-v",
        "submit": "--hold",
        "options": "--mem=0",
        "verbose": True,
    }
    assert found.batchProfile
    assert found.batchStats


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("--cores 2", SmpBatch),
        ("--batch-type pbs --nodes 1 --procs 2", PbsBatch),
        ("--batch-type none", type(None)),
        ("--batch-type None", type(None)),
    ],
)
def test_the_type_chooses_the_batch(text, kind):
    assert type(parse(text).batch) is kind


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "say how large the job is"),
        ("--cores 2 --unknown", "unrecognised arguments: --unknown"),
        ("--cores two", "invalid int value: 'two'"),
        ("--cores 2 --batch-type lsf", "invalid choice: 'lsf'"),
    ],
)
def test_a_wrong_command_line_is_said_in_a_sentence(text, says, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(text)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_the_help_is_on_both():
    text = BatchArgumentParser(parent=task_parser(), prog="batchTask").format_help()
    assert "--batch-type" in text
    assert "where the data are" in text


def test_the_usage_is_the_tasks_under_our_name():
    parent = task_parser()
    assert "usage: batchTask [" in BatchArgumentParser(parent, prog="batchTask").format_usage()
    assert parent.prog == "theTask"
