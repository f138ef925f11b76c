"""From a command line to a plan: what is selected, how it is configured, what it is made of."""

from __future__ import annotations

import argparse
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from drivers.command import CommandError
from drivers.configuration import SurveyConfig, load_configuration
from drivers.configuration.selection import SelectionConfig
from drivers.data_id import Selection, compact, condition, parse_selection
from drivers.instruments import Cameras, cameras_in
from drivers.planning.expectation import expected
from drivers.planning.inputs import Inputs, find_inputs
from drivers.planning.learnt import Correction, corrections, mean_task
from drivers.planning.plan import Plan
from drivers.planning.stages import STAGES, modes, read_stages
from drivers.reference import Reference, choose, open_reference
from drivers.registry import (
    Calib,
    RawFrame,
    distinct_values,
    find_calibs,
    find_frames,
    open_registry,
    selectable,
    unmatched,
)
from drivers.repository import Repository, Rerun, open_repository
from drivers.results import Table
from drivers.selection import PATCH_KINDS, parse_patch, usable_detectors, wanted, wants
from drivers.sky_polygon import polygon
from drivers.skymap import SkyMap
from drivers.survey_options import Command
from mpipool import read_records


class NothingSelected(CommandError):
    """No frame fits; the message says what could have been selected."""


def make_plan(command: Command, options: argparse.Namespace, open_files: ExitStack) -> Plan:
    """Check a command line against the repository. Changes nothing on disk.

    Parameters
    ----------
    command : Command
        The driver.
    options : argparse.Namespace
        Its command line.
    open_files : ExitStack
        Closes what the plan reads from.

    Raises
    ------
    CommandError
        If it can't be carried out, with the reason.
    """
    if command.by_visit and options.where:
        raise CommandError("--where asks for what is only measured by the same task; leave it out")
    repository = open_repository(options.repo)
    own = [repository.configuration] if repository.configuration.is_file() else []
    config = load_configuration(SurveyConfig, [*own, *options.config_file], options.config)
    registry = open_files.enter_context(open_registry(repository.registry))
    cameras = cameras_in(repository.instruments)
    selections = _Selections(options, config.selection, cameras)
    skymap = SkyMap(config.sky_map)

    def look() -> Inputs:
        return selections.patches(find_inputs(selections.frames(registry), skymap))

    inputs = look()
    if not inputs.frames and not options.follow:
        raise NothingSelected(f"--id selects nothing. {_available(registry)}")
    reference = _References(repository, config, open_files)
    plan = Plan(
        rerun=rerun_of(repository, options.rerun)[0],
        config=config,
        inputs=inputs,
        look=look,
        modes=_modes(command, options),
        accepts=_accepts(options.where),
        calibs=_calibs(registry),
        reference=reference,
        reference_digest=reference.digest,
        options={"retries": options.retries} if options.retries else {},
        cameras=cameras,
        scratch=options.scratch,
        by_visit=command.by_visit,
        notes=selections.notes(registry),
    )
    return replace(plan, learnt=_learnt(plan))


def _learnt(plan: Plan) -> dict[str, Correction]:
    """Return what the rerun's records say of how long tasks take, and of their memory."""
    if not plan.rerun.run_db.is_file():
        return {}
    means = mean_task(read_records(plan.rerun.run_db, state="done"))
    return corrections(means, {stage.name: expected(plan, stage)[1] for stage in STAGES})


def rerun_of(repository: Repository, text: str) -> tuple[Rerun, Rerun | None]:
    """Return the rerun to write to, and the one to read from what that does not have."""
    parent, colon, name = text.partition(":")
    if not colon:
        return repository.rerun(text), None
    child, source = repository.rerun(name), repository.rerun(parent)
    if not source.run_db.is_file():
        raise CommandError(f"--rerun {text}: there is no rerun {parent} in {repository.root}")
    if child == source:
        raise CommandError(f"--rerun {text}: a rerun can't be its own parent")
    return child, source


def _modes(command: Command, options: argparse.Namespace) -> Mapping[str, Any]:
    run = set(command.stages)
    if command.chooses and options.stages is not None:
        run = read_stages("--stages", options.stages)
    return modes(run, read_stages("--skip", options.skip) if command.chooses else set())


