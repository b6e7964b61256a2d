"""The observation of a fleet: the input of its reconciler about the cluster. The engine fills it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from seimigrate.domain.fleet.signing import SigningStatus
from seimigrate.domain.fleet.soak import SoakHistory
from seimigrate.domain.node.record import Direction
from seimigrate.domain.plan.gates import GateResult
from seimigrate.domain.plan.plan import Mode


@dataclass(frozen=True, slots=True)
class FleetNode:
    """A node as observed; ``available`` means that its pod is Ready.

    ``network`` is the SeiNetwork that owns it, as namespace/name, ``""`` for none.
    """

    key: str
    mode: Mode | None
    chain: str
    available: bool
    held: bool = False
    network: str = ""

    @property
    def namespace(self) -> str:
        """Return the node's namespace."""
        return self.key.partition("/")[0]


@dataclass(frozen=True, slots=True)
class FleetObservation:
    """A fleet as observed now; all times are seconds since 1970.

    ``nodes`` are all observed nodes, including those outside of the run. ``in_progress`` are the nodes in progress with
    their direction. ``signing`` is the signing status per validator, ``soak`` the history per canary, ``gate_results``
    the result per gate. ``pending_checks`` are the nodes and gates with a query in flight. ``idle_since`` is when the
    campaign last changed.
    """

    now: float
    nodes: Mapping[str, FleetNode]
    in_progress: Mapping[str, Direction] = field(default_factory=dict)
    signing: Mapping[str, SigningStatus] = field(default_factory=dict)
    soak: Mapping[str, SoakHistory] = field(default_factory=dict)
    gate_results: Mapping[str, GateResult] = field(default_factory=dict)
    pending_checks: frozenset[str] = frozenset()
    idle_since: float = 0.0

    def validators(self, chain: str) -> Iterator[FleetNode]:
        """Return the validators of a chain."""
        return (node for node in self.nodes.values() if node.mode is Mode.VALIDATOR and node.chain == chain)

    def down(self, node: FleetNode) -> bool:
        """Return whether a node is unavailable, or may become unavailable because it is in progress."""
        return not node.available or node.key in self.in_progress
