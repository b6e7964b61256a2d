"""Probes: pods of ours that try what the network lets through. Made, waited for, and deleted, whatever happens."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence

from seimigrate.domain.findings import Finding
from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.domain.node import observation
from seimigrate.domain.verify import network_probe
from seimigrate.domain.verify.network.reachability import Network, endpoint
from seimigrate.domain.verify.network_probe import Target
from seimigrate.engine.errors import Forbidden, NotFound
from seimigrate.engine.ports import Clock, Cluster
from seimigrate.engine.readers import UncachedReader

PROBE_TIMEOUT = 120.0
"""Seconds for a probe to be scheduled, to get its image and to end."""
GRACE_SECONDS = 1


class Prober:
    """Tries connections from pods of its own in other namespaces."""

    def __init__(self, cluster: Cluster, clock: Clock, network: Network, image: str) -> None:
        self._cluster = cluster
        self._view = UncachedReader(cluster)
        self._clock = clock
        self._network = network
        self._image = image

    def probe(self, namespace: str, targets: Sequence[Target]) -> Iterator[Finding]:
        """Try all targets from a namespace and give what is found; raises ``ApiError``.

        A namespace in which we may make no pod is an error with a hint, since it was asked for by name.
        """
        for first in range(0, len(targets), network_probe.MAX_TARGETS):
            yield from self._try(namespace, targets[first : first + network_probe.MAX_TARGETS])

    def _try(self, namespace: str, targets: Sequence[Target]) -> Iterator[Finding]:
        name = f"seimigrate-probe-{secrets.token_hex(4)}"
        try:
            last = self._run(network_probe.pod(namespace, name, self._image, targets))
        except Forbidden as error:
            raise Forbidden(
                f"no probe can be made in namespace {namespace}: {error.message}",
                hint=f"kubectl -n {namespace} create rolebinding seimigrate-probe --clusterrole seimigrate-probe "
                f"--user YOU; or leave --probe-from {namespace} out",
            ) from error
        found = network_probe.parse_results(last, targets) if last is not None else {}
        if last is None or not found:
            yield network_probe.probe_failed(
                namespace, (observation.startup_error(last) if last else "") or "it did not end in time"
            )
            return
        yield from network_probe.findings(self._network, endpoint(last), found)

    def _run(self, body: Object) -> Object | None:
        """Give a probe as it ended, ``None`` if it did not in time; it is deleted even if this is broken off."""
        namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
        try:
            self._cluster.create(Kind.POD, body)
            return self._await_end(namespace, name)
        finally:
            self._delete(namespace, name)

    def _await_end(self, namespace: str, name: str) -> Object | None:
        until = self._clock.now() + PROBE_TIMEOUT
        while self._clock.now() < until:
            body = self._cluster.get(Kind.POD, namespace, name)
            if body is None or network_probe.is_finished(body):
                return body
            self._view.wait_for_change(0.5)
        return None

    def _delete(self, namespace: str, name: str) -> None:
        made = self._cluster.get(Kind.POD, namespace, name)  # its making may have been broken off, and have happened
        if made is None:
            return
        try:
            self._cluster.delete(Kind.POD, namespace, name, uid=made["metadata"]["uid"], grace_seconds=GRACE_SECONDS)
        except NotFound:
            return
