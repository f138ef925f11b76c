"""Chooses the stars from which the point spread function is made."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from drivers.measurement.catalog import Sources
from drivers.psf_model import SIZE

_NEIGHBOUR = 0.05
"""Part of a star's flux which others within its square may have together."""

_FEWEST_ALONE = 8


def choose_psf_stars(sources: Sources, *, signal_to_noise: float, most: int) -> NDArray[np.intp]:
    """Return the indices of the stars, the brightest first.

    They are among the seeing's stars, which are all as wide, round, whole and unsaturated; and they
    stand alone, if enough do.

    Parameters
    ----------
    sources : Sources
        With `star` and the fluxes in apertures.
    signal_to_noise : float
        In the first aperture, at least.
    most : int
        So many, at most.
    """
    flux, error = sources["flux"][:, 0], sources["flux_err"][:, 0]
    bright = flux >= signal_to_noise * np.maximum(error, 1e-30)
    clean = ~(sources["edge"] | sources["saturated"] | sources["cosmic_ray"])
    stars = np.flatnonzero(sources["star"] & bright & clean)
    stars = stars[np.argsort(-flux[stars], kind="stable")]
    places = np.stack([sources["x"], sources["y"]], axis=-1)
    around = cKDTree(places).query_ball_point(places[stars], SIZE / 2) if len(stars) else []
    total = np.array([np.maximum(flux[near], 0).sum() for near in around])
    alone = stars[total <= (1 + _NEIGHBOUR) * flux[stars]] if len(stars) else stars
    chosen = alone if len(alone) >= _FEWEST_ALONE else stars
    return np.asarray(chosen[:most])
