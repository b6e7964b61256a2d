"""Judges who can reach a node: what NetworkPolicies let through, against what must be.

The controllers and the permitted clients reach the proxy; monitoring and the controllers reach the public port; nobody
reaches the sidecar's own; p2p and RPC stay as they are. Each finding names policy, rule and peer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from seimigrate.domain.findings import Finding, FindingSeverity
from seimigrate.domain.kube import selectors
from seimigrate.domain.plan.plan import Parameters
from seimigrate.domain.verify.network import ip_ranges, unexpected_peers
from seimigrate.domain.verify.network.inventory import NetworkInventory, NodePorts, ProtectedPort
from seimigrate.domain.verify.network.ip_ranges import IpBlock
from seimigrate.domain.verify.network.policies import Peer, Policy, Rule
from seimigrate.domain.verify.network.reachability import Endpoint, Port, rule_covers

STABLE_LABELS = frozenset({"sei.io/node", "sei.io/chain", "sei.io/role"})
"""The labels of a node's pod that policies may select by (docs/labels.md)."""

RENDER = "seimigrate policy render prints one that fits"
_WORST_FIRST = {severity: place for place, severity in enumerate(FindingSeverity)}
_Key = tuple[str, tuple[str, ...], NodePorts, tuple[Port, ...]]


