"""The camera of the simulated survey (`drivers.simulate`): raw frames which describe themselves."""

from __future__ import annotations

from drivers.instruments.description import Clue, Instrument, Keyword
from drivers.instruments.readout import HeaderReadout

SIMCAM = Instrument(
    name="SimCam",
    clues=(Clue("INSTRUME", r"^simcam$"),),
    visit=(Keyword("VISIT"),),
    ccd=(Keyword("CCD"),),
    filter=(Keyword("FILTER"),),
    readout=HeaderReadout(count=2),
    saturation=(Keyword("SATURATE"),),
)
