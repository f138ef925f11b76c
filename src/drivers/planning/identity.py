"""What a result is made of, as a digest: if any of it changes, the result is made again.

The digest of a task covers its stage's version, its configuration, whatever else decides the
result, and the digests of the results that it is made of. So a change anywhere is a change of
exactly what depends on it, and a result which lacks an input is another one than that with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from drivers.configuration import SurveyConfig
from drivers.graph.node import Done, Place
from drivers.planning.stages import Stage


def key_of(
    stage: Stage, place: Place, config: SurveyConfig, facts: Any, used: Iterable[Done]
) -> dict[str, Any]:
    """Return the data ID of a task, with the digest of all that decides its result.

    Parameters
    ----------
    stage, place
        Which task.
    config : SurveyConfig
        The sections of its stage count.
    facts : object
        JSON values: which file, which calibration frames, …
    used : iterable of Done
        What it is made of.
    """
    made_of = [
        stage.version,
        [getattr(config, section).digest() for section in stage.sections],
        facts,
        sorted(json.dumps(done.key, sort_keys=True) for done in used),
    ]
    text = json.dumps(made_of, sort_keys=True, separators=(",", ":"))
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return {**data_id(stage, place), "inputs": digest}


def data_id(stage: Stage, place: Place) -> dict[str, Any]:
    """Return the values by which users know a task."""
    if "patch" not in stage.places:
        return dict(zip(stage.places, place, strict=True))
    tract, column, row, *band = place
    values = (tract, f"{column},{row}", *band)
    return dict(zip(stage.places, values, strict=True))
