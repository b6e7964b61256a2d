"""Reading the cluster without watching it: for what looks once, like a plan, a status or a takeover."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.domain.node.observation import NodeObservation
from seimigrate.engine.errors import NotFound
from seimigrate.engine.node_observer import OPTIONAL, related_objects
from seimigrate.engine.ports import Cluster, ObjectCache


class UncachedReader:
    """A view that asks the API server each time."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Read one object."""
        return self._cluster.get(kind, namespace, name)

    def list(self, kind: Kind, namespace: str = "") -> Sequence[Object]:
        """Read all objects of a kind; of a kind that the cluster may lack there are none."""
        return list_optional(self._cluster, kind, namespace)

    def observe(self, kind: Kind, body: Object) -> None:
        """Forget it: the next read tells."""

    def wait_for_change(self, seconds: float) -> None:
        """Let some time pass."""
        time.sleep(min(seconds, 0.5))

    def notify(self) -> None:
        """Do nothing: nobody waits."""


class Snapshot:
    """A view of what was there when it was made."""

    def __init__(self, cluster: Cluster, kinds: Iterable[Kind], namespaces: Sequence[str]) -> None:
        self._objects: dict[Kind, dict[tuple[str, str], Object]] = {kind: {} for kind in kinds}
        for kind in self._objects:
            for namespace in namespaces if kind.resource.namespaced else [""]:
                for obj in list_optional(cluster, kind, namespace):
                    meta = obj["metadata"]
                    self._objects[kind][meta.get("namespace", ""), meta["name"]] = obj

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Give one object."""
        return self._objects[kind].get((namespace, name))

    def list(self, kind: Kind, namespace: str = "") -> Sequence[Object]:
        """Give all objects of a kind."""
        return [obj for (where, _), obj in self._objects[kind].items() if namespace in ("", where)]

    def observe(self, kind: Kind, body: Object) -> None:
        """Stay as it was."""

    def wait_for_change(self, seconds: float) -> None:
        """Nothing changes in a snapshot."""

    def notify(self) -> None:
        """Do nothing: nobody waits."""


def list_optional(cluster: Cluster, kind: Kind, namespace: str) -> Sequence[Object]:
    """Read all objects of a kind, none if the kind is one that a cluster may lack."""
    try:
        return cluster.list(kind, namespace)
    except NotFound:
        if kind not in OPTIONAL:
            raise
        return []


def observe(cache: ObjectCache, namespace: str, name: str) -> NodeObservation:
    """See a node as a view shows it, with nothing asked of its pod."""
    pod = cache.get(Kind.POD, namespace, f"{name}-0")
    return NodeObservation(
        seinode=cache.get(Kind.SEI_NODE, namespace, name),
        statefulset=cache.get(Kind.STATEFUL_SET, namespace, name),
        service=cache.get(Kind.SERVICE, namespace, name),
        pod=pod,
        related=related_objects(cache, namespace, pod),
    )


def keys(cluster: Cluster, namespaces: Sequence[str], labels: str = "") -> list[tuple[str, str]]:
    """Give namespace and name of the SeiNodes in some namespaces (``""``: all) that a label selector picks, sorted."""
    return sorted(
        (node["metadata"]["namespace"], node["metadata"]["name"])
        for namespace in namespaces
        for node in cluster.list(Kind.SEI_NODE, namespace, labels)
    )
