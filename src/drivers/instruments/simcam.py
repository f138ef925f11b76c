"""The camera of the simulated survey (`makeSurvey`): raw frames which describe themselves."""

from __future__ import annotations

from drivers.instruments.description import Clue, Constant, Instrument, Keyword
from drivers.instruments.readout import HeaderReadout

SIMCAM = Instrument(
    name="SimCam",
    clues=(Clue("INSTRUME", r"^simcam$"),),
    visit=(Keyword("VISIT"),),
    ccd=(Keyword("CCD"),),
    filter=(Keyword("FILTER"),),
    # How many detectors there are, and so which are for focus, differs from survey to survey.
    role=(Keyword("ROLE"), Constant("science")),
    obstype=(Keyword("IMAGETYP"), Constant("science")),
    readout=HeaderReadout(count=2),
    saturation=(Keyword("SATURATE"),),
)
