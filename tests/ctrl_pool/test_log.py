"""Logs of tasks and of jobs."""

from __future__ import annotations

import os
import subprocess
import sys

LOG = "import logging, os, sys\nfrom mpipool.ctrl_pool.log import *\n"


def run(text, folder):
    done = subprocess.run(
        [sys.executable, "-c", LOG + text], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stderr, {path.name: path.read_text() for path in folder.iterdir()}


def test_info_is_seen_where_nothing_was_configured(tmp_path):
    told, _ = run("logger('coadd').info('hello'); logger('coadd').info('again')", tmp_path)
    assert told == "ctrl_pool.coadd INFO: hello\nctrl_pool.coadd INFO: again\n"


def test_a_program_that_configures_logging_decides(tmp_path):
    told, _ = run(
        "jobLog(None); logging.basicConfig(format='mine: %(message)s'); logger('x').info('hello')",
        tmp_path,
    )
    assert told == "mine: hello\n"


def test_a_job_has_a_file_of_each_process_that_logs(tmp_path):
    told, files = run(
        "jobLog('night'); logging.basicConfig(); print(os.getpid(), file=sys.stderr)\n"
        "logging.getLogger('lsst.isr').warning('flat'); logger('x').info('hello')",
        tmp_path,
    )
    pid = told.split()[0]
    (text,) = (files.pop(f"night.{os.uname().nodename.split('.')[0]}.{pid}"),)
    assert "lsst.isr WARNING: flat\n" in text
    assert "ctrl_pool.x INFO: hello\n" in text
    assert not files


def test_a_job_that_does_not_log_leaves_no_file(tmp_path):
    assert run("jobLog('night')", tmp_path) == ("", {})


def test_what_the_process_used_is_told(tmp_path):
    told, _ = run("printProcessStats()", tmp_path)
    assert "'VmPeak': " in told
