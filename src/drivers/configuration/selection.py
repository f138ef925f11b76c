"""The configuration of what is used of the frames."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from drivers.configuration.section import Section


class SelectionConfig(Section):
    """Which detectors are used."""

    roles: tuple[Literal["science", "focus", "guide"], ...] = Field(
        ("science", "focus"), min_length=1
    )
    """Those for anything else are left out."""
    ignore_ccds: dict[str, tuple[int, ...]] = Field(default={})
    """By instrument, detectors which are left out, instead of those in its description."""
