"""Wave planning: the canary, a canary per mode before its other nodes, and growing waves."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from seimigrate.domain.plan.fleet import Fleet, min_count
from seimigrate.domain.plan.plan import Mode, Strategy

IMPACT_ORDER = (Mode.REPLAYER, Mode.FULL_NODE, Mode.SEED, Mode.ARCHIVE, Mode.VALIDATOR)
"""The modes by impact of an outage, lowest first: a replayer has no clients, a validator signs blocks."""


class UnknownCanary(LookupError):  # noqa: N818 - the name states the condition
    """The named canary is not among the nodes."""


class WaveKind(StrEnum):
    """The kind of a wave."""

    CANARY = "canary"
    """Nodes that prove the cutover: they are checked during a soak before the next wave starts."""
    WAVE = "wave"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node to cut over; ``ready`` is true if it has no known blocker."""

    key: str
    mode: Mode | None
    chain: str
    labels: Mapping[str, str] = field(default_factory=dict)
    ready: bool = True

    @property
    def namespace(self) -> str:
        """Return the node's namespace."""
        return self.key.partition("/")[0]

    @property
    def impact(self) -> int:
        """Return the impact of an outage of this node, as the rank of its mode."""
        return IMPACT_ORDER.index(self.mode) if self.mode else len(IMPACT_ORDER)


@dataclass(frozen=True, slots=True)
class Wave:
    """Nodes (``namespace/name``, in order) that finish before the next wave starts."""

    kind: WaveKind
    nodes: tuple[str, ...]

    def strategy(self, chosen: Strategy) -> Strategy:
        """Return the strategy of this wave's nodes: ``mixed`` means staged for canaries, merged for the rest."""
        if chosen is not Strategy.MIXED:
            return chosen
        return Strategy.STAGED if self.kind is WaveKind.CANARY else Strategy.MERGED


def plan_waves(
    candidates: Sequence[Candidate], settings: Fleet, canary: str | None = None, done: Collection[str] = ()
) -> tuple[Wave, ...]:
    """Return the waves of a run; ``canary`` overrides the plan's canary, unless that node is already ``done``.

    Raises ``UnknownCanary`` if the named canary is not among the nodes.
    """
    ordered = sorted(candidates, key=lambda node: (*_rank(node, settings.order), not node.ready, node.key))
    named = canary or settings.canary.node
    first = _canary(ordered, None if named in done else named)
    waves = [Wave(WaveKind.CANARY, (first.key,))] if first is not None else []
    covered = {first.mode} if first is not None else set()
    for group in _groups([node for node in ordered if node is not first], settings.waves, len(ordered)):
        canaries: list[Candidate] = []
        for node in group:
            if node.mode not in covered:
                covered.add(node.mode)
                canaries.append(node)
        for kind, nodes in (
            (WaveKind.CANARY, canaries),
            (WaveKind.WAVE, [node for node in group if node not in canaries]),
        ):
            if nodes:
                waves.append(Wave(kind, tuple(node.key for node in nodes)))
    return tuple(waves)


def _rank(node: Candidate, order: Sequence[str]) -> list[tuple[int, str]]:
    ranks = {"mode": (node.impact, ""), "chain": (0, node.chain), "namespace": (0, node.namespace)}
    return [ranks.get(by) or (0, node.labels.get(by.removeprefix("label:"), "")) for by in order]


def _canary(nodes: Sequence[Candidate], named: str | None) -> Candidate | None:
    """Return the named canary, otherwise the ready node of lowest impact in the smallest chain; never a validator."""
    if named is not None:
        node = next((node for node in nodes if node.key == named), None)
        if node is None:
            raise UnknownCanary(named)
        return node
    sizes: dict[str, int] = {}
    for node in nodes:
        sizes[node.chain] = sizes.get(node.chain, 0) + 1
    eligible = [node for node in nodes if node.ready and node.mode not in (None, Mode.VALIDATOR)]
    return min(eligible, key=lambda node: (node.impact, sizes[node.chain], node.chain, node.key), default=None)


def _groups(nodes: Sequence[Candidate], sizes: Sequence[str], total: int) -> Iterator[Sequence[Candidate]]:
    start, index = 0, 0
    while start < len(nodes):
        size = max(1, min_count(sizes[min(index, len(sizes) - 1)], total))
        yield nodes[start : start + size]
        start, index = start + size, index + 1
