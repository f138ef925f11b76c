"""Mosaic-3 at the Mayall telescope, as the Community Pipeline writes it (``k4m_*_ooi_*``).

The pixels are electrons per second, and the weights are in that unit.
"""

from __future__ import annotations

from drivers.instruments.community_pipeline import COMPANIONS, EXCLUDES, MASK_CODES
from drivers.instruments.description import Clue, Constant, Date, Instrument, Keyword

MOSAIC3 = Instrument(
    name="Mosaic3",
    clues=(Clue("INSTRUME", r"^mosaic-?3"), Clue("DTINSTRU", r"^mosaic-?3")),
    excludes=EXCLUDES,
    # In the first weeks of 2016 EXPNUM is blank. OBSID is for example kp4m.20160125T082555.
    visit=(Keyword("EXPNUM"), Keyword("OBSID", r"\.\d\d(\d{6})T(\d{6})")),
    ccd=(Keyword("CCDNUM"), Keyword("EXTNAME", r"(?i)^ccd(\d+)")),
    # FILTER is for example "zd DECam like z": the z filter of the camera is called zd.
    filter=(Keyword("FILTER", r"^\s*(z)d\b"), Keyword("FILTER", r"^\s*(\S+)")),
    mjd=(Keyword("MJD-OBS"), Date("DATE-OBS")),
    companions=COMPANIONS,
    unit=(Constant("electron/s"),),
    # Code 7, a difference from the median of several exposures, marks too much: it is left out,
    # as the Legacy Surveys do.
    mask_codes={**MASK_CODES, 7: ""},
)
