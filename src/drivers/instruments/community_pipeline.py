"""What the frames of the NOIRLab Community Pipeline have in common, whatever the camera.

They are calibrated, one extension per detector, fpack-compressed, with a mask (``_ood_``) and a
weight (``_oow_``) of the same layout beside each image (``_ooi_``).
"""

from __future__ import annotations

from typing import Final

from drivers.instruments.description import Clue, Companion

COMPANIONS: Final = (
    Companion("mask", r"_ood[_.]", r"_ooi(?=[_.])", "_ood"),
    Companion("weight", r"_oow[_.]", r"_ooi(?=[_.])", "_oow"),
)

EXCLUDES: Final = (Clue("PROCTYPE", r"^raw"), Clue("PRODTYPE", r"^(dqmask|wtmap|expmap)"))

MASK_CODES: Final = {
    1: "BAD", 2: "NO_DATA", 3: "SAT", 4: "SAT", 5: "CR", 6: "BAD", 7: "CR", 8: "CR",
}  # fmt: skip
"""Since version 3.5 of the pipeline these are codes, not bits."""