class _Selections:
    """What the command line selects: frames by any column of the registry, and patches."""

    def __init__(
        self, options: argparse.Namespace, config: SelectionConfig, cameras: Cameras
    ) -> None:
        self._usable = usable_detectors(config.roles, config.ignore_ccds, cameras)
        columns = selectable("raw")
        kinds = {**columns, **PATCH_KINDS}
        self._made = [parse_selection(words, kinds) for words in options.id]
        self._of = [parse_selection(words, columns, "--selectId") for words in options.selectId]
        for selection in self._made:
            for term in selection.get("patch", ()):
                parse_patch(str(term))

    def frames(self, registry: sqlite3.Connection) -> list[RawFrame]:
        """Return the frames which are selected."""
        # A filter given with a tract or a patch is the coadd's: all its inputs have it.
        own = self._of_frames()
        clauses = [condition([one for one in own if one] if all(own) else [])]
        clauses += [condition(self._of), self._usable]
        text = " AND ".join(f"({clause})" for clause, _ in clauses)
        return find_frames(registry, text, [value for _, some in clauses for value in some])

    def notes(self, registry: sqlite3.Connection) -> tuple[str, ...]:
        """Say which terms of the selections match no frame."""
        found = [("--id", unmatched(registry, selection)) for selection in self._of_frames()]
        found += [("--selectId", unmatched(registry, selection)) for selection in self._of]
        return tuple(f"{option} {words} match nothing" for option, words in found if words)

    def _of_frames(self) -> list[Selection]:
        return [_without(selection, ("tract", "patch")) for selection in self._made]

    def patches(self, inputs: Inputs) -> Inputs:
        """Leave out patches which are not selected, and then frames which are not needed."""
        named = [_only(selection, ("tract", "patch", "filter")) for selection in self._made]
        if not any("tract" in one or "patch" in one for one in named):
            return inputs
        kept = {
            (tract, column, row): {
                band: ccds
                for band, ccds in bands.items()
                if wants(named, {"tract": tract, "patch": f"{column},{row}", "filter": band})
            }
            for (tract, column, row), bands in inputs.patches.items()
        }
        patches = {patch: bands for patch, bands in kept.items() if bands}
        if not patches:
            raise NothingSelected(f"--id selects no patch. {_patches_there(inputs)}")
        needed = {ccd for bands in patches.values() for ccds in bands.values() for ccd in ccds}
        visits = {visit for visit, _ in needed}
        frames = {ccd: frame for ccd, frame in inputs.frames.items() if ccd[0] in visits}
        of_visits = {visit: ccds for visit, ccds in inputs.visits.items() if visit in visits}
        return Inputs(frames, of_visits, patches, inputs.skymap, inputs.unplaced)


def _without(selection: Selection, keys: Sequence[str]) -> Selection:
    return {key: terms for key, terms in selection.items() if key not in keys}


def _only(selection: Selection, keys: Sequence[str]) -> Selection:
    return {key: terms for key, terms in selection.items() if key in keys}


def _patches_there(inputs: Inputs) -> str:
    if not inputs.patches:
        return "No CCD says where it is"
    tracts, columns, rows = (
        compact(sorted(set(numbers))) for numbers in zip(*inputs.patches, strict=True)
    )
    return f"There are tract={tracts}, and in them patches of columns {columns}, rows {rows}"


def _available(registry: sqlite3.Connection) -> str:
    keys = ("visit", "ccd", "filter", "instrument")
    values = {key: distinct_values(registry, key) for key in keys}
    if not values["visit"]:
        return "The registry is empty: ingest frames first (ingestDriver)."
    return "There are " + " ".join(f"{key}={compact(values[key])}" for key in keys)


def _accepts(where: Sequence[str]) -> Callable[[Mapping[str, Any]], bool]:
    """Return what decides of a CCD, by its row, whether it meets all conditions."""
    if not where:
        return lambda row: True
    kinds = selectable("calexp")
    text, values = wanted([], where, kinds).condition()
    database = sqlite3.connect(":memory:")
    columns = ", ".join(f"? AS {name}" for name in kinds)
    query = f"SELECT {text} FROM (SELECT {columns})"

    def accepts(row: Mapping[str, Any]) -> bool:
        shown = [row.get(name) for name in kinds]
        plain = [value if isinstance(value, (int, float, str)) else None for value in shown]
        return bool(database.execute(query, [*values, *plain]).fetchone()[0])

    return accepts


def _calibs(registry: sqlite3.Connection) -> Callable[[RawFrame], Mapping[str, Calib]]:
    """Return what finds calibration frames; those of one detector and night are looked up once."""
    return lambda frame: find_calibs(registry, frame)


class _References:
    """Finds the reference stars near a raw frame."""

    def __init__(self, repository: Repository, config: SurveyConfig, open_files: ExitStack) -> None:
        self._catalogue: Reference | None = None
        self.digest = ""
        if repository.reference.is_file():
            connection = open_files.enter_context(open_reference(repository.reference))
            self._catalogue = Reference(connection)
            status = repository.reference.stat()
            self.digest = f"{status.st_size}-{status.st_mtime_ns}"
        self._config = config.reference

    def __call__(self, frame: RawFrame) -> Table | None:
        """Return the stars; None if there is no catalogue, or nobody knows where the frame is."""
        if self._catalogue is None or frame.corners is None:
            return None
        choice = choose(self._catalogue.magnitudes, self._config, frame.filter)
        corners = (frame.corners[::2], frame.corners[1::2])
        return self._catalogue.stars(polygon(corners), choice, self._config.margin)
