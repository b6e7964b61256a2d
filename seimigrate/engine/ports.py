"""The ports through which the engine touches the world; adapters and in-memory fakes stand behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.domain.plan.gates import Token

JsonPatch = Sequence[Mapping[str, Any]]
"""JSON Patch operations (RFC 6902), as plain dicts."""


class Cluster(Protocol):
    """The Kubernetes API: every call is one request that is answered or raises an ``ApiError``.

    Objects are plain JSON. ``namespace`` is ``""`` for kinds without one. Writes carry the field manager
    ``seimigrate`` unless another is named.
    """

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Read one object from the API server itself, not from a cache; ``None`` if it is not there."""

    def list(self, kind: Kind, namespace: str = "", labels: str = "") -> list[Object]:
        """Read all objects of a kind, in one namespace or (``""``) in all, narrowed by a label selector."""

    def create(self, kind: Kind, body: Object) -> Object:
        """Create an object; raises ``Conflict`` if it is there already."""

    def replace(self, kind: Kind, body: Object) -> Object:
        """Replace an object; raises ``Conflict`` unless its resourceVersion is still the one in ``body``."""

    def patch(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        operations: JsonPatch,
        *,
        manager: str = "seimigrate",
        dry_run: bool = False,
    ) -> Object:
        """Apply a JSON Patch; raises ``Conflict`` if one of its tests fails, ``Denied`` if a policy refuses it."""

    def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        uid: str,
        resource_version: str = "",
        grace_seconds: int | None = None,
    ) -> None:
        """Delete an object if it still has this uid (and resourceVersion, if given); raises ``Conflict`` if not."""

    def evict(self, namespace: str, name: str, *, uid: str, resource_version: str, grace_seconds: int) -> None:
        """Evict a pod; raises ``Refused`` if no disruption budget allows it now, ``Conflict`` as delete."""


class ObjectCache(Protocol):
    """What the cluster shows, kept fresh by one watch a kind for the whole run."""

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Give the newest known state of an object, ``None`` if it is not there."""

    def list(self, kind: Kind, namespace: str = "") -> Sequence[Object]:
        """Give the newest known state of all objects of a kind in a namespace (``""``: all)."""

    def observe(self, kind: Kind, body: Object) -> None:
        """Take in the answer to a write of ours, so that it is seen before the watch tells of it."""

    def wait_for_change(self, seconds: float) -> None:
        """Return when something has changed since the last call, at the latest after ``seconds``."""

    def notify(self) -> None:
        """Let whoever waits return: something has changed that no watch tells of. May be called by any thread."""


@dataclass(frozen=True, slots=True)
class Response:
    """What a pod answered over HTTP: the status code and the body's first bytes as text."""

    status: int
    body: str


class PodClient(Protocol):
    """HTTP calls to a pod's own loopback by port-forward, past every NetworkPolicy."""

    def call(
        self,
        namespace: str,
        pod: str,
        port: int,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        authorised: bool = False,
        headers: Mapping[str, str] | None = None,
        timeout: float = 5.0,
    ) -> Response:
        """Send one request; ``authorised`` adds the bearer token of seimigrate's own ServiceAccount.

        ``headers`` are sent besides our own.

        Raises ``Unreachable`` when there is no answer, whatever the reason: that is never a verdict.
        """


class HttpClient(Protocol):
    """GET requests for the gates, with a token of their own where they have one; redirects are not followed."""

    def get(self, url: str, *, token: Token | None, timeout: float) -> Response:
        """Ask a url; raises ``Unreachable`` when there is no answer, ``SeimigrateError`` if the token is not there."""

    def get_from_pod(
        self, namespace: str, pod: str, port: int, path: str, *, token: Token | None, timeout: float
    ) -> Response:
        """Ask a pod by port-forward; raises as ``get``, and ``Forbidden`` if we may not forward ports."""

    def check_token(self, token: Token) -> None:
        """Raise ``SeimigrateError`` if a token is not there, or is none."""


class Lock(Protocol):
    """The one lock of a cluster, held while a run lasts."""

    @property
    def token(self) -> str:
        """Give the fencing token: a label value that no earlier holder ever had."""

    def check(self) -> float:
        """Give the seconds for which the lock is surely ours; raises ``LockedByAnother`` if it is not."""


class Clock(Protocol):
    """The time of day, which the journal carries from one process to the next."""

    def now(self) -> float:
        """Give the seconds since 1970."""
