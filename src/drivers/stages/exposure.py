"""Stage ``exposure``: one astrometric and photometric solution for all CCDs of a visit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from drivers.configuration.exposure import ExposureConfig
from drivers.results import CcdResult, Solution
from drivers.visit_solution.product import write_visit
from drivers.visit_solution.visit import FittedVisit, fit_visit
from mpipool import record

STAGE = "exposure"
VERSION = "1"
"""Raised when the task changes what it makes, so that older results are made again."""


@dataclass(frozen=True, slots=True)
class VisitJob:
    """What a task gets beside the CCDs.

    Attributes
    ----------
    root, output : str
        The repository, and below it the file to write.
    visit : int, filter : str
        The visit.
    configuration : ExposureConfig
        Numbers.
    """

    root: str
    output: str
    visit: int
    filter: str
    configuration: ExposureConfig


def solve_visit(job: VisitJob, ccds: list[CcdResult]) -> Solution:
    """Solve a visit, write the solution, and record its quality.

    A CCD with too few stars gets what the others say; where all together are too few, each keeps
    what it has found alone, and the figures say so.

    Returns
    -------
    Solution
        Of the CCDs which have a zero point.

    Raises
    ------
    FrameError
        If the world coordinates of a CCD can't be used.
    ProductError
        If the file can't be written.
    """
    return finish_visit(job, fit_visit(ccds, job.configuration), ())


def finish_visit(job: VisitJob, fitted: FittedVisit, failed: Sequence[Any]) -> Solution:
    """Write the solution of a visit, and record its quality; return it.

    Parameters
    ----------
    job : VisitJob
        What the task got.
    fitted : FittedVisit
        The solution.
    failed : sequence of [int, str]
        CCDs which could not be used, with the reason: a figure of the solution.

    Raises
    ------
    ProductError
        If the file can't be written.
    """
    row: dict[str, Any] = {"visit": job.visit, "filter": job.filter, **fitted.figures}
    record(**row)
    made_by = (STAGE, VERSION, job.configuration.digest())
    write_visit(Path(job.root) / job.output, row, fitted, made_by)
    solution = fitted.solution
    return replace(solution, figures={**solution.figures, "failed": list(failed)})
