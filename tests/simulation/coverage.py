"""In which states faults have struck: ``python -m simulation.coverage [SEEDS]`` prints the table.

Each kind of fault must strike in each state. What need not be is listed in `EXCUSED`, with the
reason; a cell that is empty for no reason fails the test.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from typing import Final

from simulation.cases import Case
from simulation.faults import ENTERING, IDLE, KINDS, MEMORY, RANK_STATES
from simulation.history import History
from simulation.plans import KINDS as PLAN_KINDS
from simulation.states import ENDING, RECORDED, RUN_STATES, STARTING, TASK_STATES
from simulation.strikes import Cell

COLUMNS: Final = (*TASK_STATES, *RANK_STATES, *RUN_STATES)
SEEDS: Final = 250
"""Of each kind of plan, without an argument."""

NOT_AIMED: Final = "plans say when memory runs out, not the run's events: it hardly ever happens"
EXCUSED: Final[dict[Cell, str]] = {
    (MEMORY, STARTING): "no task runs yet",
    (MEMORY, IDLE): "the task runs",
    (MEMORY, ENDING): "all processes are ended with the run",
    (MEMORY, RECORDED): NOT_AIMED,
    (MEMORY, ENTERING): NOT_AIMED,
}
"""Cells which may stay empty, and why."""


def lines(cells: Counter[Cell]) -> Iterator[str]:
    """Yield the table: faults down, states across, how often the one has struck in the other."""
    width = max(map(len, KINDS))
    for row in range(2):
        heads = [[*column.split(" ", 1), ""][row] for column in COLUMNS]
        yield f"{'':{width}} " + " ".join(f"{head:>9.9}" for head in heads)
    for kind in KINDS:
        counts = ["-" if (kind, column) in EXCUSED else cells[kind, column] for column in COLUMNS]
        yield f"{kind:{width}} " + " ".join(f"{count:>9}" for count in counts)


def missing(cells: Counter[Cell]) -> list[Cell]:
    """Return the cells which are empty for no reason."""
    every = [(kind, column) for kind in KINDS for column in COLUMNS]
    return [cell for cell in every if not cells[cell] and cell not in EXCUSED]


def main(arguments: list[str]) -> int:
    """Run seeds and print the table, and for what causes cores were idle."""
    seeds = int(arguments[0]) if arguments else SEEDS
    cells: Counter[Cell] = Counter()
    causes: Counter[str] = Counter()
    for kind in PLAN_KINDS:
        for seed in range(seeds):
            history = History(Case(kind, seed))
            try:
                history.run()
            except Exception as error:
                print(f"{history.case.command}\n  {error!s:.200}")
            cells += history.cells
            causes += history.causes
    print("\n".join(lines(cells)))
    print("\nidle cores, by cause:", ", ".join(f"{c} {n}" for c, n in causes.most_common()))
    for kind, state in missing(cells):
        print(f"never struck: {kind} while {state}")
    return bool(missing(cells))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
