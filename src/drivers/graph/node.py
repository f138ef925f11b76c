"""The parts of a graph: one task of it, what it is called with, and what can come of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Place = tuple[int | str, ...]
"""The values of a data ID, such as visit and ccd."""


class NodeId(NamedTuple):
    """Names a node: its stage, and the values of its data ID."""

    stage: str
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """How a node's task is called.

    Attributes
    ----------
    function : callable
        Of a module, and its arguments.
    arguments : tuple
        Values only: what a node needs is there when its call is made.
    key : dict
        The data ID, JSON values: with the stage it identifies the task in the checkpoint. All that
        decides the result is in it: configuration, version and inputs as a digest.
    cost : float or None
        Expected seconds.
    options : Mapping
        Further options of `mpipool.Pool.submit`: memory, ranks, threads …
    run : bool
        Whether it is run if it is not done; else what is done is used, and nothing is run.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    key: dict[str, Any]
    cost: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    run: bool = True


@dataclass(frozen=True, slots=True)
class Done:
    """A node's task has ended well."""

    value: Any
    key: dict[str, Any]
    """What made it; see `Call`."""
    reused: bool = False
    """Whether it was done before."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A node's task has failed for good."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Empty:
    """A node had nothing to do, or can't do it: what it needs is missing."""

    reason: str


Outcome = Done | Failed | Empty
Outcomes = Mapping[NodeId, Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One task of a graph.

    Attributes
    ----------
    id : NodeId
        Its name.
    needs : tuple of NodeId
        What must have ended, in whatever way, before it starts.
    prepare : callable
        Makes its call from what came of these, or says why there is nothing to call.
    order : tuple
        Of two nodes which may start, that with the smaller one goes first.
    """

    id: NodeId
    needs: tuple[NodeId, ...]
    prepare: Callable[[Outcomes], Call | Empty]
    order: tuple[float, ...] = ()
