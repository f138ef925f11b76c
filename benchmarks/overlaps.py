"""Overlaps of CCDs with a patch: the registry against a test of each, and all patches at once.

100,000 CCDs of a survey, at the equator across RA 0 and at a pole. A row of the table is one patch:
how many CCDs overlap it, how long the registry takes to say which (median of its rounds), how long
a test of each CCD takes, and the ratio. Then all pairs of CCDs and patches on the planes of the
tracts. No FITS file exists. Usage: ``python benchmarks/overlaps.py [--ccds 100000] [--rounds 20]``.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from drivers.registry import RawFrame, add_frames, open_registry, overlapping_frames
from drivers.registry.raw import RAW_COLUMNS
from drivers.sky_polygon import polygon
from drivers.skymap import SkyMap, covered_patches

SIZE = (0.11, 0.23)
"""Of a CCD [deg]."""


def survey(count: int, ra: float, dec: float, spread: float) -> Any:
    """Return the corners [deg] of CCDs on a square around a place."""
    random = np.random.default_rng(1)
    x, y = random.uniform(-spread, spread, (2, count))
    turn = random.uniform(0, 2 * np.pi, count)[:, None]
    u, v = np.array([-1, 1, 1, -1]) * SIZE[0] / 2, np.array([-1, -1, 1, 1]) * SIZE[1] / 2
    x = np.radians(x[:, None] + u * np.cos(turn) - v * np.sin(turn))
    y = np.radians(y[:, None] + u * np.sin(turn) + v * np.cos(turn))
    a, d = np.radians([ra, dec])
    norm = np.cos(d) - y * np.sin(d)
    positions = a + np.arctan2(x, norm), np.arctan2(np.sin(d) + y * np.cos(d), np.hypot(x, norm))
    return np.degrees(positions).transpose(1, 2, 0)


def frames(corners: Any) -> list[RawFrame]:
    """Return rows of the registry with these corners."""
    names = RAW_COLUMNS[-8:]
    return [
        RawFrame(
            n // 100, n % 100, "g", "", 1.0, 1.0, "", 1, 1, f"/no/{n}", 0, 1, 1.0,
            **dict(zip(names, one, strict=True)),
        )
        for n, one in enumerate(corners.reshape(-1, 8).tolist())
    ]  # fmt: skip


def brute_force(corners: Any, region: Any) -> list[tuple[int, int]]:
    """Return the CCDs which overlap a region, by a test of each."""
    positions = corners.transpose(0, 2, 1)
    return [
        (n // 100, n % 100) for n, one in enumerate(positions) if polygon(one).intersects(region)
    ]


def timed(function: Any, rounds: int) -> tuple[Any, float]:
    """Return a function's value, and the median of its times [ms]."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        value = function()
        times.append(1000 * (time.perf_counter() - begin))
    return value, statistics.median(times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ccds", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    skymap = SkyMap()
    print(f"{options.ccds} CCDs                        registry    each tested    ratio")
    for name, ra, dec in (("equator, across RA 0", 0.0, 0.5), ("north pole", 30.0, 89.9)):
        corners = survey(options.ccds, ra, dec, spread=8.0)
        number, column, row = skymap.primary(ra, dec).tolist()
        region = skymap.tract(number).patch((column, row)).polygon
        with (
            tempfile.TemporaryDirectory() as folder,
            open_registry(Path(folder) / "registry.sqlite", create=True) as connection,
        ):
            _, filled = timed(lambda c=connection, q=corners: add_frames(c, frames(q)), 1)
            found, fast = timed(
                lambda c=connection, r=region: overlapping_frames(c, r), options.rounds
            )
        expected, slow = timed(lambda c=corners, r=region: brute_force(c, r), 1)
        assert found == expected, "the registry's answer is not that of a test of each CCD"
        print(f"{name:20} {len(found):4} overlap {fast:8.2f} ms {slow:11.0f} ms {slow / fast:8.0f}")
        pairs, together = timed(lambda c=corners: covered_patches(skymap, c), 3)
        print(f"{'':20} all {len(pairs.detector)} pairs with patches: {together:.0f} ms; "
              f"registry filled in {filled / 1000:.1f} s")  # fmt: skip


if __name__ == "__main__":
    main()
