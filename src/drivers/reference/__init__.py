"""The reference catalogue of a repository: stars with known positions and magnitudes.

One SQLite file, `REPO/reference.sqlite`, which `ingestDriver REPO --reference FILE` fills. Only the
drivers' scripts read it: they send the stars of each detector along with its task.
"""

from drivers.reference.bands import Choice, choose
from drivers.reference.catalogue import (
    CatalogueError,
    Reference,
    add_stars,
    open_reference,
)
from drivers.reference.tables import read_stars

__all__ = [
    "CatalogueError",
    "Choice",
    "Reference",
    "add_stars",
    "choose",
    "open_reference",
    "read_stars",
]
