"""What the decision about a fleet may know of the world now. It is a value; the engine fills it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from seimigrate.domain.fleet.health import Watch
from seimigrate.domain.fleet.signing import Sight
from seimigrate.domain.gates import Judgement
from seimigrate.domain.plan import Mode
from seimigrate.domain.record import Direction


@dataclass(frozen=True, slots=True)
class Node:
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
class Picture:
    """The world now.

    ``nodes`` are all that are seen, also those that are not to move; ``moving`` are those on their way, and in which
    direction. ``sights`` are what validators told of their chain, ``watches`` how canaries do, ``judgements`` what
    gates said; ``asking`` are the nodes and gates that are being asked right now. ``idle`` is since when nothing has
    moved; all times are seconds since 1970.
    """

    now: float
    nodes: Mapping[str, Node]
    moving: Mapping[str, Direction] = field(default_factory=dict)
    sights: Mapping[str, Sight] = field(default_factory=dict)
    watches: Mapping[str, Watch] = field(default_factory=dict)
    judgements: Mapping[str, Judgement] = field(default_factory=dict)
    asking: frozenset[str] = frozenset()
    idle: float = 0.0

    def validators(self, chain: str) -> Iterator[Node]:
        """Give the validators of a chain."""
        return (node for node in self.nodes.values() if node.mode is Mode.VALIDATOR and node.chain == chain)

    def down(self, node: Node) -> bool:
        """Tell whether a node is unavailable, or may become so by our hand."""
        return not node.available or node.key in self.moving
