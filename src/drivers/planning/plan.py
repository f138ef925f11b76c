"""What one command is to do with a survey."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from drivers.configuration import SurveyConfig
from drivers.graph.node import Call, Done, NodeId, Outcomes, Place
from drivers.instruments import BUILT_IN, Cameras
from drivers.planning.estimates import Estimate
from drivers.planning.identity import key_of
from drivers.planning.inputs import Inputs
from drivers.planning.learnt import Correction
from drivers.planning.stages import Mode, Stage
from drivers.registry import Calib, RawFrame
from drivers.repository import Rerun
from drivers.results import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be made of which frames, how, and where.

    Attributes
    ----------
    rerun : Rerun
        Where outputs go.
    config : SurveyConfig
        The numbers.
    inputs : Inputs
        The frames, and what they cover.
    look : callable
        Looks again at what is selected: frames may have been ingested meanwhile.
    modes : Mapping of str to Mode
        What is done with each stage.
    accepts : callable
        Whether a CCD with this row is good enough to be used behind single frames.
    calibs : callable
        Finds the calibration frames of a raw frame, by kind.
    reference : callable
        Finds the reference stars near a raw frame.
    reference_digest : str
        Differs between catalogues; empty if there is none.
    cameras : Cameras
        Descriptions of the cameras.
    options : Mapping
        Of every call: retries.
    scratch : str
        Folder on a disk of each node for what is only needed for a while; empty if there is none.
    by_visit : bool
        Whether single frames and solution of a visit are one task.
    notes : tuple of str
        What to tell before it begins.
    learnt : Mapping of str to Correction
        How tasks of a stage differ from what is expected, where records say so.
    """

    rerun: Rerun
    config: SurveyConfig
    inputs: Inputs
    look: Callable[[], Inputs]
    modes: Mapping[str, Mode]
    accepts: Callable[[Mapping[str, Any]], bool]
    calibs: Callable[[RawFrame], Mapping[str, Calib]]
    reference: Callable[[RawFrame], Table | None]
    reference_digest: str
    options: Mapping[str, Any]
    cameras: Cameras = BUILT_IN
    scratch: str = ""
    by_visit: bool = False
    notes: tuple[str, ...] = ()
    learnt: Mapping[str, Correction] = field(default_factory=dict)

    @property
    def root(self) -> str:
        """The repository."""
        return str(self.rerun.repository.root)

    def has(self, stage: Stage) -> bool:
        """Whether a stage has nodes."""
        return self.modes[stage.name] is not Mode.ABSENT

    def call(  # noqa: PLR0913 - what makes a call
        self,
        stage: Stage,
        place: Place,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        used: list[Done],
        *,
        facts: Any = None,
        estimate: Estimate,
        **options: Any,
    ) -> Call:
        """Return the call of a task.

        Parameters
        ----------
        stage, place
            Which task.
        function, arguments
            What is called.
        used : list of Done
            What it is made of.
        facts : object
            What else decides its result, JSON values.
        estimate : Estimate
            What it is expected to take.
        **options
            Further options of the pool's call.
        """
        if stage.name in self.learnt:
            estimate = self.learnt[stage.name].of(estimate)
        return Call(
            function=function,
            arguments=arguments,
            key=key_of(stage, place, self.config, facts, used),
            cost=estimate.seconds,
            options={**self.options, "memory": int(estimate.memory), **options},
            run=self.modes[stage.name] is Mode.RUN,
        )


def ident(stage: Stage, *place: int | str) -> NodeId:
    """Return the name of a node."""
    return NodeId(stage.name, place)


def done(outcomes: Outcomes, node: NodeId) -> Done | None:
    """Return what came of a node if that is something to go on with."""
    outcome = outcomes.get(node)
    return outcome if isinstance(outcome, Done) else None
