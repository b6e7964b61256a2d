"""What the models of kubelet and controllers ask of an API server, be it the simulated or a real one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from seimigrate.domain.kube.kinds import Kind, Object


class ModelClient(Protocol):
    """The API as one user; what it returns belongs to the cluster and is not to be changed.

    Raises the errors of ``seimigrate.engine.errors``.
    """

    def version(self, kind: Kind) -> int:
        """Give a number that differs from the last one if an object of the kind may have changed since."""

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Read one object, ``None`` if it is not there."""

    def list(self, kind: Kind) -> Sequence[Object]:
        """Read all objects of a kind, in all namespaces."""

    def create(self, kind: Kind, body: Object) -> Object:
        """Create an object."""

    def apply(self, kind: Kind, body: Object, *, manager: str) -> Object:
        """Apply a configuration by forced server-side apply."""

    def patch_status(self, kind: Kind, namespace: str, name: str, status: Object) -> Object:
        """Merge into an object's status (RFC 7386)."""

    def bind(self, namespace: str, pod: str, node: str) -> None:
        """Give a pod to a Kubernetes node, as the scheduler does."""

    def delete(self, kind: Kind, namespace: str, name: str, *, uid: str, grace_seconds: int | None = None) -> None:
        """Delete an object if it still has this uid."""
