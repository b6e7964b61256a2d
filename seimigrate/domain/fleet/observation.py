"""What the decision about a fleet may know of the world now. It is a value; the engine fills it."""

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
    """A node as the cluster shows it; ``available`` means that its pod is Ready.

    ``network`` is the SeiNetwork that it belongs to, as namespace/name, ``""`` for none.
    """

    key: str
    mode: Mode | None
    chain: str
    available: bool
    held: bool = False
    network: str = ""

    @property
    def namespace(self) -> str:
        """Give the node's namespace."""
        return self.key.partition("/")[0]


@dataclass(frozen=True, slots=True)
class FleetObservation:
    """The world now.

    ``nodes`` are all that are seen, also those that are not to move; ``moving`` are those on their way, and in which
    direction. ``sights`` are what validators told of their chain, ``watches`` how canaries do, ``judgements`` what
    gates said; ``asking`` are the nodes and gates that are being asked right now. ``idle`` is since when nothing has
    moved; all times are seconds since 1970.
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
        """Give the validators of a chain."""
        return (node for node in self.nodes.values() if node.mode is Mode.VALIDATOR and node.chain == chain)

    def down(self, node: FleetNode) -> bool:
        """Tell whether a node is unavailable, or may become so by our hand."""
        return not node.available or node.key in self.in_progress
