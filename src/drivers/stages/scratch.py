"""Warps on a node's own disk: the shared file system sees only products.

What is lost (another node, a disk that was cleaned, a damaged file) is made again from its job.
"""

from __future__ import annotations

import os
import socket
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
from numpy.lib import format as npy

from drivers.results import PsfInput, Warp
from drivers.stages.warp import WarpJob, make_warp


@dataclass(frozen=True, slots=True)
class ScratchWarp:
    """A warp on a node's disk.

    Attributes
    ----------
    path, host : str
        Where it is.
    checksum : int
        CRC-32 of the file.
    x0, y0 : int, inputs : tuple of PsfInput
        As in `Warp`.
    job : WarpJob
        Makes it again.
    """

    path: str
    host: str
    checksum: int
    x0: int
    y0: int
    inputs: tuple[PsfInput, ...]
    job: WarpJob


def warp(job: WarpJob) -> Warp | ScratchWarp:
    """Do the stage's task: see `make_warp`. With a scratch folder the pixels are left there.

    A scratch folder that is full or can't be written is done without.
    """
    made = make_warp(job)
    if not job.scratch or not made.image.size:
        return made
    name = (
        f"warp-{job.area.tract}-{job.area.patch[0]},{job.area.patch[1]}-{job.visit}-{uuid4().hex}"
    )
    path = Path(job.scratch) / f"{name}.npy"
    try:
        checksum = _write(path, made)
    except OSError:
        with suppress(OSError):
            path.unlink()
        return made
    host = socket.gethostname()
    return ScratchWarp(str(path), host, checksum, made.x0, made.y0, made.inputs, job)


def _write(path: Path, made: Warp) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "xb", opener=_private) as stream:
        for array in (made.image, made.variance, made.mask):
            npy.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
    return zlib.crc32(path.read_bytes())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def fetch(made: Warp | ScratchWarp) -> Warp:
    """Return a warp with its pixels, from the disk or made again."""
    if isinstance(made, Warp):
        return made
    return _read(made) or make_warp(made.job)


def _read(made: ScratchWarp) -> Warp | None:
    """Return the warp if it is here, whole and unchanged."""
    if made.host != socket.gethostname():
        return None
    path = Path(made.path)
    try:
        if zlib.crc32(path.read_bytes()) != made.checksum:
            return None
        with path.open("rb") as stream:
            image, variance, mask = (npy.read_array(stream, allow_pickle=False) for _ in range(3))
    except (OSError, ValueError):
        return None
    return Warp(image, variance, mask, made.x0, made.y0, made.inputs)


def let_go(made: Warp | ScratchWarp) -> None:
    """Remove a warp from the disk once it is in a coadd; whoever needs it still makes it again."""
    if isinstance(made, ScratchWarp) and made.host == socket.gethostname():
        with suppress(OSError):
            Path(made.path).unlink()