class PolicyEvaluator:
    """Judges many nodes on one ground; what nodes have in common is worked out once."""

    def __init__(self, inventory: NetworkInventory, parameters: Parameters) -> None:
        self._ground = inventory
        self._network = inventory.network
        self._open = parameters.access.reachable_ports
        self._known: dict[_Key, tuple[Finding, ...]] = {}
        self._pods: dict[Peer, list[Endpoint]] = {}
        self._strangers = unexpected_peers.UnexpectedPeers(inventory.network)

    def evaluate(self, pod: Endpoint, doors: NodePorts) -> tuple[Finding, ...]:
        """Give everything that is found for a node's pod, the worst first."""
        if pod.on_host:
            what = "its pod is on the host's network, where NetworkPolicies have no say"
            return (
                Finding("host-network", FindingSeverity.UNKNOWN, f"Pod {pod}", what, "take it off the host's network"),
            )
        selecting = self._network.selecting(pod)
        key = (pod.namespace, tuple(policy.name for policy in selecting), doors, pod.ports)
        if key not in self._known:
            self._known[key] = tuple(self._shared(pod, doors, selecting))
        found = [*self._known[key], *self._required(pod, doors), *self._ground.unsupported_policies]
        return tuple(sorted(found, key=lambda finding: _WORST_FIRST[finding.severity]))

    def _shared(self, pod: Endpoint, doors: NodePorts, selecting: Sequence[Policy]) -> Iterator[Finding]:
        isolating = [policy for policy in selecting if policy.ingress is not None]
        if not isolating:
            yield self._not_isolated(pod, doors, selecting)
        for policy in isolating:
            for index, rule in enumerate(policy.ingress or ()):
                yield from self._too_broad(pod, doors, policy, index, rule)
        if isolating:
            yield from self._blocked_ports(pod, doors, isolating)
        yield from _outgoing(pod, doors, [policy for policy in selecting if policy.egress is not None])
        for policy in selecting:
            yield from _unstable_selector(policy)

    # Who gets in.

    def _not_isolated(self, pod: Endpoint, doors: NodePorts, selecting: Sequence[Policy]) -> Finding:
        who = f"everybody reaches {_ports(doors.protected)}"
        if selecting:
            names = ", ".join(f"{policy}" for policy in selecting)
            what = "selects the nodes' pods, but does not isolate them: its policyTypes lack Ingress"
            return Finding(
                "policy-does-not-isolate",
                FindingSeverity.ERROR,
                f"NetworkPolicy {names}",
                what,
                f"add it; {RENDER}",
                admits=who,
            )
        near = [policy for policy in self._network.of_namespace(pod.namespace) if policy.ingress is not None]
        if near:
            names = ", ".join(f"{p.name} ({selectors.text(p.selector) or 'all pods'})" for p in near[:3])
            what = f"none of its {len(near)} NetworkPolicies selects the nodes' pods: {names}"
            remedy = f"select pods by the label sei.io/node; {RENDER}"
            return Finding(
                "policy-does-not-select", FindingSeverity.ERROR, f"Namespace {pod.namespace}", what, remedy, admits=who
            )
        what = "has no NetworkPolicy that isolates the nodes' pods"
        return Finding("policy-missing", FindingSeverity.ERROR, f"Namespace {pod.namespace}", what, RENDER, admits=who)

    def _too_broad(self, pod: Endpoint, doors: NodePorts, policy: Policy, index: int, rule: Rule) -> Iterator[Finding]:
        opened = [door for door in doors.protected if rule_covers(rule, pod.ports, door.port)]
        for number, peer in enumerate(rule.peers or (None,)):
            by_text: dict[str, list[ProtectedPort]] = {}
            for door in opened:
                who = self._strangers.admitted_by(policy.namespace, peer, door.permitted)
                if who:
                    by_text.setdefault(who, []).append(door)
            for who, found in by_text.items():
                yield Finding(
                    "policy-too-broad",
                    FindingSeverity.ERROR,
                    f"NetworkPolicy {policy}",
                    f"lets others than the permitted reach {_ports(found)}",
                    "narrow it, or permit them in the plan: parameters.access",
                    field=f"ingress[{index}]" + (f".from[{number}]" if peer is not None else ""),
                    admits=who,
                )

    # Who is shut out.

    def _required(self, pod: Endpoint, doors: NodePorts) -> Iterator[Finding]:
        proxy, public, _ = doors.protected
        if not self._ground.controllers:
            what = "no Deployment of sei-k8s-controller was found: whether it reaches its nodes cannot be told"
            yield Finding(
                "controller-unknown",
                FindingSeverity.UNKNOWN,
                "Cluster",
                what,
                "name its account: --controller-account NS/NAME",
            )
        for controller in self._ground.controllers:
            live = self._existing_pods(controller.peer) or [controller.model]
            for door in (proxy, public):
                if shut := [each for each in live if not self._network.allows(each, pod, door.port)]:
                    yield self._blocked_peer("controller", f"Deployment {controller.name}", shut[0], pod, door)
        known = {controller.peer for controller in self._ground.controllers}
        for door, role in ((proxy, "client"), (public, "monitoring")):
            for peer in door.permitted:
                if peer not in known:
                    yield from self._permitted(role, peer, pod, door)

    def _permitted(self, role: str, peer: Peer, pod: Endpoint, door: ProtectedPort) -> Iterator[Finding]:
        """See that somebody of those whom the plan permits is let in: a policy may well be narrower than the plan."""
        about = unexpected_peers.name(peer)
        if peer.block is not None:
            address = ip_ranges.uncovered_address(peer.block, ())
            live = [Endpoint(addresses=(address,))] if address else []
        else:
            live = self._existing_pods(peer)
            if not self._network.matching_namespaces(peer.namespaces or selectors.EVERYTHING):
                what = f"is permitted as {role} by the plan, and there is no such namespace"
                yield Finding(
                    "permitted-namespace-missing",
                    FindingSeverity.WARNING,
                    about,
                    what,
                    "set parameters.access in the plan",
                )
                return
        if live and not any(self._network.allows(each, pod, door.port) for each in live):
            yield self._blocked_peer(role, about, live[0], pod, door)
        elif not live and not self._may_be_admitted(peer, pod, door):
            yield self._blocked_peer(role, about, None, pod, door)

    def _may_be_admitted(self, peer: Peer, pod: Endpoint, door: ProtectedPort) -> bool:
        isolating = [policy for policy in self._network.selecting(pod) if policy.ingress is not None]
        return not isolating or any(
            rule_covers(rule, pod.ports, door.port)
            and (
                not rule.peers
                or any(unexpected_peers.overlap(self._network, policy.namespace, p, peer) for p in rule.peers)
            )
            for policy in isolating
            for rule in policy.ingress or ()
        )

    def _existing_pods(self, peer: Peer) -> list[Endpoint]:
        if peer not in self._pods:
            there = self._network.matching_namespaces(peer.namespaces or selectors.EVERYTHING)
            wanted = peer.pods or selectors.EVERYTHING
            self._pods[peer] = [pod for name in sorted(there) for pod in self._network.pods_with(name, wanted)]
        return self._pods[peer]

    def _blocked_peer(
        self, role: str, about: str, source: Endpoint | None, pod: Endpoint, door: ProtectedPort
    ) -> Finding:
        if source is not None and self._network.allows_ingress(source, pod, door.port):
            why, isolating = "may not leave", [p for p in self._network.selecting(source) if p.egress is not None]
        else:
            why, isolating = "may not get in", [p for p in self._network.selecting(pod) if p.ingress is not None]
        return Finding(
            f"{role}-blocked",
            FindingSeverity.ERROR,
            about,
            f"cannot reach {_ports([door])}: by NetworkPolicy {', '.join(map(str, isolating))} it {why}",
            f"allow it there; {RENDER}",
        )

    def _blocked_ports(self, pod: Endpoint, doors: NodePorts, isolating: Sequence[Policy]) -> Iterator[Finding]:
        """Compare with what there was without a policy: everybody reached these ports."""
        names = ", ".join(str(policy) for policy in isolating)
        shut: list[Port] = []
        for port in doors.others:
            rules = [
                rule
                for policy in isolating
                for rule in policy.ingress or ()
                if rule_covers(rule, pod.ports, port.number, port.protocol)
            ]
            if not rules and port.name not in self._open:
                shut.append(port)
            elif not rules:
                yield Finding(
                    f"{port.name}-blocked",
                    FindingSeverity.ERROR,
                    f"NetworkPolicy {names}",
                    f"isolates the nodes' pods, and nobody may reach {_port(port)} any more",
                    f"add a rule for port {port.number}; {RENDER}",
                )
            elif port.name in self._open and not _admits_everything(rules):
                yield Finding(
                    f"{port.name}-restricted",
                    FindingSeverity.WARNING,
                    f"NetworkPolicy {names}",
                    f"lets only some reach {_port(port)}",
                    "see that these are all who need it",
                    admits="; ".join(sorted({unexpected_peers.name(peer) for rule in rules for peer in rule.peers})),
                )
        if shut:
            told = ", ".join(_port(port) for port in shut)
            yield Finding(
                "ports-blocked",
                FindingSeverity.WARNING,
                f"NetworkPolicy {names}",
                f"nobody may reach {told} any more",
                "see that nobody needs them, or add rules for them",
            )


