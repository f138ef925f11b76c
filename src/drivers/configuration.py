"""What can be configured in single-frame processing, by ``--config name=value``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from drivers.command import CommandError


class ConfigurationError(CommandError):
    """A ``--config`` that can't be understood; the message says what and why."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """The numbers that single-frame processing depends on.

    Attributes
    ----------
    overscan_order : int
        Order of the polynomial along the columns that is fitted to each amplifier's overscan.
    background_mesh : int
        Size of the squares in which the sky is measured [px].
    background_filter : int
        Squares over which the sky is median-filtered.
    detect_threshold : float
        Significance of a pixel above the sky [standard deviations] to belong to a source.
    detect_pixels : int
        Connected pixels above the threshold that make a source.
    apertures : tuple of float
        Radii of the photometric apertures [px].
    seeing_signal_to_noise : float
        Signal-to-noise ratio from which on a source can be a star of the seeing's measurement.
    """

    overscan_order: int = 1
    background_mesh: int = 64
    background_filter: int = 3
    detect_threshold: float = 5.0
    detect_pixels: int = 5
    apertures: tuple[float, ...] = (3.0, 5.0, 8.0, 12.0)
    seeing_signal_to_noise: float = 25.0

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON has them: what decides whether a run can be continued."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {"apertures": list(self.apertures)}


_LIMITS: dict[str, tuple[float, float]] = {
    "overscan_order": (0, 5),
    "background_mesh": (8, 4096),
    "background_filter": (1, 15),
    "detect_threshold": (0.5, 1000.0),
    "detect_pixels": (1, 10_000),
    "apertures": (0.5, 100.0),
    "seeing_signal_to_noise": (3.0, 10_000.0),
}


def parse_configuration(words: Sequence[str]) -> Configuration:
    """Read ``name=value`` words, such as ``detect_threshold=4`` or ``apertures=3,6``.

    Raises
    ------
    ConfigurationError
        If a name is unknown, or a value isn't of its kind or is out of its limits.
    """
    known = {field.name: field.default for field in fields(Configuration)}
    changes: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or name not in known:
            raise ConfigurationError(
                f"--config {word!r} is not NAME=VALUE with one of the names {', '.join(known)}"
            )
        changes[name] = _read(name, text, known[name], word)
    return replace(Configuration(), **changes)


def _read(name: str, text: str, default: Any, word: str) -> Any:
    several = isinstance(default, tuple)
    kind = type(default[0]) if several else type(default)
    low, high = _LIMITS[name]
    number = "a whole number" if kind is int else "a number"
    expected = f"{number} from {low:g} to {high:g}"
    if several:
        expected = f"numbers from {low:g} to {high:g}, separated by commas"
    refusal = ConfigurationError(f"--config {word!r}: {name} is {expected}, not {text!r}")
    try:
        values = tuple(kind(part) for part in (text.split(",") if several else [text]))
    except ValueError:
        raise refusal from None
    if not all(low <= value <= high for value in values):
        raise refusal
    return values if several else values[0]
