"""Where a task's outputs may be, and their names until they are published."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from pathlib import Path
from typing import Final

from mpipool.errors import UsageError

LONGEST_NAME: Final = 255
"""Bytes of a file's name, on every file system that matters."""
LONGEST_PATH: Final = 4095
_PART: Final = re.compile(r"\..+\.\d+-\d+\.part", re.DOTALL)


def part_name(name: str, token: int, attempt: int) -> str:
    """Return the name of an output which is not published yet."""
    return f".{name}.{token}-{attempt}.part"


def final_path(path: str | os.PathLike[str], token: int, attempt: int) -> Path:
    """Return where an output is to be, if it can be there.

    Names are made from data IDs, and these come from headers of files: what would lead out of the
    folder that was meant, or into something else than a file's name, is refused.

    Raises
    ------
    UsageError
        With what is wrong with the path.
    """
    text = os.fsdecode(path)
    wrong = _fault(text, token, attempt)
    if wrong:
        raise UsageError(f"output({_shown(text)}): {wrong}")
    return Path(text).absolute()


def _fault(text: str, token: int, attempt: int) -> str:
    parts = text.split("/")
    part = part_name(parts[-1], token, attempt)
    longest = max(len(os.fsencode(name)) for name in (*parts, part))
    if parts[-1] in {"", "."}:
        return "it names no file"
    if ".." in parts:
        return "'..' leads out of its folder; say where it is to be without that"
    if any(unicodedata.category(letter) in {"Cc", "Zl", "Zp"} for letter in text):
        return "there is a control character or a line break in it"
    if longest > LONGEST_NAME or len(os.fsencode(text)) > LONGEST_PATH:
        return (
            f"it is too long: a name has at most {LONGEST_NAME - len(part) + len(parts[-1])} bytes"
        )
    if _PART.fullmatch(parts[-1]):
        return "so are files called which are not published yet; choose another name"
    return ""


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 120 else f"{text[:120]!r}…"


def make_folder(folder: Path) -> None:
    """Make a folder for outputs, and those above it, as the umask says.

    In a folder which a group shares (it has the setgid bit, and the group may write to it) the
    group may write to what is made too: or its next member could not go on with the run.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    above = folder.parent.stat().st_mode
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise
        return
    if above & stat.S_ISGID and above & stat.S_IWGRP:
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) | stat.S_IWGRP)