def _admits_everything(rules: Sequence[Rule]) -> bool:
    blocks = [peer.block for rule in rules for peer in rule.peers if peer.block is not None]
    return any(not rule.peers for rule in rules) or ip_ranges.uncovered_address(IpBlock("0.0.0.0/0"), blocks) is None


def _outgoing(pod: Endpoint, doors: NodePorts, isolating: Sequence[Policy]) -> Iterator[Finding]:
    if not isolating:
        return
    names = ", ".join(str(policy) for policy in isolating)
    rules = [rule for policy in isolating for rule in policy.egress or ()]
    if not any(rule_covers(rule, pod.ports, doors.p2p) for rule in rules):
        yield Finding(
            "p2p-blocked",
            FindingSeverity.ERROR,
            f"NetworkPolicy {names}",
            f"isolates outgoing traffic, too, and the nodes may not call their peers' p2p ({doors.p2p}) any more",
            "leave Egress out of policyTypes, or add a rule",
        )
    yield Finding(
        "egress-isolated",
        FindingSeverity.WARNING,
        f"NetworkPolicy {names}",
        "isolates outgoing traffic, too; whether the API server (for the proxy's reviews) and DNS stay in reach "
        "is not judged",
        "see to it, or leave Egress out of policyTypes",
    )


def _unstable_selector(policy: Policy) -> Iterator[Finding]:
    others = [key for key in policy.selector.keys if key not in STABLE_LABELS]
    if others:
        yield Finding(
            "unstable-selector",
            FindingSeverity.WARNING,
            f"NetworkPolicy {policy}",
            f"selects nodes' pods by {', '.join(others)}, which is no label to rely on",
            "select by sei.io/node, sei.io/chain or sei.io/role (docs/labels.md)",
            field="podSelector",
        )


def _ports(doors: Sequence[ProtectedPort]) -> str:
    told = [f":{door.port} ({door.name})" for door in doors]
    return told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"


def _port(port: Port) -> str:
    return f":{port.number}" + (f" ({port.name})" if port.name else "")
