"""The connections that NetworkPolicies admit, from an endpoint to a port of another.

A pod that no policy isolates is reachable by any client. An isolated pod is reachable by the union of what the policies
that select it admit. Both ends must admit a connection (networking.k8s.io/v1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.kube.selectors import Labels, Selector
from seimigrate.domain.verify.network import ip_ranges
from seimigrate.domain.verify.network.ip_ranges import Address
from seimigrate.domain.verify.network.policies import Peer, Policy, Ports, Rule

NAME_LABEL = "kubernetes.io/metadata.name"
"""The label with a namespace's name, set by the API server."""


@dataclass(frozen=True, slots=True)
class Port:
    """A container's port."""

    number: int
    protocol: str = "TCP"
    name: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """One end of a connection: a pod, or an address if it has no namespace.

    ``on_host``: the pod shares the network of its Kubernetes node (``node``), where policies for pods do not apply.
    """

    namespace: str = ""
    name: str = ""
    labels: Labels = field(default_factory=dict)
    addresses: tuple[Address, ...] = ()
    ports: tuple[Port, ...] = ()
    node: str = ""
    on_host: bool = False

    @property
    def is_pod(self) -> bool:
        """Return whether selectors can match the endpoint."""
        return bool(self.namespace) and not self.on_host

    def __str__(self) -> str:
        """Return ``namespace/name``, or the address."""
        return f"{self.namespace}/{self.name}" if self.namespace else ", ".join(map(str, self.addresses))


def endpoint(pod: Object) -> Endpoint:
    """Return a pod as an endpoint."""
    meta, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    ips = [ip["ip"] for ip in status.get("podIPs") or ()] or ([status["podIP"]] if status.get("podIP") else [])
    return Endpoint(
        namespace=meta["namespace"],
        name=meta["name"],
        labels=meta.get("labels") or {},
        addresses=tuple(ip_ranges.parse(ip) for ip in ips),
        ports=tuple(declared_ports(spec)),
        node=spec.get("nodeName") or "",
        on_host=bool(spec.get("hostNetwork")),
    )


def declared_ports(spec: Object) -> Iterator[Port]:
    """Yield the ports of a pod's containers, including sidecars (init containers that keep running).

    Other init containers finish before the pod starts, so their ports are unreachable.
    """
    sidecars = [init for init in spec.get("initContainers") or () if init.get("restartPolicy") == "Always"]
    for container in (*sidecars, *(spec.get("containers") or ())):
        for port in container.get("ports") or ():
            yield Port(port["containerPort"], port.get("protocol") or "TCP", port.get("name") or "")


