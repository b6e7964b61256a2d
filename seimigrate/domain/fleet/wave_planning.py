"""Which nodes move when: the canary, the first node of each mode before its others, and waves that grow."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from seimigrate.domain.plan.fleet import Fleet, min_count
from seimigrate.domain.plan.plan import Mode, Strategy

IMPACT_ORDER = (Mode.REPLAYER, Mode.FULL_NODE, Mode.SEED, Mode.ARCHIVE, Mode.VALIDATOR)
"""The modes, those first whose absence hurts least: nobody asks a replayer, and a validator signs blocks."""


class UnknownCanary(LookupError):  # noqa: N818 - reads as what it says
    """The canary that was named is not among the nodes."""


class WaveKind(StrEnum):
    """What a wave is for."""

    CANARY = "canary"
    """Nodes that prove the cutover: they move in two steps, and are watched before others follow."""
    WAVE = "wave"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that is to move; ``ready`` tells that nothing is known to stand in its way."""

    key: str
    mode: Mode | None
    chain: str
    labels: Mapping[str, str] = field(default_factory=dict)
    ready: bool = True

    @property
    def namespace(self) -> str:
        """Give the node's namespace."""
        return self.key.partition("/")[0]

    @property
    def impact(self) -> int:
        """Give how much it hurts when this node is gone, as a rank of its mode."""
        return IMPACT_ORDER.index(self.mode) if self.mode else len(IMPACT_ORDER)


@dataclass(frozen=True, slots=True)
class Wave:
    """Nodes (``namespace/name``, in order) that may move before those of the next wave."""

    kind: WaveKind
    nodes: tuple[str, ...]

    def strategy(self, chosen: Strategy) -> Strategy:
        """Give how a node of this wave moves: mixed means the canaries in two steps, the rest in one."""
        if chosen is not Strategy.MIXED:
            return chosen
        return Strategy.STAGED if self.kind is WaveKind.CANARY else Strategy.MERGED


def plan_waves(
    candidates: Sequence[Candidate], settings: Fleet, canary: str | None = None, done: Collection[str] = ()
) -> tuple[Wave, ...]:
    """Give the waves of a run; ``canary`` names one, before the plan does, unless that node is ``done`` already.

    Raises ``UnknownCanary`` if the node that was named as the canary is not among the nodes.
    """
    ordered = sorted(candidates, key=lambda node: (*_rank(node, settings.order), not node.ready, node.key))
    named = canary or settings.canary.node
    first = _canary(ordered, None if named in done else named)
    waves = [Wave(WaveKind.CANARY, (first.key,))] if first is not None else []
    seen = {first.mode} if first is not None else set()
    for group in _groups([node for node in ordered if node is not first], settings.waves, len(ordered)):
        heralds: list[Candidate] = []
        for node in group:
            if node.mode not in seen:
                seen.add(node.mode)
                heralds.append(node)
        for kind, nodes in (
            (WaveKind.CANARY, heralds),
            (WaveKind.WAVE, [node for node in group if node not in heralds]),
        ):
            if nodes:
                waves.append(Wave(kind, tuple(node.key for node in nodes)))
    return tuple(waves)


def _rank(node: Candidate, order: Sequence[str]) -> list[tuple[int, str]]:
    ranks = {"mode": (node.impact, ""), "chain": (0, node.chain), "namespace": (0, node.namespace)}
    return [ranks.get(by) or (0, node.labels.get(by.removeprefix("label:"), "")) for by in order]


def _canary(nodes: Sequence[Candidate], named: str | None) -> Candidate | None:
    """Choose the canary: as named, else the least harmful that can move, of the smallest chain; no validator."""
    if named is not None:
        found = next((node for node in nodes if node.key == named), None)
        if found is None:
            raise UnknownCanary(named)
        return found
    sizes: dict[str, int] = {}
    for node in nodes:
        sizes[node.chain] = sizes.get(node.chain, 0) + 1
    fit = [node for node in nodes if node.ready and node.mode not in (None, Mode.VALIDATOR)]
    return min(fit, key=lambda node: (node.impact, sizes[node.chain], node.chain, node.key), default=None)


def _groups(nodes: Sequence[Candidate], sizes: Sequence[str], total: int) -> Iterator[Sequence[Candidate]]:
    start, turn = 0, 0
    while start < len(nodes):
        size = max(1, min_count(sizes[min(turn, len(sizes) - 1)], total))
        yield nodes[start : start + size]
        start, turn = start + size, turn + 1
