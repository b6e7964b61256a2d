"""Whether the holder of a Lease lives, as seen by our own clock alone: two machines' clocks are never compared."""

from __future__ import annotations

import json
from collections.abc import Callable

from seimigrate.domain.kube import leases
from seimigrate.domain.kube.kinds import LEASE_NAME, RUN_NAME, SYSTEM_NAMESPACE, Kind, Object
from seimigrate.engine.journal import KEY
from seimigrate.engine.ports import Clock, Cluster

DEFAULT_DURATION = 15.0
"""Seconds for which a renewal is good where the Lease does not say it."""
POLL_INTERVAL = 0.5
"""Seconds between two looks at a Lease whose holder may live."""


class LeaseMonitor:
    """Watches one Lease; a holder that was not seen before counts as alive until its time has run out."""

    def __init__(self, cluster: Cluster, clock: Clock, name: str) -> None:
        self._cluster = cluster
        self._clock = clock
        self._name = name
        self._sign: tuple[object, ...] | None = None
        self._since = 0.0
        self.lease: Object = {}

    def is_alive(self) -> bool:
        """Look at the Lease; tell whether somebody holds it who may live."""
        self.lease = self._cluster.get(Kind.LEASE, SYSTEM_NAMESPACE, self._name) or {}
        if not leases.holder(self.lease):
            self._sign = None
            return False
        sign, now = leases.renewal_marker(self.lease), self._clock.now()
        if sign != self._sign:
            self._sign, self._since = sign, now
        return now - self._since < leases.duration(self.lease, DEFAULT_DURATION)

    def wait_for_renewal(self, wait: Callable[[float], None]) -> bool:
        """Watch until the holder has renewed since our first look, or is gone, or its time has run out."""
        seen = self._sign
        alive = self.is_alive()
        first = seen or self._sign
        while alive and self._sign == first:
            wait(POLL_INTERVAL)
            alive = self.is_alive()
        return alive


class RunCoverage:
    """Tells whether a run lives that looks after the nodes of a namespace."""

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self._cluster = cluster
        self._pulse = LeaseMonitor(cluster, clock, LEASE_NAME)

    def is_covered(self, namespace: str) -> bool:
        """Look; a run that has not said yet what it looks after looks after everything."""
        if not self._pulse.is_alive():
            return False
        return covers_namespace(
            self._cluster.get(Kind.CONFIG_MAP, SYSTEM_NAMESPACE, RUN_NAME), self._pulse.lease, namespace
        )


def covers_namespace(run_journal: Object | None, lease: Object, namespace: str) -> bool:
    """Tell whether the run that holds the lease looks after a namespace, as its record says."""
    try:
        record = json.loads((run_journal or {}).get("data", {}).get(KEY, ""))
        if record["run"] != leases.token(lease):
            return True
        namespaces = record["spec"]["namespaces"]
        return "" in namespaces or namespace in namespaces
    except (ValueError, TypeError, KeyError, AttributeError):
        return True
