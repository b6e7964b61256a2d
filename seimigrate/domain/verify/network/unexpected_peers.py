"""Who is let in by a peer of a policy and is not among the permitted: exactly, not only among today's pods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from seimigrate.domain.kube import selectors
from seimigrate.domain.kube.selectors import EVERYTHING, Selector
from seimigrate.domain.verify.network import ip_ranges
from seimigrate.domain.verify.network.policies import Peer
from seimigrate.domain.verify.network.reachability import NAME_LABEL, Endpoint, Network

ANYONE = "every pod and every address"
_SHOWN = 3


class UnexpectedPeers:
    """Finds strangers in one network; the same question is answered once."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._known: dict[tuple[str, Peer | None, tuple[Peer, ...]], str] = {}

    def admitted_by(self, namespace: str, peer: Peer | None, permitted: tuple[Peer, ...]) -> str:
        """Say who gets in by a peer (``None``: everybody) of a policy in ``namespace``; empty if only the permitted.

        Namespaces are taken as they are labelled now, and one that somebody may make tomorrow, with no label but its
        name. Of pods, all labels that they could have are thought of.
        """
        own = peer is not None and peer.block is None and peer.namespaces is None
        key = (namespace if own else "", peer, permitted)
        if key not in self._known:
            self._known[key] = self._admitted_by(namespace, peer, permitted)
        return self._known[key]

    def _admitted_by(self, namespace: str, peer: Peer | None, permitted: tuple[Peer, ...]) -> str:
        if peer is None:
            return ANYONE
        if peer.block is not None:
            blocks = [each.block for each in permitted if each.block is not None]
            return f"addresses like {found}" if (found := ip_ranges.uncovered_address(peer.block, blocks)) else ""
        if peer.is_empty:
            return ""
        return self._pods(namespace, peer, permitted)

    def _pods(self, namespace: str, peer: Peer, permitted: tuple[Peer, ...]) -> str:
        wanted = peer.pods or EVERYTHING
        there = (
            self._network.matching_namespaces(peer.namespaces)
            if peer.namespaces is not None
            else frozenset({namespace})
        )
        strange = [name for name in sorted(there) if wanted.difference(self._known_in(name, permitted)) is not None]
        new = peer.namespaces is not None and self._admits_new_pods(peer.namespaces)
        if not strange and not new:
            return ""
        which = f"pods with {selectors.text(wanted)}" if wanted.allowed else "every pod"
        today = [str(pod) for name in strange for pod in self._unknown(name, wanted, permitted)]
        return f"{which} {_where(strange, len(self._network.namespaces), new=new)}" + (
            f"; today {_few(today)}" if today else ""
        )

    def _known_in(self, namespace: str, permitted: tuple[Peer, ...]) -> list[Selector]:
        found = (each for each in permitted if each.block is None)
        return [
            each.pods or EVERYTHING
            for each in found
            if each.namespaces is not None and namespace in self._network.matching_namespaces(each.namespaces)
        ]

    def _unknown(self, namespace: str, wanted: Selector, permitted: tuple[Peer, ...]) -> Iterator[Endpoint]:
        known = self._known_in(namespace, permitted)
        for pod in self._network.pods_with(namespace, wanted):
            if pod.is_pod and not any(each.matches(pod.labels) for each in known):
                yield pod

    def _admits_new_pods(self, namespaces: Selector) -> bool:
        return namespaces.matches({NAME_LABEL: "A new one"})  # no namespace can be called that, so none is


def _where(names: Sequence[str], all_of_them: int, *, new: bool) -> str:
    if not names:
        return "of namespaces to come"
    if len(names) == 1 and all_of_them > 1:
        return f"in namespace {names[0]}" + (", and in new ones" if new else "")
    if len(names) == all_of_them:
        return "in any namespace" + (", also in new ones" if new else "")
    return f"in {len(names)} namespaces ({_few(names)})" + (", and in new ones" if new else "")


def _few(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def overlap(network: Network, namespace: str, peer: Peer, other: Peer) -> bool:
    """Tell whether a pod could be meant by a policy's peer and by another peer, which names its namespaces."""
    if peer.block is not None or other.block is not None or peer.is_empty or other.namespaces is None:
        return False
    own = network.matching_namespaces(peer.namespaces) if peer.namespaces is not None else frozenset({namespace})
    both = (peer.pods or EVERYTHING).intersect(other.pods or EVERYTHING)
    return bool(own & network.matching_namespaces(other.namespaces)) and not both.is_empty


def name(peer: Peer) -> str:
    """Name a peer for people."""
    if peer.block is not None:
        return f"addresses {peer.block}"
    if peer.is_empty:
        return "nobody"
    pods = f"pods with {selectors.text(peer.pods)}" if peer.pods is not None and peer.pods.allowed else "all pods"
    if peer.namespaces is None:
        return f"{pods} of the policy's namespace"
    where = selectors.text(peer.namespaces)
    only = where.removeprefix(f"{NAME_LABEL}=")
    return f"{pods} of " + (
        f"namespace {only}" if only != where else f"namespaces {where}" if where else "all namespaces"
    )
