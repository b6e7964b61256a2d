"""What NetworkPolicies let through: from an endpoint to a port of another.

A pod that no policy isolates may be reached by everybody; one that is isolated, by the union of what the policies
that select it allow. Both ends must allow a connection (networking.k8s.io/v1).
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
"""The label with a namespace's own name, which the API server sets."""


@dataclass(frozen=True, slots=True)
class Port:
    """A container's port."""

    number: int
    protocol: str = "TCP"
    name: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """One end of a connection: a pod, or without a namespace just an address.

    ``on_host``: the pod shares the network of its Kubernetes node (``node``), where pod policies have no say.
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
        """Tell whether selectors can match it."""
        return bool(self.namespace) and not self.on_host

    def __str__(self) -> str:
        """Give ``namespace/name``, or the address."""
        return f"{self.namespace}/{self.name}" if self.namespace else ", ".join(map(str, self.addresses))


def endpoint(pod: Object) -> Endpoint:
    """Read a pod as an endpoint."""
    meta, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    found = [each["ip"] for each in status.get("podIPs") or ()] or ([status["podIP"]] if status.get("podIP") else [])
    return Endpoint(
        namespace=meta["namespace"],
        name=meta["name"],
        labels=meta.get("labels") or {},
        addresses=tuple(ip_ranges.parse(each) for each in found),
        ports=tuple(declared_ports(spec)),
        node=spec.get("nodeName") or "",
        on_host=bool(spec.get("hostNetwork")),
    )


def declared_ports(spec: Object) -> Iterator[Port]:
    """Give the ports of a pod's containers, and of those init containers that keep running beside them.

    An init container that ends before the pod starts has no port that anybody could reach.
    """
    running = [each for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always"]
    for container in (*running, *(spec.get("containers") or ())):
        for port in container.get("ports") or ():
            yield Port(port["containerPort"], port.get("protocol") or "TCP", port.get("name") or "")


class Network:
    """All that decides who reaches whom: the namespaces' labels, the policies, and the pods that are known."""

    def __init__(
        self, namespaces: Mapping[str, Labels], policies: Iterable[Policy], pods: Iterable[Endpoint] = ()
    ) -> None:
        self.namespaces = namespaces
        self.policies = tuple(policies)
        self.pods = tuple(pods)
        self._by_namespace: dict[str, _SelectorIndex] = {}
        for policy in self.policies:
            self._by_namespace.setdefault(policy.namespace, _SelectorIndex()).add(policy)
        self._chosen: dict[Selector, frozenset[str]] = {}

    def selecting(self, pod: Endpoint) -> list[Policy]:
        """Give the policies that select a pod, in the order of their names."""
        choice = self._by_namespace.get(pod.namespace)
        if choice is None or not pod.is_pod:
            return []
        return sorted(choice.selecting(pod.labels), key=lambda policy: policy.name)

    def of_namespace(self, namespace: str) -> list[Policy]:
        """Give all policies of a namespace."""
        choice = self._by_namespace.get(namespace)
        return sorted(choice.all, key=lambda policy: policy.name) if choice else []

    def matching_namespaces(self, selector: Selector) -> frozenset[str]:
        """Give the namespaces that a selector chooses."""
        if selector not in self._chosen:
            found = (name for name, labels in self.namespaces.items() if selector.matches(labels))
            self._chosen[selector] = frozenset(found)
        return self._chosen[selector]

    @cached_property
    def pods_of(self) -> Mapping[str, list[Endpoint]]:
        """Give the pods by their namespace."""
        found: dict[str, list[Endpoint]] = {}
        for pod in self.pods:
            found.setdefault(pod.namespace, []).append(pod)
        return found

    def pods_with(self, namespace: str, selector: Selector) -> list[Endpoint]:
        """Give a namespace's pods that a selector matches."""
        if selector.required is None:
            likely = self.pods_of.get(namespace, [])
        else:
            key, values = selector.required
            likely = [pod for value in sorted(values) for pod in self._by_label.get((namespace, key, value), ())]
        return [pod for pod in likely if selector.matches(pod.labels)]

    @cached_property
    def _by_label(self) -> Mapping[tuple[str, str, str], list[Endpoint]]:
        found: dict[tuple[str, str, str], list[Endpoint]] = {}
        for pod in self.pods:
            for key, value in pod.labels.items():
                found.setdefault((pod.namespace, key, value), []).append(pod)
        return found

    def allows(self, source: Endpoint, destination: Endpoint, port: int, protocol: str = "TCP") -> bool:
        """Tell whether the policies let a connection through, by any address that both ends have a kind of."""
        if source is destination or (source.is_pod and str(source) == str(destination)):
            return True  # a pod cannot shut itself out (networking.k8s.io/v1)
        return any(
            self._allows_egress(source, destination, there, port, protocol)
            and self._allows_ingress(source, here, destination, port, protocol)
            for here, there in _address_pairs(source, destination)
        )

    def allows_ingress(self, source: Endpoint, destination: Endpoint, port: int, protocol: str = "TCP") -> bool:
        """Tell whether the destination's side of a connection allows it, whatever the source's does."""
        ways = _address_pairs(source, destination)
        return any(self._allows_ingress(source, here, destination, port, protocol) for here, _ in ways)

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
        """Tell whether an endpoint is one of those whom a peer of a policy in ``namespace`` means."""
        if peer.block is not None:
            return address is not None and address in peer.block
        if peer.is_empty or not other.is_pod:
            return False
        if peer.namespaces is None:
            there = other.namespace == namespace
        else:
            there = other.namespace in self.matching_namespaces(peer.namespaces)
        return there and (peer.pods is None or peer.pods.matches(other.labels))


def rule_covers(rule: Rule, named: tuple[Port, ...], port: int, protocol: str = "TCP") -> bool:
    """Tell whether a rule speaks of a port of the pod that has these ports: names are the destination's."""
    return not rule.ports or any(_covers_port(each, named, port, protocol) for each in rule.ports)


def _covers_port(ports: Ports, named: tuple[Port, ...], port: int, protocol: str) -> bool:
    if ports.protocol != protocol:
        return False
    if ports.port is None:
        return True
    if isinstance(ports.port, str):
        return any((p.name, p.protocol, p.number) == (ports.port, protocol, port) for p in named)
    return ports.port <= port <= (ports.port if ports.end is None else ports.end)


def _address_pairs(source: Endpoint, destination: Endpoint) -> Iterator[tuple[Address | None, Address | None]]:
    """Give the pairs of addresses of one kind; one end may be known by its labels alone."""
    if not source.addresses or not destination.addresses:
        for here in source.addresses or (None,):
            for there in destination.addresses or (None,):
                yield here, there
        return
    for here in source.addresses:
        for there in destination.addresses:
            if here.version == there.version:
                yield here, there


class _SelectorIndex:
    """The policies of one namespace, found by a label that they ask for: thousands of pods meet hundreds of them."""

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
        likely = [policy for label in labels.items() for policy in self._by_label.get(label, ())]
        return [policy for policy in (*self._rest, *likely) if policy.selector.matches(labels)]
