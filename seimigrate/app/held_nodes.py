"""What becomes of the nodes that an ``apply`` leaves held.

A guard has them, or this process looks after them itself; whoever ends it is told that nobody does.
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

UNGUARDED = "held and NOT guarded now: if its pod restarts, nobody marks it ready"
HELP = "start a guard (kubectl apply -k deploy, or: seimigrate guard), or hand the nodes back"


@dataclass
class HeldNodeGuard:
    """The end of a run that still has the lock; ``own`` is the guard that it carried along.

    ``save_exit_code`` writes down with what exit code it came to its end.
    """

    ports: Ports
    guard: Guard
    log: Log
    save_exit_code: Callable[[int], None]

    def guard_until_covered(self, nodes: list[Key]) -> None:
        """Guard the nodes until another guard has them, or somebody ends it, who is told which are unguarded then."""
        monitor = LeaseMonitor(self.ports.cluster, self.ports.clock, leases.GUARD_LEASE)
        left = self._held(nodes)
        if not left:
            return
        if monitor.wait_for_renewal(self.ports.cache.wait_for_change):
            left = self._without_guard(nodes, monitor)
        if not left:
            self.log.info("a guard looks after the held nodes")
            return
        self.log.warning(f"no guard looks after {_named(left)}: this process does, until ^C or until a guard has them")
        self.log.info(HELP)
        try:
            self.guard.run(until=lambda: not self._without_guard(nodes, monitor))
        except Interrupted:
            self._warn(self._without_guard(nodes, monitor))
            return
        self.log.info("a guard looks after the held nodes now")

    def _held(self, nodes: list[Key]) -> list[Key]:
        return [key for key in nodes if observation.hold_of(self.ports.cache.get(Kind.STATEFUL_SET, *key)) is not None]

    def _without_guard(self, nodes: list[Key], monitor: LeaseMonitor) -> list[Key]:
        """Give the nodes that are held and that no live guard names."""
        held = self._held(nodes)
        if not monitor.is_alive():
            return held
        says = self.ports.cluster.get(Kind.CONFIG_MAP, SYSTEM_NAMESPACE, guard_journal.NAME)
        named = guard_journal.guarded_nodes(says, monitor.lease)
        return [key for key in held if "/".join(key) not in named]

    def _warn(self, left: list[Key]) -> None:
        for namespace, name in left:
            self.log.warning(UNGUARDED, node=f"{namespace}/{name}")
        if left:
            self.log.warning(HELP)


def _named(nodes: list[Key]) -> str:
    return formatting.abbreviate([f"{namespace}/{name}" for namespace, name in nodes])
