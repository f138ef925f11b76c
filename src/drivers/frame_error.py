"""The error of the drivers' science: this frame, this reason."""

from __future__ import annotations


class FrameError(Exception):
    """A frame can't be used. The message names the file and says why, in one sentence."""
