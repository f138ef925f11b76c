"""Where things stand in a survey repository."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from drivers.command import CommandError

if TYPE_CHECKING:
    from drivers.results import PatchArea

_NAME = re.compile(
    r"(?!run\.db|(?:calexp|coadd|mosaic|results)\Z)[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}"
)
_LONGEST = 1000


class RepositoryError(CommandError):
    """A repository or a rerun can't be used; the message is a sentence that says why."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A folder with `registry.sqlite` and, under `rerun/`, what was made of its frames."""

    root: Path

    @property
    def registry(self) -> Path:
        """The registry's file."""
        return self.root / "registry.sqlite"

    @property
    def configuration(self) -> Path:
        """What is configured for all that is made of this repository; it need not exist."""
        return self.root / "survey.toml"

    @property
    def reference(self) -> Path:
        """The reference catalogue's file."""
        return self.root / "reference.sqlite"

    @property
    def instruments(self) -> Path:
        """The folder with descriptions of cameras which the drivers don't know; may not exist."""
        return self.root / "instruments"

    def raw(self, visit: int, name: str) -> Path:
        """Return where a raw file of this name stands that was brought into the repository."""
        return self.root / "raw" / f"v{visit:07d}" / name

    def rerun(self, name: str) -> Rerun:
        """Return the rerun of this name; it need not exist.

        Raises
        ------
        RepositoryError
            If the name would not stay below `rerun/`, or within another rerun.
        """
        parts = name.split("/")
        if not all(map(_NAME.fullmatch, parts)) or len(name) > _LONGEST:
            raise RepositoryError(
                f"--rerun {name[:_LONGEST]!r} is not a name: letters, digits and '_.+-', in parts "
                "of at most 100 separated by '/', none of which begins with '.' or 'run.db', or is "
                f"calexp, coadd, mosaic or results; {_LONGEST} in all"
            )
        return Rerun(self, name)


