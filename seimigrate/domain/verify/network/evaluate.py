"""Evaluates NetworkPolicies: who can reach a node, compared with what the plan permits and requires.

Only the controllers and the permitted clients may reach the proxy, only the controllers and monitoring the public port,
and no client the sidecar's own port. Access to p2p and RPC must stay unrestricted. Each finding names the policy, the
rule and the peer.
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
"""The labels of a node's pod by which policies may select it (docs/labels.md)."""

RENDER = "to print a suitable policy: seimigrate policy render"
_SEVERITY_ORDER = {severity: index for index, severity in enumerate(FindingSeverity)}
_Key = tuple[str, tuple[str, ...], NodePorts, tuple[Port, ...]]


class PolicyEvaluator:
    """Evaluates many nodes against one inventory; shared results are computed once."""

    def __init__(self, inventory: NetworkInventory, parameters: Parameters) -> None:
        self._inventory = inventory
        self._network = inventory.network
        self._reachable_ports = parameters.access.reachable_ports
        self._cache: dict[_Key, tuple[Finding, ...]] = {}
        self._pods: dict[Peer, list[Endpoint]] = {}
        self._unexpected_peers = unexpected_peers.UnexpectedPeers(inventory.network)

    def evaluate(self, pod: Endpoint, ports: NodePorts) -> tuple[Finding, ...]:
        """Return the findings of a node's pod, the most severe first."""
        if pod.on_host:
            what = "the pod is on the host's network, where NetworkPolicies do not apply"
            return (
                Finding("host-network", FindingSeverity.UNKNOWN, f"Pod {pod}", what, "remove hostNetwork from the pod"),
            )
        selecting = self._network.selecting(pod)
        key = (pod.namespace, tuple(policy.name for policy in selecting), ports, pod.ports)
        if key not in self._cache:
            self._cache[key] = tuple(self._shared(pod, ports, selecting))
        findings = [*self._cache[key], *self._required(pod, ports), *self._inventory.unsupported_policies]
        return tuple(sorted(findings, key=lambda finding: _SEVERITY_ORDER[finding.severity]))

    def _shared(self, pod: Endpoint, ports: NodePorts, selecting: Sequence[Policy]) -> Iterator[Finding]:
        isolating = [policy for policy in selecting if policy.ingress is not None]
        if not isolating:
            yield self._not_isolated(pod, ports, selecting)
        for policy in isolating:
            for index, rule in enumerate(policy.ingress or ()):
                yield from self._too_broad(pod, ports, policy, index, rule)
        if isolating:
            yield from self._blocked_ports(pod, ports, isolating)
        yield from _outgoing(pod, ports, [policy for policy in selecting if policy.egress is not None])
        for policy in selecting:
            yield from _unstable_selector(policy)

    # Peers that are admitted.

    def _not_isolated(self, pod: Endpoint, ports: NodePorts, selecting: Sequence[Policy]) -> Finding:
        who = f"{_ports(ports.protected)} are reachable from anywhere"
        if selecting:
            names = ", ".join(f"{policy}" for policy in selecting)
            what = "selects the node pods but does not isolate them: policyTypes lacks Ingress"
            return Finding(
                "policy-does-not-isolate",
                FindingSeverity.ERROR,
                f"NetworkPolicy {names}",
                what,
                f"add Ingress; {RENDER}",
                admits=who,
            )
        others = [policy for policy in self._network.of_namespace(pod.namespace) if policy.ingress is not None]
        if others:
            names = ", ".join(f"{p.name} ({selectors.text(p.selector) or 'all pods'})" for p in others[:3])
            what = f"none of its {len(others)} NetworkPolicies selects the node pods: {names}"
            remedy = f"select pods by the label sei.io/node; {RENDER}"
            return Finding(
                "policy-does-not-select", FindingSeverity.ERROR, f"Namespace {pod.namespace}", what, remedy, admits=who
            )
        what = "has no NetworkPolicy that isolates the node pods"
        return Finding("policy-missing", FindingSeverity.ERROR, f"Namespace {pod.namespace}", what, RENDER, admits=who)

    def _too_broad(self, pod: Endpoint, ports: NodePorts, policy: Policy, index: int, rule: Rule) -> Iterator[Finding]:
        covered = [port for port in ports.protected if rule_covers(rule, pod.ports, port.port)]
        for number, peer in enumerate(rule.peers or (None,)):
            by_text: dict[str, list[ProtectedPort]] = {}
            for port in covered:
                who = self._unexpected_peers.admitted_by(policy.namespace, peer, port.permitted)
                if who:
                    by_text.setdefault(who, []).append(port)
            for who, admitted in by_text.items():
                yield Finding(
                    "policy-too-broad",
                    FindingSeverity.ERROR,
                    f"NetworkPolicy {policy}",
                    f"admits peers that the plan does not permit to {_ports(admitted)}",
                    "restrict the rule, or permit the peers in the plan: parameters.access",
                    field=f"ingress[{index}]" + (f".from[{number}]" if peer is not None else ""),
                    admits=who,
                )

    # Peers that are blocked.

    def _required(self, pod: Endpoint, ports: NodePorts) -> Iterator[Finding]:
        proxy, public, _ = ports.protected
        if not self._inventory.controllers:
            what = "no Deployment of sei-k8s-controller was found: cannot determine whether it reaches its nodes"
            yield Finding(
                "controller-unknown",
                FindingSeverity.UNKNOWN,
                "Cluster",
                what,
                "name its ServiceAccount: --controller-account NAMESPACE/NAME",
            )
        for controller in self._inventory.controllers:
            live = self._existing_pods(controller.peer) or [controller.model]
            for port in (proxy, public):
                if blocked := [source for source in live if not self._network.allows(source, pod, port.port)]:
                    yield self._blocked_peer("controller", f"Deployment {controller.name}", blocked[0], pod, port)
        controllers = {controller.peer for controller in self._inventory.controllers}
        for port, role in ((proxy, "client"), (public, "monitoring")):
            for peer in port.permitted:
                if peer not in controllers:
                    yield from self._permitted(role, peer, pod, port)

    def _permitted(self, role: str, peer: Peer, pod: Endpoint, port: ProtectedPort) -> Iterator[Finding]:
        """Check that at least one endpoint of a permitted peer is admitted: a policy may be narrower than the plan."""
        about = unexpected_peers.name(peer)
        if peer.block is not None:
            address = ip_ranges.uncovered_address(peer.block, ())
            live = [Endpoint(addresses=(address,))] if address else []
        else:
            live = self._existing_pods(peer)
            if not self._network.matching_namespaces(peer.namespaces or selectors.EVERYTHING):
                what = f"the plan permits it as {role}, but no such namespace exists"
                yield Finding(
                    "permitted-namespace-missing",
                    FindingSeverity.WARNING,
                    about,
                    what,
                    "correct parameters.access in the plan",
                )
                return
        if live and not any(self._network.allows(source, pod, port.port) for source in live):
            yield self._blocked_peer(role, about, live[0], pod, port)
        elif not live and not self._may_be_admitted(peer, pod, port):
            yield self._blocked_peer(role, about, None, pod, port)

    def _may_be_admitted(self, peer: Peer, pod: Endpoint, port: ProtectedPort) -> bool:
        isolating = [policy for policy in self._network.selecting(pod) if policy.ingress is not None]
        return not isolating or any(
            rule_covers(rule, pod.ports, port.port)
            and (
                not rule.peers
                or any(unexpected_peers.overlap(self._network, policy.namespace, p, peer) for p in rule.peers)
            )
            for policy in isolating
            for rule in policy.ingress or ()
        )

    def _existing_pods(self, peer: Peer) -> list[Endpoint]:
        if peer not in self._pods:
            namespaces = self._network.matching_namespaces(peer.namespaces or selectors.EVERYTHING)
            selector = peer.pods or selectors.EVERYTHING
            self._pods[peer] = [pod for name in sorted(namespaces) for pod in self._network.pods_with(name, selector)]
        return self._pods[peer]

    def _blocked_peer(
        self, role: str, about: str, source: Endpoint | None, pod: Endpoint, port: ProtectedPort
    ) -> Finding:
        if source is not None and self._network.allows_ingress(source, pod, port.port):
            direction, isolating = "egress", [p for p in self._network.selecting(source) if p.egress is not None]
        else:
            direction, isolating = "ingress", [p for p in self._network.selecting(pod) if p.ingress is not None]
        return Finding(
            f"{role}-blocked",
            FindingSeverity.ERROR,
            about,
            f"cannot reach {_ports([port])}: NetworkPolicy {', '.join(map(str, isolating))} blocks its {direction}",
            f"add a rule that admits it; {RENDER}",
        )

    def _blocked_ports(self, pod: Endpoint, ports: NodePorts, isolating: Sequence[Policy]) -> Iterator[Finding]:
        """Yield the ports that any client could reach without a policy and that the policies block or restrict."""
        names = ", ".join(str(policy) for policy in isolating)
        blocked: list[Port] = []
        for port in ports.others:
            rules = [
                rule
                for policy in isolating
                for rule in policy.ingress or ()
                if rule_covers(rule, pod.ports, port.number, port.protocol)
            ]
            if not rules and port.name not in self._reachable_ports:
                blocked.append(port)
            elif not rules:
                yield Finding(
                    f"{port.name}-blocked",
                    FindingSeverity.ERROR,
                    f"NetworkPolicy {names}",
                    f"isolates the node pods and admits no client to {_port(port)}",
                    f"add a rule for port {port.number}; {RENDER}",
                )
            elif port.name in self._reachable_ports and not _admits_everything(rules):
                yield Finding(
                    f"{port.name}-restricted",
                    FindingSeverity.WARNING,
                    f"NetworkPolicy {names}",
                    f"admits only some clients to {_port(port)}",
                    "check that these are all clients that need it",
                    admits="; ".join(sorted({unexpected_peers.name(peer) for rule in rules for peer in rule.peers})),
                )
        if blocked:
            listed = ", ".join(_port(port) for port in blocked)
            yield Finding(
                "ports-blocked",
                FindingSeverity.WARNING,
                f"NetworkPolicy {names}",
                f"admits no client to {listed}",
                "check that no client needs these ports, or add rules for them",
            )


