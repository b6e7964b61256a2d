"""Which nodes may start or go back now: never more unavailable than the plan allows, whatever made them so.

Of the validators of one chain never two, the next one only after the last one signs again, and none while less than
two thirds of the chain's validators are in sight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from seimigrate.domain.fleet import signing
from seimigrate.domain.fleet.campaign import Campaign
from seimigrate.domain.fleet.observation import FleetNode, FleetObservation
from seimigrate.domain.node.record import Outcome
from seimigrate.domain.plan.fleet import MaxUnavailable, max_count
from seimigrate.domain.plan.plan import Mode


@dataclass(slots=True)
class StartDecision:
    """What may start, which validators have to be asked first, and why others wait."""

    startable: list[str] = field(default_factory=list)
    check_signing: list[str] = field(default_factory=list)
    wait_reasons: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Limit:
    """One limit: how many of some nodes may be down, and which of them are."""

    what: str
    most: int
    down: set[str]

    @classmethod
    def of(cls, what: str, amount: str, nodes: Iterable[FleetNode], fleet: FleetObservation) -> _Limit:
        among = list(nodes)
        return cls(what, max_count(amount, len(among)), {node.key for node in among if fleet.down(node)})

    def reason(self) -> str:
        return f"{self.what}: {len(self.down)} of at most {self.most} unavailable ({_few(self.down)})"


class _Limits:
    """The limits of the fleet, of chains and of namespaces, each counted once."""

    def __init__(self, keys: Iterable[str], allowed: MaxUnavailable, fleet: FleetObservation) -> None:
        self._allowed = allowed
        self._fleet = fleet
        mine = (fleet.nodes[key] for key in keys if key in fleet.nodes)
        self._fleet_limit = _Limit.of("the fleet", allowed.fleet, mine, fleet)
        self._known: dict[tuple[str, str], _Limit] = {}

    def of(self, node: FleetNode) -> list[_Limit]:
        found = [self._fleet_limit]
        if self._allowed.chain is not None:
            found.append(self._scope("chain", node.chain, self._allowed.chain, lambda other: other.chain))
        if self._allowed.namespace is not None:
            found.append(self._scope("namespace", node.namespace, self._allowed.namespace, lambda o: o.namespace))
        return found

    def exceeded_by(self, node: FleetNode) -> _Limit | None:
        """Give a limit that this node would exceed; one that is down already takes nothing more away."""
        return next((each for each in self.of(node) if node.key not in each.down and len(each.down) >= each.most), None)

    def _scope(self, what: str, name: str, amount: str, of: Callable[[FleetNode], str]) -> _Limit:
        if (what, name) not in self._known:
            among = (node for node in self._fleet.nodes.values() if of(node) == name)
            self._known[what, name] = _Limit.of(f"{what} {name}", amount, among, self._fleet)
        return self._known[what, name]


def may_start(
    campaign: Campaign, waiting: Sequence[str], allowed: MaxUnavailable, fleet: FleetObservation
) -> StartDecision:
    """Give the nodes that may start now, in order; what is said of a validator counts for some seconds."""
    decision = StartDecision()
    limits = _Limits(campaign.keys, allowed, fleet)
    chains: set[str] = set()
    for key in waiting:
        node = fleet.nodes.get(key)
        if node is None:
            decision.startable.append(key)  # it was deleted: whoever starts it says so
            continue
        full = limits.exceeded_by(node)
        reason = full.reason() if full is not None else _unheld_siblings(campaign, node, fleet)
        if not reason and node.mode is Mode.VALIDATOR:
            if node.chain in chains:
                continue
            chains.add(node.chain)
            reason = _other_validators(campaign, node, fleet) or _quorum(node, decision, fleet)
        if reason:
            if reason not in decision.wait_reasons:
                decision.wait_reasons.append(reason)
        elif key not in decision.check_signing:
            decision.startable.append(key)
            for limit in limits.of(node):
                limit.down.add(key)
    return decision


class RollbackBudget:
    """Who may go back now: within the budgets, of the validators of one chain never two.

    One may always: a way back must not wait for what others have taken down. For the same reason it asks no chain who
    signs, and no validator waits until the last one signs again, only until it is Ready.
    """

    def __init__(self, keys: Iterable[str], allowed: MaxUnavailable, fleet: FleetObservation) -> None:
        self._fleet = fleet
        self._limits = _Limits(keys, allowed, fleet)

    def allows(self, key: str) -> bool:
        """Tell whether a node may; it has to be among ``moving`` before the next one is asked about."""
        node = self._fleet.nodes.get(key)
        if node is None or not self._fleet.in_progress:
            return True
        return self._limits.exceeded_by(node) is None and not (
            node.mode is Mode.VALIDATOR and _other_validators_down(node, self._fleet)
        )


def _unheld_siblings(campaign: Campaign, node: FleetNode, fleet: FleetObservation) -> str:
    """Children of a SeiNetwork move when all others are held or handed back: its controller speaks to all at once."""
    if not node.network:
        return ""
    family = [other for other in fleet.nodes.values() if other.network == node.network]
    free = [each.key for each in family if not each.held and campaign.finished.get(each.key) != Outcome.DONE]
    return f"SeiNetwork {node.network}: not all of its nodes are held ({_few(free)})" if free else ""


def _other_validators(campaign: Campaign, node: FleetNode, fleet: FleetObservation) -> str:
    if down := _other_validators_down(node, fleet):
        return f"chain {node.chain}: validator {_few(down)} is unavailable"
    unseen = [
        other.key
        for other in fleet.validators(node.chain)
        if other.key in campaign.awaiting_signature and other is not node
    ]
    if unseen:
        return f"chain {node.chain}: validator {_few(unseen)} has yet to be seen signing again"
    return ""


def _other_validators_down(node: FleetNode, fleet: FleetObservation) -> list[str]:
    """Give the other validators of a chain that are down, or may be so by our hand."""
    return [other.key for other in fleet.validators(node.chain) if other.key != node.key and fleet.down(other)]


def _quorum(node: FleetNode, decision: StartDecision, fleet: FleetObservation) -> str:
    seen = fleet.signing.get(node.key)
    if seen is None or fleet.now - seen.time >= signing.SIGNING_TTL:
        if node.key in fleet.pending_checks:
            return f"chain {node.chain}: {node.key} is asked who signs"
        decision.check_signing.append(node.key)
        return ""
    if seen.problem:
        return f"chain {node.chain}: {node.key} does not tell who signs: {seen.problem}"
    if not signing.has_quorum(seen):
        return f"chain {node.chain}: {seen.signers} of {seen.validators} validators in sight, less than two thirds"
    return ""


def _few(keys: Iterable[str]) -> str:
    names = sorted(keys)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
