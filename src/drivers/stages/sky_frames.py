"""Stage ``sky``: the sky frames of a filter, from the skies of all CCDs in many exposures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drivers.calibs.sky_pattern import sky_patterns
from drivers.configuration.calibs import CalibsConfig
from drivers.configuration.sky_correction import SkyCorrectionConfig
from drivers.fits_product import image_unit, write_product
from drivers.frame_error import FrameError
from drivers.stages.calibs import Made, Skies, keywords_of
from mpipool import record


@dataclass(frozen=True, slots=True, kw_only=True)
class SkyFrameJob:
    """What the task gets which makes the sky frames of a filter.

    Attributes
    ----------
    filter, stage, digest : str
        For which filter, in which stage, and of what.
    root, output : str
        The repository, and below it the file to write.
    config, sky_correction : CalibsConfig, SkyCorrectionConfig
        Numbers.
    """

    filter: str
    stage: str
    digest: str
    root: str
    output: str
    config: CalibsConfig
    sky_correction: SkyCorrectionConfig


def build_sky_frames(job: SkyFrameJob, ccds: list[Skies]) -> Made:
    """Average the pattern of the sky in all exposures, and write it: one file for all CCDs.

    Raises
    ------
    FrameError
        If no CCD has enough exposures.
    ProductError
        If the file can't be written.
    """
    visits = sorted({visit for one in ccds for visit in one.visits})
    skies = {visit: [one.visits[visit] for one in ccds if visit in one.visits] for visit in visits}
    patterns = sky_patterns(skies, job.sky_correction, job.config.least_frames)
    if not patterns:
        raise FrameError(f"filter={job.filter}: no CCD has {job.config.least_frames} skies")
    shapes = {one.ccd: next(iter(one.visits.values())).mesh for one in ccds}
    units = []
    for ccd, pattern in sorted(patterns.items()):
        mesh = shapes[ccd]
        cards = {
            "CCD": (ccd, "detector"), "CELL": (mesh.cell, "[pixel] side of a cell"),
            "ROWS": (mesh.shape[0], "[pixel] of the detector"), "COLUMNS": mesh.shape[1],
        }  # fmt: skip
        units.append(image_unit(f"SKY{ccd:03d}", pattern, {}, cards))
    scatter = float(np.mean([pattern.std() for pattern in patterns.values()]))
    row = {
        "kind": "sky", "filter": job.filter, "visits": visits, "path": job.output,
        "n_ccds": len(patterns), "deviation": scatter, "notes": [],
    }  # fmt: skip
    record(**row)
    keywords = keywords_of("sky", job.filter, job.stage, job.digest, visits)
    write_product(Path(job.root) / job.output, units, keywords)
    return Made(row, job.output, {ccd: at for at, ccd in enumerate(sorted(patterns), start=1)})