@dataclass(frozen=True, slots=True)
class Rerun:
    """One processing of the repository's frames."""

    repository: Repository
    name: str

    @property
    def folder(self) -> Path:
        """Where all its files are."""
        return self.repository.root / "rerun" / self.name

    @property
    def run_db(self) -> Path:
        """The checkpoint of its runs."""
        return self.folder / "run.db"

    def calexp(self, visit: int, ccd: int) -> Path:
        """Return the calibrated image of a CCD."""
        return self.folder / "calexp" / f"v{visit:07d}" / f"calexp-{visit:07d}-{ccd:03d}.fits"

    def catalog(self, visit: int, ccd: int) -> Path:
        """Return the catalogue of a CCD."""
        return self.folder / "calexp" / f"v{visit:07d}" / f"catalog-{visit:07d}-{ccd:03d}.fits"

    def exposure(self, visit: int) -> Path:
        """Return the astrometric and photometric solution of a visit."""
        return self.folder / "calexp" / f"v{visit:07d}" / f"exposure-{visit:07d}.fits"

    def sky_correction(self, visit: int) -> Path:
        """Return the sky of a visit over the whole focal plane."""
        return self.folder / "calexp" / f"v{visit:07d}" / f"sky-{visit:07d}.fits"

    def focal_plane(self, visit: int, sky: str, suffix: str) -> Path:
        """Return an image of a whole visit; ``sky`` says what was done to its sky."""
        name = f"focal-plane-{visit:07d}-{sky}.{suffix}"
        return self.folder / "calexp" / f"v{visit:07d}" / name

    def mosaic(self, tract: int, band: str) -> Path:
        """Return the global solution of a tract in a filter."""
        return self.folder / "mosaic" / f"mosaic-{tract:05d}-{_safe(band)}.fits"

    def coadd(self, area: PatchArea, band: str) -> Path:
        """Return the coadd of a patch in a filter."""
        return self._of_patch(area, f"coadd-{_area_name(area)}-{_safe(band)}.fits")

    def measurements(self, area: PatchArea, band: str) -> Path:
        """Return the catalogue of what was measured on a coadd."""
        return self._of_patch(area, f"meas-{_area_name(area)}-{_safe(band)}.fits")

    def patch_reference(self, area: PatchArea) -> Path:
        """Return the catalogue of a patch that says where its sources are."""
        return self._of_patch(area, f"ref-{_area_name(area)}.fits")

    def forced(self, area: PatchArea, band: str) -> Path:
        """Return the catalogue of what was measured on a coadd at the places of the reference."""
        return self._of_patch(area, f"forced-{_area_name(area)}-{_safe(band)}.fits")

    def forced_ccds(self, visit: int) -> Path:
        """Return the catalogue of what was measured on a visit's CCDs at those places."""
        return self.folder / "calexp" / f"v{visit:07d}" / f"forced-{visit:07d}.fits"

    def _of_patch(self, area: PatchArea, name: str) -> Path:
        column, row = area.patch
        return self.folder / "coadd" / f"t{area.tract:05d}" / f"p{column:02d}{row:02d}" / name

    def calib(self, kind: str, band: str, ccd: int | None, digest: str) -> Path:
        """Return a file of calibration frames: of a CCD, or of all (None).

        What it is made of is told by its name: another one never replaces it, and what was made
        with it is made again with the new one.
        """
        parts = [kind, _safe(band), "" if ccd is None else f"{ccd:03d}", digest]
        return self.folder / "calib" / kind / f"{'-'.join(filter(None, parts))}.fits"

    def relative(self, path: Path) -> str:
        """Return a path as the registry has it: relative to the repository."""
        return path.relative_to(self.repository.root).as_posix()

    def check_writable(self) -> None:
        """Raise `RepositoryError` unless files can be made in the rerun. Changes nothing."""
        for part in (*reversed(self.folder.parents), self.folder, self.folder / "calexp"):
            if part.exists() and not part.is_dir():
                raise RepositoryError(f"rerun {self.name!r} can't be written: {part} is no folder")
        existing = next(part for part in (self.folder, *self.folder.parents) if part.is_dir())
        if reason := _why_unwritable(existing):
            raise RepositoryError(f"rerun {self.name!r} can't be written: {reason}")

    def make_folder(self) -> list[Path]:
        """Make the rerun's folder if it doesn't exist; return what was made, innermost first.

        Raises
        ------
        RepositoryError
            If that can't be done.
        """
        missing = [part for part in (self.folder, *self.folder.parents) if not part.exists()]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RepositoryError(
                f"rerun {self.name!r} can't be written: {error.strerror}: {self.folder}"
            ) from error
        return missing


def _area_name(area: PatchArea) -> str:
    return f"{area.tract:05d}-{area.patch[0]:02d},{area.patch[1]:02d}"


def _safe(band: str) -> str:
    """Return a filter's name with nothing in it that a file's name can't have."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", band)[:60]


def _why_unwritable(folder: Path) -> str | None:
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return f"the file system of {folder} is read-only"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"no permission to write to {folder}"
    return None


def open_repository(root: str) -> Repository:
    """Return the repository at this path.

    Raises
    ------
    RepositoryError
        If there is none.
    """
    repository = Repository(_absolute(root))
    if not repository.root.is_dir():
        raise RepositoryError(
            f"the repository {root} does not exist; ingestDriver {root} FILES makes it"
        )
    if not repository.registry.is_file():
        raise RepositoryError(
            f"{root} is no repository: it has no registry.sqlite; ingestDriver {root} FILES makes "
            "one"
        )
    return repository


def repository_to_fill(root: str) -> Repository:
    """Return the repository at this path, which may not exist yet. Changes nothing.

    Raises
    ------
    RepositoryError
        If it can be neither filled nor made there.
    """
    repository = Repository(_absolute(root))
    if repository.root.exists() and not repository.root.is_dir():
        raise RepositoryError(f"the repository {root} is a file, not a folder")
    folder = repository.root if repository.root.is_dir() else repository.root.parent
    if not folder.is_dir():
        raise RepositoryError(f"the repository {root} can't be made: {folder} does not exist")
    if reason := _why_unwritable(folder):
        raise RepositoryError(f"the repository {root} can't be written: {reason}")
    return repository


def _absolute(path: str) -> Path:
    if not path or "\0" in path:
        raise RepositoryError(f"the repository's path {path!r} is not a path")
    return Path(path).expanduser().absolute()
