"""NetworkPolicies as values, with the API's defaults for missing fields (networking.k8s.io/v1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seimigrate.domain.kube import selectors
from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.kube.selectors import Selector
from seimigrate.domain.verify.network.ip_ranges import IpBlock


@dataclass(frozen=True, slots=True)
class Peer:
    """One entry of ``from`` or ``to``: an address block, or pods by their labels and their namespace's labels.

    Without ``namespaces`` it selects pods of the policy's own namespace, without ``pods`` all pods of the namespaces.
    An empty entry selects nothing (the API server rejects it).
    """

    namespaces: Selector | None = None
    pods: Selector | None = None
    block: IpBlock | None = None

    @property
    def is_empty(self) -> bool:
        """Return whether the entry is empty."""
        return self.namespaces is None and self.pods is None and self.block is None


@dataclass(frozen=True, slots=True)
class Ports:
    """One entry of ``ports``: all ports of a protocol, one by its number or name, or a range of numbers."""

    protocol: str = "TCP"
    port: int | str | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that admits peers to ports; no peers means any peer, no ports means all ports."""

    peers: tuple[Peer, ...] = ()
    ports: tuple[Ports, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """A NetworkPolicy; ``ingress`` or ``egress`` is ``None`` if it does not isolate that direction."""

    namespace: str
    name: str
    selector: Selector
    ingress: tuple[Rule, ...] | None
    egress: tuple[Rule, ...] | None

    def __str__(self) -> str:
        """Return ``namespace/name``."""
        return f"{self.namespace}/{self.name}"


def read(body: Object) -> Policy:
    """Parse a NetworkPolicy.

    Without ``policyTypes`` a policy isolates incoming traffic, and also outgoing traffic if it has egress rules. Raises
    ``ValueError`` for a policy that the API server would reject.
    """
    meta, spec = body["metadata"], body.get("spec") or {}
    egress = spec.get("egress") or ()
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if egress else [])]
    return Policy(
        namespace=meta["namespace"],
        name=meta["name"],
        selector=selectors.parse(spec.get("podSelector") or {}),
        ingress=_rules(spec.get("ingress") or (), "from") if "Ingress" in types else None,
        egress=_rules(egress, "to") if "Egress" in types else None,
    )


def _rules(rules: Sequence[Mapping[str, Any]], field: str) -> tuple[Rule, ...]:
    return tuple(
        Rule(
            peers=tuple(read_peer(peer) for peer in rule.get(field) or ()),
            ports=tuple(_ports(ports) for ports in rule.get("ports") or ()),
        )
        for rule in rules
    )


def read_peer(body: Mapping[str, Any]) -> Peer:
    """Parse one entry of ``from`` or ``to``; an empty selector selects everything, an absent one is ``None``."""
    block = body.get("ipBlock")
    return Peer(
        namespaces=_selector(body.get("namespaceSelector")),
        pods=_selector(body.get("podSelector")),
        block=IpBlock(block["cidr"], tuple(block.get("except") or ())) if block is not None else None,
    )


def _selector(body: Mapping[str, Any] | None) -> Selector | None:
    return None if body is None else selectors.parse(body)


def _ports(body: Mapping[str, Any]) -> Ports:
    return Ports(body.get("protocol") or "TCP", body.get("port"), body.get("endPort"))
