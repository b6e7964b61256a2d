"""Probes: pods of ours that try what the network lets through. Made, waited for, and deleted, whatever happens."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence

from seimigrate.domain import probing, seen
from seimigrate.domain.finding import Finding
from seimigrate.domain.kinds import Kind, Object
from seimigrate.domain.network.reach import Network, endpoint
from seimigrate.domain.probing import Target
from seimigrate.engine.errors import Forbidden, NotFound
from seimigrate.engine.ports import Clock, Cluster
from seimigrate.engine.reading import LiveView

PATIENCE = 120.0
"""Seconds for a probe to be scheduled, to get its image and to end."""
GRACE = 1


class Prober:
    """Tries connections from pods of its own in other namespaces."""

    def __init__(self, cluster: Cluster, clock: Clock, network: Network, image: str) -> None:
        self._cluster = cluster
        self._view = LiveView(cluster)
        self._clock = clock
        self._network = network
        self._image = image

    def probe(self, namespace: str, targets: Sequence[Target]) -> Iterator[Finding]:
        """Try all targets from a namespace and give what is found; raises ``ApiError``.

        A namespace in which we may make no pod is an error with a hint, since it was asked for by name.
        """
        for first in range(0, len(targets), probing.MOST):
            yield from self._try(namespace, targets[first : first + probing.MOST])

    def _try(self, namespace: str, targets: Sequence[Target]) -> Iterator[Finding]:
        name = f"seimigrate-probe-{secrets.token_hex(4)}"
        try:
            last = self._run(probing.pod(namespace, name, self._image, targets))
        except Forbidden as error:
            raise Forbidden(
                f"no probe can be made in namespace {namespace}: {error.message}",
                hint=f"kubectl -n {namespace} create rolebinding seimigrate-probe --clusterrole seimigrate-probe "
                f"--user YOU; or leave --probe-from {namespace} out",
            ) from error
        found = probing.answers(last, targets) if last is not None else {}
        if last is None or not found:
            yield probing.failed(namespace, (seen.trouble(last) if last else "") or "it did not end in time")
            return
        yield from probing.findings(self._network, endpoint(last), found)

    def _run(self, body: Object) -> Object | None:
        """Give a probe as it ended, ``None`` if it did not in time; it is deleted even if this is broken off."""
        namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
        try:
            self._cluster.create(Kind.POD, body)
            return self._ended(namespace, name)
        finally:
            self._delete(namespace, name)

    def _ended(self, namespace: str, name: str) -> Object | None:
        until = self._clock.now() + PATIENCE
        while self._clock.now() < until:
            body = self._cluster.get(Kind.POD, namespace, name)
            if body is None or probing.ended(body):
                return body
            self._view.wait(0.5)
        return None

    def _delete(self, namespace: str, name: str) -> None:
        made = self._cluster.get(Kind.POD, namespace, name)  # its making may have been broken off, and have happened
        if made is None:
            return
        try:
            self._cluster.delete(Kind.POD, namespace, name, uid=made["metadata"]["uid"], grace_seconds=GRACE)
        except NotFound:
            return
