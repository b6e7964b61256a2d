"""The models' client on a real API server."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

from seimigrate.adapters.api import Connection, path_of
from seimigrate.adapters.watch import InformerCache
from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.engine.errors import NotFound


class HttpClient:
    """A ``ModelClient`` that asks anew each time; ``namespaces`` and ``node`` are the part of the cluster it sees."""

    def __init__(self, connection: Connection, namespaces: Callable[[], Iterable[str]], node: str) -> None:
        self.connection = connection
        self._namespaces = namespaces
        self._node = node
        self._versions = itertools.count()

    def version(self, kind: Kind) -> int:
        """Give another number each time: only a look can tell whether something has changed."""
        return next(self._versions)

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        try:
            found: Object = self.connection.request("GET", path_of(kind, namespace, name))
        except NotFound:
            return None
        return found

    def list(self, kind: Kind) -> Sequence[Object]:
        if kind is Kind.NODE:
            node = self.get(kind, "", self._node)
            return [node] if node is not None else []
        typed = {"apiVersion": kind.resource.api_version, "kind": kind.resource.kind}
        found: list[Object] = []
        for namespace in self._namespaces():
            found += [typed | item for item in self.connection.request("GET", path_of(kind, namespace))["items"]]
        return found

    def create(self, kind: Kind, body: Object) -> Object:
        created: Object = self.connection.request(
            "POST", path_of(kind, body["metadata"].get("namespace", "")), body=body
        )
        return created

    def apply(self, kind: Kind, body: Object, *, manager: str) -> Object:
        metadata = body["metadata"]
        applied: Object = self.connection.request(
            "PATCH",
            path_of(kind, metadata.get("namespace", ""), metadata["name"]),
            query={"fieldManager": manager, "force": "true"},
            body=body,
            content_type="application/apply-patch+yaml",
        )
        return applied

    def patch_status(self, kind: Kind, namespace: str, name: str, status: Object) -> Object:
        patched: Object = self.connection.request(
            "PATCH",
            path_of(kind, namespace, name) + "/status",
            query={"fieldManager": "manager"},
            body={"status": status},
            content_type="application/merge-patch+json",
        )
        return patched

    def bind(self, namespace: str, pod: str, node: str) -> None:
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod}, "target": target}
        self.connection.request("POST", path_of(Kind.POD, namespace, pod) + "/binding", body=body)

    def delete(self, kind: Kind, namespace: str, name: str, *, uid: str, grace_seconds: int | None = None) -> None:
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        self.connection.request("DELETE", path_of(kind, namespace, name), body=options)


class WatchedClient(HttpClient):
    """A client that reads from watches what changes often, as the real kubelet and controllers do.

    It sees its own writes at once, and those of others when the API server tells them.
    """

    KINDS = (Kind.SEI_NODE, Kind.STATEFUL_SET, Kind.POD)

    def __init__(self, connection: Connection, namespaces: Callable[[], Iterable[str]], node: str) -> None:
        super().__init__(connection, namespaces, node)
        self._view = InformerCache(connection, self.KINDS).start()
        self._gone: set[str] = set()
        """The uids of what this client has removed, of which the watches may not have told yet."""

    def close(self) -> None:
        """End the watches."""
        self._view.stop()

    def wait(self, seconds: float) -> None:
        """Return when something has changed, at the latest after ``seconds``."""
        self._view.wait_for_change(seconds)

    def version(self, kind: Kind) -> int:
        """Give the number of changes that were seen, of whatever kind."""
        return self._view._changes

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        if kind not in self.KINDS:
            return super().get(kind, namespace, name)
        found = self._view.get(kind, namespace, name)
        return found if found is not None and found["metadata"]["uid"] not in self._gone else None

    def list(self, kind: Kind) -> Sequence[Object]:
        if kind not in self.KINDS:
            return super().list(kind)
        typed = {"apiVersion": kind.resource.api_version, "kind": kind.resource.kind}
        return [
            typed | item
            for namespace in self._namespaces()
            for item in self._view.list(kind, namespace)
            if item["metadata"]["uid"] not in self._gone
        ]

    def create(self, kind: Kind, body: Object) -> Object:
        return self._saw(kind, super().create(kind, body))

    def apply(self, kind: Kind, body: Object, *, manager: str) -> Object:
        return self._saw(kind, super().apply(kind, body, manager=manager))

    def patch_status(self, kind: Kind, namespace: str, name: str, status: Object) -> Object:
        return self._saw(kind, super().patch_status(kind, namespace, name, status))

    def delete(self, kind: Kind, namespace: str, name: str, *, uid: str, grace_seconds: int | None = None) -> None:
        super().delete(kind, namespace, name, uid=uid, grace_seconds=grace_seconds)
        if grace_seconds == 0:
            self._gone.add(uid)

    def _saw(self, kind: Kind, body: Object) -> Object:
        self._view.observe(kind, body)
        return body
