"""A section of the configuration: the values of one stage."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Values which are validated when they are set, and never change afterwards.

    Each field has a default, its limits and a description with the unit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def as_dict(self) -> dict[str, Any]:
        """Return the values as JSON has them: what decides whether a result can be used again."""
        return self.model_dump(mode="json", by_alias=True)

    def digest(self) -> str:
        """Return 16 hexadecimal digits which differ when any value does."""
        text = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
