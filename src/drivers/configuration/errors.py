"""What is raised when a configuration can't be used."""

from __future__ import annotations

from drivers.command import CommandError


class ConfigurationError(CommandError):
    """A configuration that can't be understood; the message says which field and why."""
