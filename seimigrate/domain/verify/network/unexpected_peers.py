"""The unexpected peers that a policy admits: computed from selectors, not only from existing pods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from seimigrate.domain.kube import selectors
from seimigrate.domain.kube.selectors import EVERYTHING, Selector
from seimigrate.domain.verify.network import ip_ranges
from seimigrate.domain.verify.network.policies import Peer
from seimigrate.domain.verify.network.reachability import NAME_LABEL, Endpoint, Network

ANYONE = "any pod and any address"
_SHOWN = 3


class UnexpectedPeers:
    """Finds unexpected peers in one network; results are cached."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._cache: dict[tuple[str, Peer | None, tuple[Peer, ...]], str] = {}

    def admitted_by(self, namespace: str, peer: Peer | None, permitted: tuple[Peer, ...]) -> str:
        """Return the unpermitted endpoints that a peer (``None``: any) of a policy in ``namespace`` admits, or "".

        The result covers the existing namespaces with their labels, and a new namespace with no label but its name.
        It covers all labels that pods could have.
        """
        own = peer is not None and peer.block is None and peer.namespaces is None
        key = (namespace if own else "", peer, permitted)
        if key not in self._cache:
            self._cache[key] = self._admitted_by(namespace, peer, permitted)
        return self._cache[key]

    def _admitted_by(self, namespace: str, peer: Peer | None, permitted: tuple[Peer, ...]) -> str:
        if peer is None:
            return ANYONE
        if peer.block is not None:
            blocks = [other.block for other in permitted if other.block is not None]
            address = ip_ranges.uncovered_address(peer.block, blocks)
            return f"addresses like {address}" if address else ""
        if peer.is_empty:
            return ""
        return self._pods(namespace, peer, permitted)

    def _pods(self, namespace: str, peer: Peer, permitted: tuple[Peer, ...]) -> str:
        selector = peer.pods or EVERYTHING
        namespaces = (
            self._network.matching_namespaces(peer.namespaces)
            if peer.namespaces is not None
            else frozenset({namespace})
        )
        unexpected = [
            name for name in sorted(namespaces) if selector.difference(self._permitted_in(name, permitted)) is not None
        ]
        new = peer.namespaces is not None and self._admits_new_namespaces(peer.namespaces)
        if not unexpected and not new:
            return ""
        pods = f"pods with {selectors.text(selector)}" if selector.allowed else "any pod"
        current = [str(pod) for name in unexpected for pod in self._unpermitted(name, selector, permitted)]
        return f"{pods} {_where(unexpected, len(self._network.namespaces), new=new)}" + (
            f"; currently {_few(current)}" if current else ""
        )

    def _permitted_in(self, namespace: str, permitted: tuple[Peer, ...]) -> list[Selector]:
        return [
            peer.pods or EVERYTHING
            for peer in permitted
            if peer.block is None
            and peer.namespaces is not None
            and namespace in self._network.matching_namespaces(peer.namespaces)
        ]

    def _unpermitted(self, namespace: str, selector: Selector, permitted: tuple[Peer, ...]) -> Iterator[Endpoint]:
        allowed = self._permitted_in(namespace, permitted)
        for pod in self._network.pods_with(namespace, selector):
            if pod.is_pod and not any(other.matches(pod.labels) for other in allowed):
                yield pod

    def _admits_new_namespaces(self, namespaces: Selector) -> bool:
        return namespaces.matches({NAME_LABEL: "A new one"})  # not a valid name, so no such namespace exists


def _where(names: Sequence[str], total: int, *, new: bool) -> str:
    if not names:
        return "in new namespaces"
    if len(names) == 1 and total > 1:
        return f"in namespace {names[0]}" + (" and in new ones" if new else "")
    if len(names) == total:
        return "in any namespace" + (", including new ones" if new else "")
    return f"in {len(names)} namespaces ({_few(names)})" + (" and in new ones" if new else "")


def _few(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def overlap(network: Network, namespace: str, peer: Peer, other: Peer) -> bool:
    """Return whether a pod could match a policy's peer and another peer that names its namespaces."""
    if peer.block is not None or other.block is not None or peer.is_empty or other.namespaces is None:
        return False
    own = network.matching_namespaces(peer.namespaces) if peer.namespaces is not None else frozenset({namespace})
    common = (peer.pods or EVERYTHING).intersect(other.pods or EVERYTHING)
    return bool(own & network.matching_namespaces(other.namespaces)) and not common.is_empty


def name(peer: Peer) -> str:
    """Return a readable name of a peer."""
    if peer.block is not None:
        return f"addresses {peer.block}"
    if peer.is_empty:
        return "no peer"
    pods = f"pods with {selectors.text(peer.pods)}" if peer.pods is not None and peer.pods.allowed else "all pods"
    if peer.namespaces is None:
        return f"{pods} of the policy's namespace"
    selector = selectors.text(peer.namespaces)
    only = selector.removeprefix(f"{NAME_LABEL}=")
    return f"{pods} of " + (
        f"namespace {only}" if only != selector else f"namespaces {selector}" if selector else "all namespaces"
    )
