"""Stage ``mosaic``: one solution for all exposures of a tract in a filter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers.configuration.mosaic import MosaicConfig
from drivers.global_solution.adding_up import Gang
from drivers.global_solution.observations import Frame
from drivers.global_solution.product import write_tract
from drivers.global_solution.tract import fit_tract
from drivers.results import CcdResult, CcdSolution, Solution
from drivers.sky_position import make_wcs
from mpipool import Pool, record

STAGE = "mosaic"
VERSION = "1"
"""Raised when the task changes what it makes, so that older results are made again."""


@dataclass(frozen=True, slots=True)
class TractJob:
    """What a task gets beside the visits.

    Attributes
    ----------
    root, output : str
        The repository, and below it the file to write.
    tract : int, filter : str
        Which tract and filter.
    wcs : dict
        Cards of the tract's pixels.
    configuration : MosaicConfig
        Numbers.
    """

    root: str
    output: str
    tract: int
    filter: str
    wcs: dict[str, Any]
    configuration: MosaicConfig


@dataclass(frozen=True, slots=True)
class TractVisit:
    """An exposure of a tract.

    Attributes
    ----------
    visit : int
        Its number.
    ccds : list of CcdResult
        Its CCDs which overlap the tract.
    solution : Solution or None
        What the exposure says alone; None if it was not solved.
    """

    visit: int
    ccds: list[CcdResult]
    solution: Solution | None


def solve_tract(job: TractJob, visits: Sequence[TractVisit]) -> Solution:
    """Solve a tract, write the solution, and record its quality.

    The members of a gang call this together. Where the tract can't be solved the exposures'
    solutions stand, and the figures say why.

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
    frames = [frame for visit in visits for frame in _frames(visit)]
    frames.sort(key=lambda frame: frame.key)
    centre = float(job.wcs["CRVAL1"]), float(job.wcs["CRVAL2"])
    gang = Gang(Pool().comm)
    placed = [frame for frame in frames if frame.placed]
    fitted = fit_tract(placed, centre, job.configuration, gang)
    ccds = {frame.key: frame.solution for frame in frames}
    figures: dict[str, Any] = {"n_visits": len(visits), "n_ccds": len(frames), "fallback": None}
    if isinstance(fitted, str):
        figures["fallback"] = fitted
    else:
        ccds |= fitted.ccds
        figures |= fitted.figures
    solution = Solution(ccds, figures)
    row = {"tract": job.tract, "filter": job.filter, **figures}
    if gang.rank == 0:
        record(**row)
        made_by = (STAGE, VERSION, job.configuration.digest())
        write_tract(Path(job.root) / job.output, row, frames, solution, fitted, made_by)
    return solution


def _frames(visit: TractVisit) -> Iterator[Frame]:
    """Give the CCDs of an exposure which have a zero point, with the best that is known of them."""
    solved = visit.solution
    for ccd in visit.ccds:
        row = ccd.row
        own = None if solved is None else solved.ccds.get((visit.visit, int(row["ccd"])))
        together = solved is not None and solved.figures.get("astrometry") == "exposure"
        placed = row["wcs_source"] != "header" or (own is not None and together)
        if own is None and row["zero_point"] is not None:
            own = CcdSolution(row["wcs"], float(row["zero_point"]))
        if own is not None:
            yield Frame(ccd, own, placed, make_wcs(own.wcs))
