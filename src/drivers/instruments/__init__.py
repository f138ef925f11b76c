"""The cameras whose frames can be ingested: one small description each, here or in TOML."""

from drivers.instruments.cameras import BUILT_IN, INSTRUMENTS, Cameras, cameras_in, read_instruments
from drivers.instruments.description import Header, Instrument

__all__ = [
    "BUILT_IN",
    "INSTRUMENTS",
    "Cameras",
    "Header",
    "Instrument",
    "cameras_in",
    "read_instruments",
]
