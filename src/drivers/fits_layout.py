"""Reads all headers of a FITS file and checks that the file is as long as they promise.

Nothing is decoded: headers are parsed, data are skipped (or, within gzip, read past, which also
checks gzip's own checksum). A compressed image (fpack) is seen as the table that holds it, whose
header has all keywords of the image.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, cast

from astropy.io import fits

from drivers.frame_error import FrameError

BLOCK = 2880
"""Bytes per FITS block: headers and data are padded to whole ones."""

_MAX_HEADER_BLOCKS = 2000
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class HduLayout:
    """One header-data unit.

    Attributes
    ----------
    index : int
        Its place in the file, 0 for the primary.
    header : astropy.io.fits.Header
        Its keywords.
    """

    index: int
    header: fits.Header

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns of the image; empty if it is none."""
        compressed = bool(self.header.get("ZIMAGE", False))
        if not compressed and self.header.get("XTENSION", "IMAGE").strip() != "IMAGE":
            return ()
        axis = "ZNAXIS" if compressed else "NAXIS"
        count = int(self.header.get(axis, 0))
        return tuple(int(self.header.get(f"{axis}{n}", 0)) for n in range(count, 0, -1))


@contextmanager
def open_fits(path: Path, **options: Any) -> Iterator[fits.HDUList]:
    """Open a file for reading, once: astropy opens what it is given by name twice.

    Parameters
    ----------
    path : Path
        The file; may be compressed.
    **options
        Of `astropy.io.fits.open`.
    """
    with path.open("rb") as stream, fits.open(stream, memmap=False, **options) as units:
        yield units


def read_layout(path: Path) -> list[HduLayout]:
    """Return the header-data units of the file.

    Raises
    ------
    FrameError
        If the file can't be opened, is not FITS, is damaged or is shorter than its headers say.
    """
    try:
        if not path.is_file():
            raise FrameError("is not a file" if path.exists() else "does not exist")
        with _open(path) as stream:
            return list(_units(stream))
    except EOFError as error:
        raise FrameError("is truncated: its gzip stream ends too early") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise FrameError(f"is damaged: {error}") from error
    except (OSError, ValueError) as error:
        raise FrameError(f"can't be read: {getattr(error, 'strerror', None) or error}") from error


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as stream:
        magic = stream.read(2)
    return cast(BinaryIO, gzip.open(path, "rb")) if magic == b"\x1f\x8b" else path.open("rb")


def _units(stream: BinaryIO) -> Iterator[HduLayout]:
    block = stream.read(BLOCK)
    if not block:
        raise FrameError("is empty")
    if not block.startswith(b"SIMPLE  ="):
        raise FrameError("is not FITS: it does not begin with the keyword SIMPLE")
    index = 0
    while block.startswith((b"SIMPLE  =", b"XTENSION=")):
        header = _parse(_header_text(block, stream, index), index)
        _skip_data(stream, _data_size(header, index), index)
        yield HduLayout(index, header)
        index += 1
        block = stream.read(BLOCK)
    _drain(stream)


def _header_text(block: bytes, stream: BinaryIO, index: int) -> bytes:
    blocks = [block]
    while not _has_end(blocks[-1]):
        block = stream.read(BLOCK)
        if len(block) < BLOCK or len(blocks) > _MAX_HEADER_BLOCKS:
            raise FrameError(f"is truncated: the header of HDU {index} has no END")
        blocks.append(block)
    return b"".join(blocks)


def _has_end(block: bytes) -> bool:
    cards = (block[start : start + 80] for start in range(0, len(block), 80))
    return any(card.rstrip() == b"END" for card in cards)


def _parse(text: bytes, index: int) -> fits.Header:
    try:
        return fits.Header.fromstring(text.decode("ascii"))
    except (UnicodeDecodeError, fits.VerifyError) as error:
        raise FrameError(f"is damaged: the header of HDU {index} is not legal FITS") from error


def _data_size(header: fits.Header, index: int) -> int:
    try:
        axes = [int(header[f"NAXIS{n}"]) for n in range(1, int(header["NAXIS"]) + 1)]
        bits = abs(int(header["BITPIX"]))
        groups, extra = int(header.get("GCOUNT", 1)), int(header.get("PCOUNT", 0))
    except (KeyError, TypeError, ValueError, fits.VerifyError) as error:
        raise FrameError(f"is damaged: HDU {index} does not say how large its data are") from error
    if not axes:
        return 0
    return bits // 8 * groups * (extra + prod(axes))


def _skip_data(stream: BinaryIO, size: int, index: int) -> None:
    padded = -(-size // BLOCK) * BLOCK
    start = stream.tell()
    there = _available(stream, start, padded)
    # Some programs leave out the padding of the last block, which costs no pixel.
    if there < size:
        raise FrameError(
            f"is truncated: the data of HDU {index} should be {size} bytes, and {there} are there"
        )


def _available(stream: BinaryIO, start: int, wanted: int) -> int:
    if isinstance(stream, gzip.GzipFile):
        stream.seek(start + wanted)  # reads; stays at the end of the data if they are too short
        return stream.tell() - start
    there = min(wanted, max(0, os.fstat(stream.fileno()).st_size - start))
    stream.seek(start + there)
    return there


def _drain(stream: BinaryIO) -> None:
    if isinstance(stream, gzip.GzipFile):
        while stream.read(_CHUNK):
            pass
