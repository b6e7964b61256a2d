"""Guarding of the nodes that an ``apply`` leaves held, until another guard covers them.

If the operator stops it earlier, each node that is left unguarded is reported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from seimigrate.app.process import Interrupted
from seimigrate.domain.kube import leases
from seimigrate.domain.kube.kinds import SYSTEM_NAMESPACE, Kind
from seimigrate.domain.node import observation
from seimigrate.engine import guard_journal
from seimigrate.engine.guard import Guard, Key
from seimigrate.engine.lease_monitor import LeaseMonitor
from seimigrate.engine.node_worker import Ports
from seimigrate.render import formatting
from seimigrate.render.event_log import Log

UNGUARDED = "held and NOT guarded: if its pod restarts, it will stay unready"
HELP = "start a guard (kubectl apply -k deploy, or: seimigrate guard), or release the nodes"


@dataclass
class HeldNodeGuard:
    """The guard that a finished run leaves in its process while it still holds the lock.

    ``save_exit_code`` records the run's exit code.
    """

    ports: Ports
    guard: Guard
    log: Log
    save_exit_code: Callable[[int], None]

    def guard_until_covered(self, nodes: list[Key]) -> None:
        """Guard the nodes until another guard covers them; if interrupted, warn of each node that is unguarded."""
        monitor = LeaseMonitor(self.ports.cluster, self.ports.clock, leases.GUARD_LEASE)
        unguarded = self._held(nodes)
        if not unguarded:
            return
        if monitor.wait_for_renewal(self.ports.cache.wait_for_change):
            unguarded = self._without_guard(nodes, monitor)
        if not unguarded:
            self.log.info("a guard covers the held nodes")
            return
        self.log.warning(
            f"no guard covers {_named(unguarded)}; guarding in this process until Ctrl-C or until a guard takes over"
        )
        self.log.info(HELP)
        try:
            self.guard.run(until=lambda: not self._without_guard(nodes, monitor))
        except Interrupted:
            self._warn(self._without_guard(nodes, monitor))
            return
        self.log.info("a guard took over the held nodes")

    def _held(self, nodes: list[Key]) -> list[Key]:
        return [key for key in nodes if observation.hold_of(self.ports.cache.get(Kind.STATEFUL_SET, *key)) is not None]

    def _without_guard(self, nodes: list[Key], monitor: LeaseMonitor) -> list[Key]:
        """Return the nodes that are held and that the journal of no live guard names."""
        held = self._held(nodes)
        if not monitor.is_alive():
            return held
        journal = self.ports.cluster.get(Kind.CONFIG_MAP, SYSTEM_NAMESPACE, guard_journal.NAME)
        named = guard_journal.guarded_nodes(journal, monitor.lease)
        return [key for key in held if "/".join(key) not in named]

    def _warn(self, unguarded: list[Key]) -> None:
        for namespace, name in unguarded:
            self.log.warning(UNGUARDED, node=f"{namespace}/{name}")
        if unguarded:
            self.log.warning(HELP)


def _named(nodes: list[Key]) -> str:
    return formatting.abbreviate([f"{namespace}/{name}" for namespace, name in nodes])
