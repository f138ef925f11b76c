"""The registry of a survey repository: which frames there are, and what was made of them.

One SQLite file, `REPO/registry.sqlite`. Only the drivers' scripts write it, never a task: table
`raw` at ingest, the others from the records of a run's checkpoint, in one transaction each; all
can be written again without harm.
"""

from drivers.registry.calibs import Calib, add_calibs, find_calib, find_calibs
from drivers.registry.database import (
    SCHEMA_VERSION,
    RegistryError,
    columns_of,
    open_registry,
    selectable,
)
from drivers.registry.products import find_products, replace_products
from drivers.registry.raw import (
    RAW_COLUMNS,
    SELECTABLE,
    Added,
    RawFrame,
    add_frames,
    distinct_values,
    find_frames,
    refusals,
    unmatched,
)
from drivers.registry.regions import (
    count_unplaced,
    overlapping_calexps,
    overlapping_frames,
)

__all__ = [
    "RAW_COLUMNS",
    "SCHEMA_VERSION",
    "SELECTABLE",
    "Added",
    "Calib",
    "RawFrame",
    "RegistryError",
    "add_calibs",
    "add_frames",
    "columns_of",
    "count_unplaced",
    "distinct_values",
    "find_calib",
    "find_calibs",
    "find_frames",
    "find_products",
    "open_registry",
    "overlapping_calexps",
    "overlapping_frames",
    "refusals",
    "replace_products",
    "selectable",
    "unmatched",
]
