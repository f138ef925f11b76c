"""Adds up in which states faults have struck, over all runs of a session, and prints the table.

The test run fails if the long runs were made, and some kind of fault has not struck in some state
for no known reason.
"""

from __future__ import annotations

import json
from collections import Counter

import pytest

from simulation.coverage import lines, missing

CELLS = "cells"
"""Under which name a test reports them; it comes to the process that sums up, also from others."""
ENOUGH = 1500
"""Runs, from which on an empty cell is a failure."""

totals: Counter[tuple[str, str]] = Counter()
runs = 0


@pytest.fixture
def count_cells(record_property):
    """Return what takes in the runs of a test."""

    def count(histories):
        cells = sum((history.cells for history in histories), Counter())
        listed = [[kind, state, number] for (kind, state), number in cells.items()]
        record_property(CELLS, json.dumps([len(histories), listed]))

    return count


def pytest_runtest_logreport(report):
    global runs
    for name, value in report.user_properties if report.when == "call" else ():
        if name == CELLS:
            count, listed = json.loads(value)
            runs += count
            totals.update({(kind, state): number for kind, state, number in listed})


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    if runs >= ENOUGH and missing(totals) and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    if runs < ENOUGH:
        return
    terminalreporter.section(f"faults by the states they struck in, {runs} simulated runs")
    for line in lines(totals):
        terminalreporter.write_line(line)
    for kind, state in missing(totals):
        terminalreporter.write_line(f"never struck: {kind} while {state}", red=True)
