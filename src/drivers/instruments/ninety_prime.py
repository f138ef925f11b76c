"""90Prime at the Bok telescope, as the Community Pipeline writes it (``ksb_*_ooi_*``).

The pixels are electrons per second, and the weights are in that unit. There is no number of the
exposure but in the name under which it was taken, which is for example
``/descache/bass/20160710/d7580.0144.fits``: night 7580, exposure 144, so 75800144.
"""

from __future__ import annotations

from drivers.instruments.community_pipeline import COMPANIONS, EXCLUDES, MASK_CODES
from drivers.instruments.description import Clue, Constant, Date, Instrument, Keyword

NINETY_PRIME = Instrument(
    name="90Prime",
    clues=tuple(Clue(keyword, r"^90prime") for keyword in ("INSTRUME", "DTINSTRU", "DETNAME")),
    excludes=EXCLUDES,
    visit=(Keyword("DTACQNAM", r"[a-z]*(\d+)\.(\d+)(?:\.fits)?(?:\.fz)?\s*$"), Keyword("EXPNUM")),
    ccd=(Keyword("CCDNUM"), Keyword("EXTNAME", r"(?i)^ccd(\d+)")),
    # The r filter is called bokr.
    filter=(Keyword("FILTER", r"^\s*bok(\w+)"), Keyword("FILTER", r"^\s*(\S+)")),
    mjd=(Keyword("MJD-OBS"), Date("DATE-OBS")),
    companions=COMPANIONS,
    unit=(Constant("electron/s"),),
    # Codes 7 and 8, differences from other exposures and streaks, mark too much: they are left
    # out, as the Legacy Surveys do.
    mask_codes={**MASK_CODES, 7: "", 8: ""},
)
