"""Stage `coadd` as its task runs: it leads the warps of a patch, and adds them up.

The warps are scattered over the ranks that are free, and come back to the leader's rank without
passing through any other. They are not recorded one by one: what is done or not done is the coadd.
"""

from __future__ import annotations

from dataclasses import dataclass

from drivers.results import Coadd
from drivers.stages.coadd import CoaddJob, coadd
from drivers.stages.scratch import warp
from drivers.stages.warp import WarpJob
from mpipool import Pool


@dataclass(frozen=True, slots=True)
class PatchCoaddJob:
    """What a task gets.

    Attributes
    ----------
    coadd : CoaddJob
        The coadd to make.
    warps : tuple of WarpJob
        The visits in it.
    """

    coadd: CoaddJob
    warps: tuple[WarpJob, ...]


def coadd_patch(job: PatchCoaddJob) -> Coadd:
    """Make all warps and add them up.

    If one of them fails the coadd does: without it, it would be another one than it says.

    Raises
    ------
    FrameError
        If an image can't be used, or none has pixels here.
    ProductError
        If a file can't be written.
    """
    return coadd(job.coadd, *Pool().map(warp, job.warps, stage="warp"))
