"""NetworkPolicies as values, with the defaults that the API gives to what is left out (networking.k8s.io/v1)."""

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
    """One entry of ``from`` or ``to``: a block of addresses, or pods by their namespace's labels and their own.

    Without ``namespaces`` the pods of the policy's own namespace are meant; without ``pods`` all of the namespaces'.
    An entry that says nothing selects nothing (the API server refuses it).
    """

    namespaces: Selector | None = None
    pods: Selector | None = None
    block: IpBlock | None = None

    @property
    def is_empty(self) -> bool:
        """Tell whether it says nothing."""
        return self.namespaces is None and self.pods is None and self.block is None


@dataclass(frozen=True, slots=True)
class Ports:
    """One entry of ``ports``: all ports of a protocol, one by its number or name, or a range of numbers."""

    protocol: str = "TCP"
    port: int | str | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """Lets the peers through to the ports; no peers means everybody, no ports means all of them."""

    peers: tuple[Peer, ...] = ()
    ports: tuple[Ports, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """A NetworkPolicy; ``ingress`` or ``egress`` is ``None`` where it does not isolate that way."""

    namespace: str
    name: str
    selector: Selector
    ingress: tuple[Rule, ...] | None
    egress: tuple[Rule, ...] | None

    def __str__(self) -> str:
        """Give ``namespace/name``."""
        return f"{self.namespace}/{self.name}"


def read(body: Object) -> Policy:
    """Read a NetworkPolicy.

    Without ``policyTypes`` a policy isolates incoming traffic, and outgoing too if it has rules for that. Raises
    ``ValueError`` for what the API server would refuse.
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


def _rules(rules: Sequence[Mapping[str, Any]], towards: str) -> tuple[Rule, ...]:
    return tuple(
        Rule(
            peers=tuple(read_peer(peer) for peer in rule.get(towards) or ()),
            ports=tuple(_ports(ports) for ports in rule.get("ports") or ()),
        )
        for rule in rules
    )


def read_peer(body: Mapping[str, Any]) -> Peer:
    """Read one entry of ``from`` or ``to``; an empty selector there selects everything, an absent one differs."""
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
