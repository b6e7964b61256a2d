"""Which nodes may start or go back now: never more unavailable than the plan allows, whatever made them so.

Of the validators of one chain never two, the next one only after the last one signs again, and none while less than
two thirds of the chain's validators are in sight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from seimigrate.domain.fleet import signing
from seimigrate.domain.fleet.campaign import Campaign
from seimigrate.domain.fleet.picture import Node, Picture
from seimigrate.domain.fleet.settings import MaxUnavailable, at_most
from seimigrate.domain.plan import Mode
from seimigrate.domain.record import Outcome


@dataclass(slots=True)
class Turn:
    """What may start, which validators have to be asked first, and why others wait."""

    keys: list[str] = field(default_factory=list)
    ask: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Limit:
    """One limit: how many of some nodes may be down, and which of them are."""

    what: str
    most: int
    down: set[str]

    @classmethod
    def of(cls, what: str, amount: str, nodes: Iterable[Node], at: Picture) -> _Limit:
        among = list(nodes)
        return cls(what, at_most(amount, len(among)), {node.key for node in among if at.down(node)})

    def reason(self) -> str:
        return f"{self.what}: {len(self.down)} of at most {self.most} unavailable ({_few(self.down)})"


class _Limits:
    """The limits of the fleet, of chains and of namespaces, each counted once."""

    def __init__(self, fleet: Iterable[str], allowed: MaxUnavailable, at: Picture) -> None:
        self._allowed = allowed
        self._at = at
        mine = (at.nodes[key] for key in fleet if key in at.nodes)
        self._fleet = _Limit.of("the fleet", allowed.fleet, mine, at)
        self._known: dict[tuple[str, str], _Limit] = {}

    def of(self, node: Node) -> list[_Limit]:
        found = [self._fleet]
        if self._allowed.chain is not None:
            found.append(self._scope("chain", node.chain, self._allowed.chain, lambda other: other.chain))
        if self._allowed.namespace is not None:
            found.append(self._scope("namespace", node.namespace, self._allowed.namespace, lambda o: o.namespace))
        return found

    def full(self, node: Node) -> _Limit | None:
        """Give a limit that this node would exceed; one that is down already takes nothing more away."""
        return next((each for each in self.of(node) if node.key not in each.down and len(each.down) >= each.most), None)

    def _scope(self, what: str, name: str, amount: str, of: Callable[[Node], str]) -> _Limit:
        if (what, name) not in self._known:
            among = (node for node in self._at.nodes.values() if of(node) == name)
            self._known[what, name] = _Limit.of(f"{what} {name}", amount, among, self._at)
        return self._known[what, name]


def may_start(campaign: Campaign, waiting: Sequence[str], allowed: MaxUnavailable, at: Picture) -> Turn:
    """Give the nodes that may start now, in order; what is said of a validator counts for some seconds."""
    turn = Turn()
    limits = _Limits(campaign.keys, allowed, at)
    chains: set[str] = set()
    for key in waiting:
        node = at.nodes.get(key)
        if node is None:
            turn.keys.append(key)  # it was deleted: whoever starts it says so
            continue
        full = limits.full(node)
        reason = full.reason() if full is not None else _network(campaign, node, at)
        if not reason and node.mode is Mode.VALIDATOR:
            if node.chain in chains:
                continue
            chains.add(node.chain)
            reason = _others(campaign, node, at) or _chain(node, turn, at)
        if reason:
            if reason not in turn.reasons:
                turn.reasons.append(reason)
        elif key not in turn.ask:
            turn.keys.append(key)
            for limit in limits.of(node):
                limit.down.add(key)
    return turn


class Returns:
    """Who may go back now: within the budgets, of the validators of one chain never two.

    One may always: a way back must not wait for what others have taken down. For the same reason it asks no chain who
    signs, and no validator waits until the last one signs again, only until it is Ready.
    """

    def __init__(self, fleet: Iterable[str], allowed: MaxUnavailable, at: Picture) -> None:
        self._at = at
        self._limits = _Limits(fleet, allowed, at)

    def may(self, key: str) -> bool:
        """Tell whether a node may; it has to be among ``moving`` before the next one is asked about."""
        node = self._at.nodes.get(key)
        if node is None or not self._at.moving:
            return True
        return self._limits.full(node) is None and not (node.mode is Mode.VALIDATOR and _down_beside(node, self._at))


def _network(campaign: Campaign, node: Node, at: Picture) -> str:
    """Children of a SeiNetwork move when all others are held or handed back: its controller speaks to all at once."""
    if not node.network:
        return ""
    family = [other for other in at.nodes.values() if other.network == node.network]
    free = [each.key for each in family if not each.held and campaign.ended.get(each.key) != Outcome.DONE]
    return f"SeiNetwork {node.network}: not all of its nodes are held ({_few(free)})" if free else ""


def _others(campaign: Campaign, node: Node, at: Picture) -> str:
    if down := _down_beside(node, at):
        return f"chain {node.chain}: validator {_few(down)} is unavailable"
    unseen = [other.key for other in at.validators(node.chain) if other.key in campaign.signing and other is not node]
    if unseen:
        return f"chain {node.chain}: validator {_few(unseen)} has yet to be seen signing again"
    return ""


def _down_beside(node: Node, at: Picture) -> list[str]:
    """Give the other validators of a chain that are down, or may be so by our hand."""
    return [other.key for other in at.validators(node.chain) if other.key != node.key and at.down(other)]


def _chain(node: Node, turn: Turn, at: Picture) -> str:
    seen = at.sights.get(node.key)
    if seen is None or at.now - seen.at >= signing.LASTS:
        if node.key in at.asking:
            return f"chain {node.chain}: {node.key} is asked who signs"
        turn.ask.append(node.key)
        return ""
    if seen.problem:
        return f"chain {node.chain}: {node.key} does not tell who signs: {seen.problem}"
    if not signing.enough(seen):
        return f"chain {node.chain}: {seen.signers} of {seen.validators} validators in sight, less than two thirds"
    return ""


def _few(keys: Iterable[str]) -> str:
    names = sorted(keys)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
