"""A focal plane of 4 x 2 CCDs whose skies are known."""

from __future__ import annotations

import numpy as np

from drivers.focal_plane_sky.cells import CcdSky
from drivers.meshes import cell_middles
from drivers.results import SkyMesh

SHAPE, CELL = (1000, 500), 100
"""Pixels of 0.36 arcsec: a CCD is 6 x 3 arcmin, and a cell 0.6 arcmin."""
SCALE = 1e-4
CCDS = [(column, row) for row in range(2) for column in range(4)]


def cards(ccd, turned=False):
    """Half of the CCDs of the upper row are turned by 180 degrees."""
    column, row = CCDS[ccd]
    sign = -1 if turned else 1
    x = (2 - column) * (SHAPE[1] + 20) - 10
    y = (1 - row) * (SHAPE[0] + 20) - 10
    return {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 0.02, "CRVAL2": -30.0,
        "CRPIX1": x if not turned else SHAPE[1] + 1 - x,
        "CRPIX2": y if not turned else SHAPE[0] + 1 - y,
        "CD1_1": -SCALE * sign, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": SCALE * sign,
    }  # fmt: skip


def places(ccd, turned=False):
    """Return the places of the cells' middles in the focal plane, counted in CCD heights."""
    column, row = CCDS[ccd]
    x, y = np.meshgrid(cell_middles(CELL, SHAPE[1]), cell_middles(CELL, SHAPE[0]))
    if turned:
        x, y = SHAPE[1] - 1 - x, SHAPE[0] - 1 - y
    u = (x + (column - 2) * (SHAPE[1] + 20) + 10) / SHAPE[0]
    v = (y + (row - 1) * (SHAPE[0] + 20) + 10) / SHAPE[0]
    return u, v


def focal_plane(sky, noise=0.3, **changes):
    """Return the CCDs' skies, made from a function of the place and the ccd."""
    random = np.random.default_rng(4)
    skies = []
    for ccd in range(len(CCDS)):
        turned = ccd % 2 == 1
        u, v = places(ccd, turned)
        true = sky(u, v, ccd)
        subtracted = true + random.normal(0, 3, true.shape)
        left = true - subtracted + random.normal(0, noise, true.shape)
        mesh = SkyMesh(subtracted.astype(np.float32), left.astype(np.float32), CELL, SHAPE)
        skies.append(CcdSky(ccd, mesh, cards(ccd, turned), **changes))
    return skies


def smooth(u, v, ccd=0):
    return 2000 * (1 + 0.04 * u - 0.03 * v + 0.02 * u * v - 0.01 * u**2)
