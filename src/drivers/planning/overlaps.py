"""Which CCDs are warped to a patch, with all that is known of them: no image is opened for it."""

from __future__ import annotations

import numpy as np

from drivers.graph.node import Done, Outcomes
from drivers.planning.frames import accepted
from drivers.planning.inputs import CcdId
from drivers.planning.plan import Plan, done, ident
from drivers.planning.stages import SKY_CORRECTION
from drivers.planning.tracts import best_solution
from drivers.results import WarpInput
from drivers.sky_polygon import Polygon, polygon
from drivers.sky_position import make_wcs, sky_corners


def warp_inputs(
    plan: Plan, outcomes: Outcomes, ccds: list[CcdId], tracts: list[int], region: Polygon | None
) -> tuple[list[WarpInput], list[Done]]:
    """Return what is known of CCDs, and all that this is from.

    Parameters
    ----------
    plan, outcomes
        What there is.
    ccds : list of (int, int)
        Visits and ccds; those which can't be used are left out.
    tracts : list of int
        Whose mosaics are used, the first one that has the CCD.
    region : Polygon or None
        Only those which overlap it, by the best that is known of where they are.
    """
    inputs: list[WarpInput] = []
    used: dict[int, Done] = {}
    for ccd, frame in accepted(plan, outcomes, ccds).items():
        solution, origin = best_solution(plan, outcomes, ccd, tracts)
        shape = (frame.value.row["height"], frame.value.row["width"])
        if solution is None or not (region is None or _overlaps(solution.wcs, shape, region)):
            continue
        sky = done(outcomes, ident(SKY_CORRECTION, ccd[0]))
        inputs.append(
            WarpInput(
                visit=ccd[0],
                ccd=ccd[1],
                image=frame.value.row["image"],
                solution=solution,
                sky=sky.value.meshes.get(ccd[1]) if sky else None,
                cell=sky.value.cell if sky else 0,
                psf=frame.value.psf,
                shape=shape,
            )
        )
        used |= {id(each): each for each in (frame, origin, sky) if each}
    return inputs, list(used.values())


def _overlaps(wcs: dict[str, object], shape: tuple[int, int], region: Polygon) -> bool:
    corners = np.array(sky_corners(make_wcs(wcs), shape))
    return bool(polygon(corners.T).intersects(region))
