"""Finds sources and measures them in apertures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import sep
from numpy.typing import NDArray

from drivers.exposure import UNUSABLE, Exposure, bit

Sources = NDArray[Any]
"""A structured array: one row per source, the columns of `source_columns`."""

_PIXELS_AT_ONCE = 300_000
_OBJECTS_AT_ONCE = 8192
_NO_DEBLENDING = 1.0


def source_columns(n_apertures: int) -> np.dtype[Any]:
    """Return the columns of a catalogue with this many apertures."""
    return np.dtype(
        [
            ("id", "i4"), ("x", "f8"), ("y", "f8"), ("ra", "f8"), ("dec", "f8"),
            ("flux", "f4", (n_apertures,)), ("flux_err", "f4", (n_apertures,)),
            ("peak", "f4"), ("a", "f4"), ("b", "f4"), ("theta", "f4"),
            ("fwhm", "f4"), ("star", "bool"), ("n_pixels", "i4"), ("mask", "i4"), ("flags", "i4"),
        ]
    )  # fmt: skip


def find_sources(
    exposure: Exposure, *, noise: float, threshold: float, min_pixels: int, radii: Sequence[float]
) -> Sources:
    """Detect sources on a sky-subtracted exposure, measure them and set the DETECTED plane.

    Parameters
    ----------
    exposure : Exposure
        Its sky is subtracted; its mask gets the plane DETECTED.
    noise : float
        Standard deviation of the empty sky [unit].
    threshold : float
        In standard deviations.
    min_pixels : int
        Connected pixels above the threshold that make a source.
    radii : sequence of float
        Radii of the apertures [px].

    Returns
    -------
    Sources
        In order of detection. `x` and `y` count from 0 at the centre of the first pixel; `flux`
        [unit] has one column per radius; `ra`, `dec`, `fwhm` and `star` are not set.
    """
    if not noise > 0:
        return np.zeros(0, dtype=source_columns(len(radii)))
    unusable = exposure.has(UNUSABLE)
    found, segments = _extract(exposure, unusable, threshold * noise, min_pixels)
    exposure.mark(segments > 0, "DETECTED")
    sources = np.zeros(len(found), dtype=source_columns(len(radii)))
    sources["id"] = np.arange(1, len(found) + 1)
    for column in ("x", "y", "peak", "a", "b", "theta"):
        sources[column] = found[column]
    sources["n_pixels"], sources["flags"] = found["npix"], found["flag"]
    sources["mask"] = _mask_under(segments, exposure, len(found))
    _measure_apertures(sources, exposure, unusable, radii)
    return sources


def _extract(
    exposure: Exposure, unusable: NDArray[np.bool_], threshold: float, min_pixels: int
) -> tuple[Any, NDArray[np.int32]]:
    sep.set_extract_pixstack(max(_PIXELS_AT_ONCE, exposure.image.size))
    sep.set_sub_object_limit(_OBJECTS_AT_ONCE)
    options = {"mask": unusable, "minarea": min_pixels, "segmentation_map": True}
    try:
        return sep.extract(exposure.image, threshold, **options)  # type: ignore[no-any-return]
    except Exception as error:
        # sep raises a plain Exception when a blend has more parts than fit into its tables.
        exposure.notes.append(f"sources were not deblended ({error})")
        return sep.extract(  # type: ignore[no-any-return]
            exposure.image, threshold, deblend_cont=_NO_DEBLENDING, **options
        )


def _mask_under(segments: NDArray[np.int32], exposure: Exposure, count: int) -> NDArray[np.int32]:
    """Return the mask bits that any pixel of each source has, shape (count,)."""
    bits = np.zeros(count + 1, dtype=np.int32)
    inside = segments > 0
    np.bitwise_or.at(bits, segments[inside], exposure.mask[inside] & ~bit("DETECTED"))
    return bits[1:]


def _measure_apertures(
    sources: Sources, exposure: Exposure, unusable: NDArray[np.bool_], radii: Sequence[float]
) -> None:
    if not len(sources):
        return
    for index, radius in enumerate(radii):
        flux, error, flags = sep.sum_circle(
            exposure.image,
            sources["x"],
            sources["y"],
            radius,
            var=exposure.variance,
            mask=unusable,
        )
        sources["flux"][:, index] = flux
        sources["flux_err"][:, index] = error
        sources["flags"] |= flags.astype(np.int32)