def _admits_everything(rules: Sequence[Rule]) -> bool:
    blocks = [peer.block for rule in rules for peer in rule.peers if peer.block is not None]
    return any(not rule.peers for rule in rules) or ip_ranges.uncovered_address(IpBlock("0.0.0.0/0"), blocks) is None


def _outgoing(pod: Endpoint, ports: NodePorts, isolating: Sequence[Policy]) -> Iterator[Finding]:
    if not isolating:
        return
    names = ", ".join(str(policy) for policy in isolating)
    rules = [rule for policy in isolating for rule in policy.egress or ()]
    if not any(rule_covers(rule, pod.ports, ports.p2p) for rule in rules):
        yield Finding(
            "p2p-blocked",
            FindingSeverity.ERROR,
            f"NetworkPolicy {names}",
            f"isolates outgoing traffic and blocks the nodes' connections to the p2p port ({ports.p2p}) of their peers",
            "remove Egress from policyTypes, or add a rule",
        )
    yield Finding(
        "egress-isolated",
        FindingSeverity.WARNING,
        f"NetworkPolicy {names}",
        "isolates outgoing traffic; access to the API server (for the proxy's reviews) and to DNS is not evaluated",
        "check that both are admitted, or remove Egress from policyTypes",
    )


def _unstable_selector(policy: Policy) -> Iterator[Finding]:
    others = [key for key in policy.selector.keys if key not in STABLE_LABELS]
    if others:
        yield Finding(
            "unstable-selector",
            FindingSeverity.WARNING,
            f"NetworkPolicy {policy}",
            f"selects node pods by {', '.join(others)}, which is not part of the label contract",
            "select by sei.io/node, sei.io/chain or sei.io/role (docs/labels.md)",
            field="podSelector",
        )


def _ports(ports: Sequence[ProtectedPort]) -> str:
    texts = [f":{port.port} ({port.name})" for port in ports]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _port(port: Port) -> str:
    return f":{port.number}" + (f" ({port.name})" if port.name else "")
