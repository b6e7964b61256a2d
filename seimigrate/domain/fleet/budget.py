"""The disruption budget: which nodes may start or roll back now, counting unavailable nodes of any cause.

At most one validator per chain is down. The next one starts only after the previous one has resumed signing, and only
while at least two thirds of the chain's validators are signing.
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
    """The nodes that may start, the validators to check first, and why other nodes wait."""

    startable: list[str] = field(default_factory=list)
    check_signing: list[str] = field(default_factory=list)
    wait_reasons: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Limit:
    """One limit of a budget, and the unavailable nodes in its scope."""

    scope: str
    most: int
    down: set[str]

    @classmethod
    def of(cls, scope: str, amount: str, nodes: Iterable[FleetNode], fleet: FleetObservation) -> _Limit:
        in_scope = list(nodes)
        return cls(scope, max_count(amount, len(in_scope)), {node.key for node in in_scope if fleet.down(node)})

    def reason(self) -> str:
        return f"{self.scope} budget exhausted: {len(self.down)}/{self.most} unavailable ({_few(self.down)})"


class _Limits:
    """The limits of the fleet, of chains and of namespaces, each computed once."""

    def __init__(self, keys: Iterable[str], allowed: MaxUnavailable, fleet: FleetObservation) -> None:
        self._allowed = allowed
        self._fleet = fleet
        of_run = (fleet.nodes[key] for key in keys if key in fleet.nodes)
        self._fleet_limit = _Limit.of("fleet", allowed.fleet, of_run, fleet)
        self._scoped: dict[tuple[str, str], _Limit] = {}

    def of(self, node: FleetNode) -> list[_Limit]:
        limits = [self._fleet_limit]
        if self._allowed.chain is not None:
            limits.append(self._scope("chain", node.chain, self._allowed.chain, lambda other: other.chain))
        if self._allowed.namespace is not None:
            limits.append(self._scope("namespace", node.namespace, self._allowed.namespace, lambda o: o.namespace))
        return limits

    def exceeded_by(self, node: FleetNode) -> _Limit | None:
        """Return a limit that this node would exceed; a node that is already down exceeds none."""
        return next((lim for lim in self.of(node) if node.key not in lim.down and len(lim.down) >= lim.most), None)

    def _scope(self, kind: str, name: str, amount: str, name_of: Callable[[FleetNode], str]) -> _Limit:
        if (kind, name) not in self._scoped:
            in_scope = (node for node in self._fleet.nodes.values() if name_of(node) == name)
            self._scoped[kind, name] = _Limit.of(f"{kind} {name}", amount, in_scope, self._fleet)
        return self._scoped[kind, name]


def may_start(
    campaign: Campaign, waiting: Sequence[str], allowed: MaxUnavailable, fleet: FleetObservation
) -> StartDecision:
    """Return the nodes that may start now, in order; a signing status is fresh for ``SIGNING_TTL`` seconds."""
    decision = StartDecision()
    limits = _Limits(campaign.keys, allowed, fleet)
    chains: set[str] = set()
    for key in waiting:
        node = fleet.nodes.get(key)
        if node is None:
            decision.startable.append(key)  # the node was deleted; its start reports that
            continue
        exceeded = limits.exceeded_by(node)
        reason = exceeded.reason() if exceeded is not None else _unheld_siblings(campaign, node, fleet)
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
    """The budget of rollbacks: within the limits, at most one validator per chain.

    One node may always roll back, so that a rollback never waits for unavailable nodes outside of the run. For the same
    reason it requires no quorum, and a validator waits only until the previous one is Ready, not until it signs.
    """

    def __init__(self, keys: Iterable[str], allowed: MaxUnavailable, fleet: FleetObservation) -> None:
        self._fleet = fleet
        self._limits = _Limits(keys, allowed, fleet)

    def allows(self, key: str) -> bool:
        """Return whether a node may roll back; it must be in progress before the next one is evaluated."""
        node = self._fleet.nodes.get(key)
        if node is None or not self._fleet.in_progress:
            return True
        return self._limits.exceeded_by(node) is None and not (
            node.mode is Mode.VALIDATOR and _other_validators_down(node, self._fleet)
        )


def _unheld_siblings(campaign: Campaign, node: FleetNode, fleet: FleetObservation) -> str:
    """Return why a SeiNetwork's node must wait: its controller updates all nodes that are not held simultaneously."""
    if not node.network:
        return ""
    siblings = [other for other in fleet.nodes.values() if other.network == node.network]
    unheld = [other.key for other in siblings if not other.held and campaign.finished.get(other.key) != Outcome.DONE]
    return f"SeiNetwork {node.network}: nodes not yet held: {_few(unheld)}" if unheld else ""


def _other_validators(campaign: Campaign, node: FleetNode, fleet: FleetObservation) -> str:
    if down := _other_validators_down(node, fleet):
        return f"chain {node.chain}: validator {_few(down)} is unavailable"
    not_signing = [
        other.key
        for other in fleet.validators(node.chain)
        if other.key in campaign.awaiting_signature and other is not node
    ]
    if not_signing:
        return f"chain {node.chain}: validator {_few(not_signing)} has not resumed signing"
    return ""


def _other_validators_down(node: FleetNode, fleet: FleetObservation) -> list[str]:
    """Return the other validators of a chain that are unavailable or in progress."""
    return [other.key for other in fleet.validators(node.chain) if other.key != node.key and fleet.down(other)]


def _quorum(node: FleetNode, decision: StartDecision, fleet: FleetObservation) -> str:
    status = fleet.signing.get(node.key)
    if status is None or fleet.now - status.time >= signing.SIGNING_TTL:
        if node.key in fleet.pending_checks:
            return f"chain {node.chain}: querying signatures from {node.key}"
        decision.check_signing.append(node.key)
        return ""
    if status.problem:
        return f"chain {node.chain}: cannot read signatures from {node.key}: {status.problem}"
    if not signing.has_quorum(status):
        return f"chain {node.chain}: {status.signers} of {status.validators} validators signing, below two thirds"
    return ""


def _few(keys: Iterable[str]) -> str:
    names = sorted(keys)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