class Network:
    """The input of reachability: the namespaces' labels, the policies and the pods."""

    def __init__(
        self, namespaces: Mapping[str, Labels], policies: Iterable[Policy], pods: Iterable[Endpoint] = ()
    ) -> None:
        self.namespaces = namespaces
        self.policies = tuple(policies)
        self.pods = tuple(pods)
        self._by_namespace: dict[str, _SelectorIndex] = {}
        for policy in self.policies:
            self._by_namespace.setdefault(policy.namespace, _SelectorIndex()).add(policy)
        self._matching: dict[Selector, frozenset[str]] = {}

    def selecting(self, pod: Endpoint) -> list[Policy]:
        """Return the policies that select a pod, sorted by name."""
        index = self._by_namespace.get(pod.namespace)
        if index is None or not pod.is_pod:
            return []
        return sorted(index.selecting(pod.labels), key=lambda policy: policy.name)

    def of_namespace(self, namespace: str) -> list[Policy]:
        """Return all policies of a namespace."""
        index = self._by_namespace.get(namespace)
        return sorted(index.all, key=lambda policy: policy.name) if index else []

    def matching_namespaces(self, selector: Selector) -> frozenset[str]:
        """Return the namespaces that a selector matches."""
        if selector not in self._matching:
            names = (name for name, labels in self.namespaces.items() if selector.matches(labels))
            self._matching[selector] = frozenset(names)
        return self._matching[selector]

    @cached_property
    def pods_of(self) -> Mapping[str, list[Endpoint]]:
        """Return the pods by namespace."""
        pods: dict[str, list[Endpoint]] = {}
        for pod in self.pods:
            pods.setdefault(pod.namespace, []).append(pod)
        return pods

    def pods_with(self, namespace: str, selector: Selector) -> list[Endpoint]:
        """Return a namespace's pods that a selector matches."""
        if selector.required is None:
            candidates = self.pods_of.get(namespace, [])
        else:
            key, values = selector.required
            candidates = [pod for value in sorted(values) for pod in self._by_label.get((namespace, key, value), ())]
        return [pod for pod in candidates if selector.matches(pod.labels)]

    @cached_property
    def _by_label(self) -> Mapping[tuple[str, str, str], list[Endpoint]]:
        pods: dict[tuple[str, str, str], list[Endpoint]] = {}
        for pod in self.pods:
            for key, value in pod.labels.items():
                pods.setdefault((pod.namespace, key, value), []).append(pod)
        return pods

    def allows(self, source: Endpoint, destination: Endpoint, port: int, protocol: str = "TCP") -> bool:
        """Return whether the policies admit a connection, by any pair of addresses of the same IP version."""
        if source is destination or (source.is_pod and str(source) == str(destination)):
            return True  # a pod always reaches itself (networking.k8s.io/v1)
        return any(
            self._allows_egress(source, destination, to, port, protocol)
            and self._allows_ingress(source, from_, destination, port, protocol)
            for from_, to in _address_pairs(source, destination)
        )

    def allows_ingress(self, source: Endpoint, destination: Endpoint, port: int, protocol: str = "TCP") -> bool:
        """Return whether the destination's policies admit a connection, regardless of the source's."""
        pairs = _address_pairs(source, destination)
        return any(self._allows_ingress(source, from_, destination, port, protocol) for from_, _ in pairs)

    def _allows_ingress(
        self, source: Endpoint, address: Address | None, destination: Endpoint, port: int, protocol: str
    ) -> bool:
        if not destination.is_pod or (source.on_host and source.node and source.node == destination.node):
            return True  # a pod's own Kubernetes node always reaches it (networking.k8s.io/v1)
        rules = [policy for policy in self.selecting(destination) if policy.ingress is not None]
        return not rules or any(
            rule_covers(rule, destination.ports, port, protocol) and self._admits(policy, rule, source, address)
            for policy in rules
            for rule in policy.ingress or ()
        )

    def _allows_egress(
        self, source: Endpoint, destination: Endpoint, address: Address | None, port: int, protocol: str
    ) -> bool:
        rules = [policy for policy in self.selecting(source) if policy.egress is not None]
        return not rules or any(
            rule_covers(rule, destination.ports, port, protocol) and self._admits(policy, rule, destination, address)
            for policy in rules
            for rule in policy.egress or ()
        )

    def _admits(self, policy: Policy, rule: Rule, other: Endpoint, address: Address | None) -> bool:
        return not rule.peers or any(self.is_peer(policy.namespace, peer, other, address) for peer in rule.peers)

    def is_peer(self, namespace: str, peer: Peer, other: Endpoint, address: Address | None) -> bool:
        """Return whether a peer of a policy in ``namespace`` matches an endpoint."""
        if peer.block is not None:
            return address is not None and address in peer.block
        if peer.is_empty or not other.is_pod:
            return False
        if peer.namespaces is None:
            in_namespace = other.namespace == namespace
        else:
            in_namespace = other.namespace in self.matching_namespaces(peer.namespaces)
        return in_namespace and (peer.pods is None or peer.pods.matches(other.labels))


def rule_covers(rule: Rule, named: tuple[Port, ...], port: int, protocol: str = "TCP") -> bool:
    """Return whether a rule covers a port of the destination, whose ports ``named`` resolve port names."""
    return not rule.ports or any(_covers_port(entry, named, port, protocol) for entry in rule.ports)


def _covers_port(ports: Ports, named: tuple[Port, ...], port: int, protocol: str) -> bool:
    if ports.protocol != protocol:
        return False
    if ports.port is None:
        return True
    if isinstance(ports.port, str):
        return any((p.name, p.protocol, p.number) == (ports.port, protocol, port) for p in named)
    return ports.port <= port <= (ports.port if ports.end is None else ports.end)


def _address_pairs(source: Endpoint, destination: Endpoint) -> Iterator[tuple[Address | None, Address | None]]:
    """Yield the address pairs of the same IP version; an end without addresses is known by its labels only."""
    if not source.addresses or not destination.addresses:
        for from_ in source.addresses or (None,):
            for to in destination.addresses or (None,):
                yield from_, to
        return
    for source_address in source.addresses:
        for destination_address in destination.addresses:
            if source_address.version == destination_address.version:
                yield source_address, destination_address


class _SelectorIndex:
    """The policies of one namespace, indexed by a label that they require, for thousands of pods."""

    def __init__(self) -> None:
        self.all: list[Policy] = []
        self._by_label: dict[tuple[str, str], list[Policy]] = {}
        self._rest: list[Policy] = []

    def add(self, policy: Policy) -> None:
        self.all.append(policy)
        required = policy.selector.required
        if required is None:
            self._rest.append(policy)
            return
        key, values = required
        for value in values:
            self._by_label.setdefault((key, value), []).append(policy)

    def selecting(self, labels: Labels) -> list[Policy]:
        candidates = [policy for label in labels.items() for policy in self._by_label.get(label, ())]
        return [policy for policy in (*self._rest, *candidates) if policy.selector.matches(labels)]
