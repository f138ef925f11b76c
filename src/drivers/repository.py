"""Where things stand in a survey repository."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from drivers.command import CommandError

_NAME = re.compile(r"(?!run\.db|(?:calexp|results)\Z)[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")
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
                f"calexp or results; {_LONGEST} in all"
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
