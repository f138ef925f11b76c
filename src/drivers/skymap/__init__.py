"""The sky map: tracts, each with a plane of pixels of its own, and the patches in them.

It hangs on its configuration alone, so it is the same in every run, and nothing has to be stored.
"""

from drivers.skymap.covering import Covered, covered_patches
from drivers.skymap.skymap import SkyMap
from drivers.skymap.tract import Box, Patch, Tract

__all__ = ["Box", "Covered", "Patch", "SkyMap", "Tract", "covered_patches"]
