"""DECam frames as the Community Pipeline writes them: calibrated, with a mask and a weight."""

from __future__ import annotations

from types import MappingProxyType

from drivers.instruments.description import Clue, Companion, Instrument, Keyword

DECAM = Instrument(
    name="DECam",
    clues=(Clue("INSTRUME", r"^decam"), Clue("DTINSTRU", r"^decam")),
    excludes=(Clue("PROCTYPE", r"^raw"), Clue("PRODTYPE", r"^(dqmask|wtmap)")),
    visit=(Keyword("EXPNUM"),),
    ccd=(Keyword("CCDNUM"),),
    # FILTER is for example "z DECam SDSS c0004 9260.0 1520.0".
    filter=(Keyword("FILTER", r"^\s*(\S+)"), Keyword("BAND")),
    companions=(
        Companion("mask", r"_ood[_.]", r"_ooi(?=[_.])", "_ood"),
        Companion("weight", r"_oow[_.]", r"_ooi(?=[_.])", "_oow"),
    ),
    gain=(Keyword("GAINA"), Keyword("GAINB")),
    read_noise=(Keyword("RDNOISEA"), Keyword("RDNOISEB")),
    saturation=(Keyword("SATURATE"),),
    # Since version 3.5 of the pipeline these are codes, not bits.
    mask_codes=MappingProxyType(
        {1: "BAD", 2: "NO_DATA", 3: "SAT", 4: "SAT", 5: "CR", 6: "BAD", 7: "CR", 8: "CR"}
    ),
)
