"""What a command line selects: ``--id``, ``--selectId`` and ``--where``, over rows of the registry.

The grammar of ``--id`` and ``--selectId`` is that of `drivers.data_id`. ``--where`` is an
expression of columns, which is read to a tree and never given to the database as text.
"""

from drivers.selection.detectors import usable_detectors
from drivers.selection.expression import Expression, ExpressionError, parse_expression
from drivers.selection.patches import PATCH_KINDS, parse_patch, parse_patches, wants
from drivers.selection.wanted import Wanted, add_selection, wanted

__all__ = [
    "PATCH_KINDS",
    "Expression",
    "ExpressionError",
    "Wanted",
    "add_selection",
    "parse_expression",
    "parse_patch",
    "parse_patches",
    "usable_detectors",
    "wanted",
    "wants",
]
