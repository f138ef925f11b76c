"""Stages ``singleFrame`` and ``exposure`` in one: a visit from its files to calibrated images.

The CCDs are processed on as many ranks as there are, and stay there in memory; their stars are
gathered and solved together; then each CCD's image and catalogue are written, where it is, with
what the whole visit says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from drivers.frame_error import FrameError
from drivers.results import CcdResult, CcdSolution, Solution
from drivers.sky_position import make_wcs, sky_positions
from drivers.stages.exposure import VisitJob, finish_visit
from drivers.stages.single_frame import (
    STAGE,
    Processed,
    SingleFrameJob,
    process,
    summarise,
    write,
)
from drivers.visit_solution.visit import FittedVisit, fit_visit
from mpipool import Pool, record


@dataclass(frozen=True, slots=True)
class CcdJob:
    """A CCD of the visit.

    Attributes
    ----------
    job : SingleFrameJob
        What the stage `singleFrame` would get.
    key : dict
        By which it would be known in the checkpoint, and is.
    memory : int
        Bytes that it takes.
    """

    job: SingleFrameJob
    key: dict[str, Any]
    memory: int


@dataclass(frozen=True, slots=True)
class ReduceJob:
    """What a task gets.

    Attributes
    ----------
    visit : VisitJob
        What the stage `exposure` would get.
    ccds : tuple of CcdJob
        Its CCDs.
    """

    visit: VisitJob
    ccds: tuple[CcdJob, ...]


@dataclass(frozen=True, slots=True)
class _Ending:
    """What is left to do for a CCD.

    Attributes
    ----------
    ccd : CcdJob
        Which.
    solution : CcdSolution or None
        What the visit says of it; None if it keeps what it says alone.
    origin : str
        Where its world coordinates are from; empty for its own.
    error : str
        Why there is nothing to be done.
    """

    ccd: CcdJob
    solution: CcdSolution | None
    origin: str
    error: str


def reduce_visit(job: ReduceJob) -> Solution:
    """Process the CCDs of a visit, solve it, and write it.

    A CCD which can't be processed is left out, and named in the figures: ``failed`` is a list of
    ccd and reason.

    Raises
    ------
    FrameError
        If no CCD can be used.
    ProductError
        If the visit's file can't be written.
    """
    pool = Pool()
    memory = max(ccd.memory for ccd in job.ccds)
    held = pool.map(_hold, job.ccds, stage="reduceCcd", errors="return", memory=memory)
    there = [ccd for ccd in held if isinstance(ccd, CcdResult)]
    if not there:
        raise FrameError(f"no CCD of visit {job.visit.visit} can be used, such as: {held[0]}")
    fitted = fit_visit(there, job.visit.configuration)
    written = pool.map(
        _write, _endings(job, held, fitted), previous=True, stage="writeCcd", errors="return"
    )
    # What has left a cache can't have a key, and what is done must be known by one.
    known = [_Known(ccd, result) for ccd, result in zip(job.ccds, written, strict=True)]
    done = pool.map(_know, known, stage=STAGE, key=_key, errors="return")
    failed = [
        [ccd.job.frame.ccd, str(error)]
        for ccd, error in zip(job.ccds, done, strict=True)
        if isinstance(error, BaseException)
    ]
    return finish_visit(job.visit, fitted, failed)


def _hold(ccd: CcdJob) -> CcdResult:
    """Process a CCD, and keep it in memory."""
    done = process(ccd.job)
    Pool().cache.processed = done
    return summarise(ccd.job, done)


def _endings(job: ReduceJob, found: Sequence[Any], fitted: FittedVisit) -> list[_Ending]:
    """Return what is left to do, in the order of the CCDs."""
    solved = fitted.solution.ccds
    origin = "exposure" if fitted.positions is not None else ""
    return [
        _Ending(
            ccd,
            solved.get((job.visit.visit, ccd.job.frame.ccd)),
            origin,
            "" if isinstance(result, CcdResult) else str(result),
        )
        for ccd, result in zip(job.ccds, found, strict=True)
    ]


def _write(ending: _Ending) -> CcdResult:
    """Write a CCD with what the visit says of it; return what is passed on."""
    if ending.error:
        raise FrameError(ending.error)
    job, done = ending.ccd.job, Pool().cache.processed
    changed: dict[str, Any] = {}
    if ending.solution is not None:
        done = _placed(done, ending.solution)
        changed["zero_point"] = ending.solution.zero_point
        if ending.origin:
            changed["wcs_source"] = ending.origin
    result = summarise(job, done)
    row = result.row | changed
    write(job, done, row)
    return replace(result, row=row)


@dataclass(frozen=True, slots=True)
class _Known:
    """What has come of a CCD: its result, or the error."""

    ccd: CcdJob
    result: CcdResult | BaseException


def _key(known: _Known) -> dict[str, Any]:
    return known.ccd.key


def _know(known: _Known) -> CcdResult:
    """Record what was measured on a CCD whose files are written, under the key of the CCD."""
    if isinstance(known.result, BaseException):
        raise FrameError(str(known.result))
    record(**known.result.row)
    return known.result


def _placed(done: Processed, solution: CcdSolution) -> Processed:
    """Return a CCD with other world coordinates; its sources go with them."""
    sources = done.reduced.measured.sources
    wcs = make_wcs(solution.wcs)
    sources["ra"], sources["dec"] = sky_positions(wcs, sources["x"], sources["y"])
    return replace(done, cards=solution.wcs)
