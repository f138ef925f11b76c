"""Brings files into the repository: the task of ``ingestDriver --mode link|copy|move``."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from drivers.product import ProductError

Mode = Literal["link", "copy", "move"]


@dataclass(frozen=True, slots=True)
class Placement:
    """A file, and where it is to stand.

    Attributes
    ----------
    source, target : str
        Where it is, and where it is to be.
    mode : str
        ``link`` makes a symbolic link, ``copy`` copies. ``move`` has it in both places first, as
        another name of the same file where that can be: `let_go` removes the old one.
    replace : bool
        Whether what stands at the target came from the same source, and may be replaced.
    companions : tuple of (str, bool)
        Files beside it which belong to it, and come along; and whether they are its alone.
    """

    source: str
    target: str
    mode: Mode
    replace: bool
    companions: tuple[tuple[str, bool], ...] = ()


def place_file(placement: Placement) -> None:
    """Have a file, and what belongs to it, stand where it is to be.

    Raises
    ------
    ProductError
        If another file stands there, or it can't be written.
    """
    target = Path(placement.target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _place(placement.source, target, placement.mode, placement.replace)
        for companion, _ in placement.companions:
            _place(companion, target.with_name(Path(companion).name), placement.mode, True)
    except OSError as error:
        raise ProductError(f"can't be brought to {target}: {error.strerror or error}") from error


def let_go(placement: Placement) -> None:
    """Remove a file which was moved from where it was, and what belonged to it alone."""
    for path in (placement.source, *(name for name, alone in placement.companions if alone)):
        with suppress(FileNotFoundError):
            os.unlink(path)


def _place(source: str, target: Path, mode: Mode, replace: bool) -> None:
    if _is_there(source, target):
        return
    if os.path.lexists(target) and not replace:
        raise ProductError(f"can't be brought to {target}: another file stands there")
    # Under another name first, so that whoever looks sees a whole file or none.
    part = target.with_name(f".{target.name}.part")
    with suppress(FileNotFoundError):
        part.unlink()
    if mode == "link":
        part.symlink_to(source)
    elif not (mode == "move" and _linked(source, part)):
        shutil.copy2(source, part)
    part.replace(target)


def _linked(source: str, target: Path) -> bool:
    """Give a file a second name, if the file system can do that."""
    try:
        os.link(source, target)
    except OSError:
        return False
    return True


def _is_there(source: str, target: Path) -> bool:
    """Whether the target is this file, or as large and as old."""
    try:
        one, other = os.stat(source), os.stat(target)
    except FileNotFoundError:
        return False
    same = (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)
    return same or os.path.samestat(one, other)
