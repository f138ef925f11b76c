"""Finds sources, takes blends apart, and says what lies under each."""

from __future__ import annotations

import math

import numpy as np
import sep
from numpy.typing import NDArray

from drivers.configuration.single_frame import DetectionConfig
from drivers.exposure import Exposure, Flags, bit
from drivers.measurement.catalog import Sources, source_columns

_PIXELS_AT_ONCE = 300_000
_OBJECTS_AT_ONCE = 8192
_NO_DEBLENDING = 1.0


def find_sources(
    exposure: Exposure,
    blank: Flags,
    config: DetectionConfig,
    *,
    noise: float,
    fwhm: float,
    n_apertures: int,
) -> Sources:
    """Detect sources on a sky-subtracted exposure and set the DETECTED plane.

    Parameters
    ----------
    exposure : Exposure
        Its mask gets the plane DETECTED.
    blank : array of bool, shape (rows, columns)
        Pixels without a value.
    config : DetectionConfig
        What makes a source.
    noise : float
        Standard deviation of a pixel of the sky [unit].
    fwhm : float
        Width of the smoothing [px].
    n_apertures : int
        Of the catalogue.

    Returns
    -------
    Sources
        With position, shape, peak, mask and flags; `x` and `y` are of the detected pixels.
    """
    sep.set_extract_pixstack(max(_PIXELS_AT_ONCE, exposure.image.size))
    sep.set_sub_object_limit(_OBJECTS_AT_ONCE)
    smoothing = _kernel(fwhm)
    threshold = config.threshold * noise * float(np.sqrt((smoothing**2).sum()))
    options = {
        "mask": blank,
        "minarea": config.min_pixels,
        "filter_kernel": smoothing,
        "filter_type": "conv",
        "segmentation_map": True,
        "deblend_nthresh": config.deblend_levels,
    }
    try:
        found, segments = sep.extract(
            exposure.image, threshold, deblend_cont=config.deblend_contrast, **options
        )
    except Exception as error:
        # sep raises a plain Exception when a blend has more parts than fit into its tables.
        exposure.notes.append(f"sources were not deblended ({error})")
        found, segments = sep.extract(
            exposure.image, threshold, deblend_cont=_NO_DEBLENDING, **options
        )
    exposure.mark(segments > 0, "DETECTED")
    sources = np.zeros(len(found), dtype=source_columns(n_apertures))
    sources["id"] = np.arange(1, len(found) + 1)
    for column in ("x", "y", "peak", "a", "b", "theta"):
        sources[column] = found[column]
    sources["n_pixels"], sources["flags"] = found["npix"], found["flag"]
    sources["mask"] = _mask_under(segments, exposure, len(found))
    _set_flags(sources)
    return sources


def _kernel(fwhm: float) -> NDArray[np.float32]:
    """Return the image of a round Gaussian star of flux 1, to smooth with."""
    half = max(1, math.ceil(0.8 * fwhm))
    offsets = np.arange(-half, half + 1)
    line = np.exp(-4 * math.log(2) * (offsets / fwhm) ** 2)
    square = np.outer(line, line)
    return np.asarray(square / square.sum(), dtype=np.float32)


def _mask_under(segments: NDArray[np.int32], exposure: Exposure, count: int) -> NDArray[np.int32]:
    """Return the mask bits that any pixel of each source has, shape (count,)."""
    bits = np.zeros(count + 1, dtype=np.int32)
    inside = segments > 0
    np.bitwise_or.at(bits, segments[inside], exposure.mask[inside] & ~bit("DETECTED"))
    return bits[1:]


def _set_flags(sources: Sources) -> None:
    mask, flags = sources["mask"], sources["flags"]
    sources["edge"] = ((flags & sep.OBJ_TRUNC) != 0) | ((mask & bit("NO_DATA", "EDGE")) != 0)
    sources["saturated"] = (mask & bit("SAT")) != 0
    sources["cosmic_ray"] = (mask & bit("CR")) != 0
    sources["interpolated"] = (mask & bit("INTRP")) != 0
    sources["deblended"] = (flags & sep.OBJ_MERGED) != 0
