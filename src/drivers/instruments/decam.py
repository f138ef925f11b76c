"""DECam frames as the Community Pipeline writes them: calibrated, with a mask and a weight."""

from __future__ import annotations

from drivers.instruments.community_pipeline import COMPANIONS, EXCLUDES, MASK_CODES
from drivers.instruments.description import Clue, Instrument, Keyword

DECAM = Instrument(
    name="DECam",
    clues=(Clue("INSTRUME", r"^decam"), Clue("DTINSTRU", r"^decam")),
    excludes=EXCLUDES,
    visit=(Keyword("EXPNUM"),),
    ccd=(Keyword("CCDNUM"),),
    # FILTER is for example "z DECam SDSS c0004 9260.0 1520.0".
    filter=(Keyword("FILTER", r"^\s*(\S+)"), Keyword("BAND")),
    companions=COMPANIONS,
    gain=(Keyword("GAINA"), Keyword("GAINB")),
    read_noise=(Keyword("RDNOISEA"), Keyword("RDNOISEB")),
    saturation=(Keyword("SATURATE"),),
    ignore_ccds=frozenset({61}),  # N30, dead since November 2012
    mask_codes=MASK_CODES,
)
