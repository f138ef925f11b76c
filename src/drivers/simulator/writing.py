"""The task of `makeSurvey`: makes and writes raw frames, and tells what is true of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astropy.io import fits

from drivers.product import written
from drivers.simulator.focal_plane import focus_configuration, sky_map_configuration
from drivers.simulator.frames import Exposure, exposures, make_frame
from drivers.simulator.photometry import configuration
from drivers.simulator.reference import UNITS, reference
from drivers.simulator.survey import Survey
from drivers.simulator.truth import ccd_row, ccd_table, source_units, visit_table
from drivers.simulator.visits import visit_numbered

VERSION = "1"
"""Raised when frames change, so that a survey which is half made is not finished with others."""

_BYTES_PER_PIXEL = 40
"""Memory at the peak of making a frame, half as much again as was measured."""


@dataclass(frozen=True, slots=True)
class FrameJob:
    """One file of raw frames.

    Attributes
    ----------
    survey : Survey
        What is simulated.
    root, path : str
        The repository, and below it the file.
    exposure : Exposure
        Which exposure.
    ccds : tuple of int
        The detectors in the file.
    """

    survey: Survey
    root: str
    path: str
    exposure: Exposure
    ccds: tuple[int, ...]

    @property
    def key(self) -> dict[str, Any]:
        """The data ID."""
        ccd = {} if self.survey.per_visit else {"ccd": self.ccds[0]}
        return {"visit": self.exposure.number} | ccd


def jobs(survey: Survey, root: Path) -> list[FrameJob]:
    """Return the files of a survey: raw/ has the frames of the sky, raw/calibs/ the others."""
    made = []
    for exposure in exposures(survey):
        folder = "raw" if exposure.kind == "science" else "raw/calibs"
        name = f"{folder}/sim-{exposure.number:06d}"
        if survey.per_visit:
            every = tuple(range(survey.ccds))
            made.append(FrameJob(survey, str(root), f"{name}.fits", exposure, every))
            continue
        for ccd in range(survey.ccds):
            made.append(FrameJob(survey, str(root), f"{name}-{ccd:03d}.fits", exposure, (ccd,)))
    return made


def memory(survey: Survey) -> int:
    """Return the bytes that a task needs."""
    pixels = survey.height * survey.width
    raw = 3 * pixels * (survey.ccds if survey.per_visit else 1)
    return 120_000_000 + _BYTES_PER_PIXEL * pixels + raw


def write_frames(job: FrameJob) -> list[dict[str, Any]]:
    """Write a file of raw frames, and return the rows of the truth for its detectors."""
    frames = [make_frame(job.survey, job.exposure, ccd) for ccd in job.ccds]
    if job.survey.per_visit:
        primary = fits.PrimaryHDU()
        primary.header["INSTRUME"] = "SimCam"
        primary.header["VISIT"] = job.exposure.number
        units = [primary] + [
            fits.ImageHDU(counts, header=header, name=f"CCD{ccd:03d}")
            for ccd, (counts, header) in zip(job.ccds, frames, strict=True)
        ]
    else:
        units = [fits.PrimaryHDU(counts, header=header) for counts, header in frames]
    with written(Path(job.root, job.path)) as part:
        fits.HDUList(units).writeto(str(part), overwrite=True)
    if job.exposure.kind != "science":
        return []
    visit = visit_numbered(job.survey, job.exposure.number)
    return [ccd_row(job.survey, visit, ccd) for ccd in job.ccds]


def write_tables(survey: Survey, root: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write what is true, the reference catalogue, and a configuration for the drivers."""
    truth = root / "truth"
    visits = fits.BinTableHDU(visit_table(survey), name="VISITS")
    ccds = fits.BinTableHDU(ccd_table(list(rows)), name="CCDS")
    catalog = fits.BinTableHDU(reference(survey), name="REFERENCE")
    for column in catalog.columns:
        column.unit = UNITS.get(column.name, "mag" if column.name.startswith("ref_") else None)
    files = {
        truth / "sources.fits": source_units(survey),
        truth / "visits.fits": fits.HDUList([fits.PrimaryHDU(), visits]),
        truth / "ccds.fits": fits.HDUList([fits.PrimaryHDU(), ccds]),
        root / "reference.fits": fits.HDUList([fits.PrimaryHDU(), catalog]),
    }
    for path, units in files.items():
        with written(path) as part:
            units.writeto(str(part), overwrite=True)
    with written(root / "survey.toml") as part:
        parts = (configuration(), sky_map_configuration(survey), focus_configuration(survey))
        part.write_text("".join(parts))


def make_survey(survey: Survey, root: Path) -> list[Path]:
    """Make a survey here and now, without any pool; return the paths of its frames."""
    todo = jobs(survey, root)
    for folder in {Path(root, job.path).parent for job in todo} | {root / "truth"}:
        folder.mkdir(parents=True, exist_ok=True)
    rows = [row for job in todo for row in write_frames(job)]
    write_tables(survey, root, rows)
    return [Path(root, job.path) for job in todo]
