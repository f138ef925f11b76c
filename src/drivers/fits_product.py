"""Writes and reads the FITS files of a rerun: with checksums, and with what they were made from."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray

from drivers.exposure import MASK_PLANES, bit
from drivers.fits_layout import open_fits, read_layout
from drivers.frame_error import FrameError
from drivers.product import written

Keywords = Mapping[str, Any]
Array = NDArray[Any]

_AGAIN = "remove it, and the command that has made it makes it again"
_DAMAGE = ("checksum verification failed", "datasum verification failed", "truncated")


def provenance(stage: str, stage_version: str, digest: str) -> dict[str, Any]:
    """Return the keywords which say what made a file."""
    return {
        "CREATOR": (f"mpipool-survey {version('mpipool-survey')}", "software"),
        "STAGE": (stage, "stage of the survey"),
        "STAGEVER": (stage_version, "version of the stage"),
        "CONFDIG": (digest, "digest of the configuration"),
    }


def image_unit(name: str, pixels: Array, wcs: Keywords, keywords: Keywords) -> fits.ImageHDU:
    """Return an extension with an image; ``MASK`` gets the names of its bits."""
    unit = fits.ImageHDU(pixels, name=name)
    _fill(unit.header, {**keywords, **wcs})
    if name == "MASK":
        for plane, place in MASK_PLANES.items():
            # Longer than eight letters, so HIERARCH cards, as LSST's images have them.
            unit.header[f"HIERARCH MP_{plane}"] = (place, f"bit of plane {plane}")
    return unit


def table_unit(
    name: str, rows: Array, units: Mapping[str, str], keywords: Keywords
) -> fits.BinTableHDU:
    """Return an extension with a table; columns have the units that are named."""
    unit = fits.BinTableHDU(rows, name=name)
    for column in unit.columns:
        if column.name in units:
            column.unit = units[column.name]
    unit.update_header()  # otherwise it is brought up to date when it is written
    _fill(unit.header, keywords)
    return unit


def write_product(path: Path, units: Sequence[Any], keywords: Keywords) -> None:
    """Write a file that gets its name if the task succeeds.

    Raises
    ------
    ProductError
        If it can't be written.
    """
    primary = fits.PrimaryHDU()
    _fill(primary.header, keywords)
    with written(path) as part, warnings.catch_warnings():
        # A comment behind a long value is cut, which nobody needs to be told.
        warnings.filterwarnings("ignore", "Card is too long")
        together = fits.HDUList([primary, *units])
        together.update_extend()
        for unit in together:
            # The time of day, as astropy would have it, makes each file differ from the last.
            unit.add_checksum(when="of this unit")
        together.writeto(str(part), overwrite=True)


def _fill(header: fits.Header, keywords: Keywords) -> None:
    for keyword, value in keywords.items():
        bare = value[0] if isinstance(value, tuple) else value
        # FITS knows no NaN: what is not known is left out.
        if bare is not None and not (isinstance(bare, float) and not np.isfinite(bare)):
            header[keyword] = value


def read_units(path: Path, names: Sequence[str]) -> list[Array]:
    """Return the data of extensions, in native byte order, once their checksums are found right.

    Raises
    ------
    FrameError
        If the file is not there, truncated or damaged, or has no such extension.
    """
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", AstropyWarning)
            with open_fits(path, checksum=True) as units:
                data = [units[name].data for name in names]
    except (OSError, ValueError, TypeError, KeyError, IndexError, EOFError) as error:
        raise FrameError(_reason(path, error)) from error
    for warning in said:
        if any(words in str(warning.message).lower() for words in _DAMAGE):
            raise FrameError(f"{path} is damaged: {str(warning.message).splitlines()[0]}; {_AGAIN}")
    for name, values in zip(names, data, strict=True):
        if values is None:
            raise FrameError(f"{path} has no data in {name}")
    return [np.asarray(values).astype(values.dtype.newbyteorder("=")) for values in data]


def _reason(path: Path, error: Exception) -> str:
    try:
        read_layout(path)  # knows better what is wrong with it: not FITS, truncated …
    except FrameError as better:
        return f"{path} {better}" + (f"; {_AGAIN}" if path.exists() else "")
    return f"{path} can't be read ({str(error).splitlines()[0] if str(error) else error!r})"


def read_image(path: Path, *more: str) -> list[Array]:
    """Return IMAGE, MASK and VARIANCE of a calibrated image or a coadd, and more extensions.

    Pixels which are no number, or have no variance, get NO_DATA and are 0.

    Raises
    ------
    FrameError
        If the file can't be used.
    """
    image, mask, variance, *others = read_units(path, ("IMAGE", "MASK", "VARIANCE", *more))
    if image.ndim != 2 or len({one.shape for one in (image, mask, variance, *others)}) > 1:
        raise FrameError(f"{path}: its extensions are not images of one size")
    image, mask = image.astype(np.float32, copy=False), mask.astype(np.int32, copy=False)
    variance = variance.astype(np.float32, copy=False)
    with np.errstate(invalid="ignore"):
        unusable = ~(np.isfinite(image) & np.isfinite(variance) & (variance >= 0))
    unusable |= (mask & bit("NO_DATA")) != 0
    mask[unusable] |= bit("NO_DATA")
    image[unusable] = 0
    variance[unusable] = 0
    return [image, mask, variance, *others]
