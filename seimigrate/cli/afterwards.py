"""What becomes of the nodes that an ``apply`` leaves held.

A guard has them, or this process looks after them itself; whoever ends it is told that nobody does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from seimigrate.cli.shell import Interrupted
from seimigrate.domain import leases, seen
from seimigrate.domain.kinds import SYSTEM_NAMESPACE, Kind
from seimigrate.engine import guardjournal
from seimigrate.engine.guard import Guard, Key
from seimigrate.engine.pulse import Pulse
from seimigrate.engine.runner import Ports
from seimigrate.render import values
from seimigrate.render.lines import Log

UNGUARDED = "held and NOT guarded now: if its pod restarts, nobody marks it ready"
HELP = "start a guard (kubectl apply -k deploy, or: seimigrate guard), or hand the nodes back"


@dataclass
class Afterwards:
    """The end of a run that still has the lock; ``own`` is the guard that it carried along.

    ``conclude`` writes down with what exit code it came to its end.
    """

    ports: Ports
    own: Guard
    log: Log
    conclude: Callable[[int], None]

    def look_after(self, nodes: list[Key]) -> None:
        """Guard the nodes until another guard has them, or somebody ends it, who is told which are unguarded then."""
        pulse = Pulse(self.ports.cluster, self.ports.clock, leases.GUARD_LEASE)
        left = self._held(nodes)
        if not left:
            return
        if pulse.proven(self.ports.view.wait):
            left = self._without_guard(nodes, pulse)
        if not left:
            self.log.info("a guard looks after the held nodes")
            return
        self.log.warning(f"no guard looks after {_named(left)}: this process does, until ^C or until a guard has them")
        self.log.info(HELP)
        try:
            self.own.run(until=lambda: not self._without_guard(nodes, pulse))
        except Interrupted:
            self._warn(self._without_guard(nodes, pulse))
            return
        self.log.info("a guard looks after the held nodes now")

    def _held(self, nodes: list[Key]) -> list[Key]:
        return [key for key in nodes if seen.hold_of(self.ports.view.get(Kind.STATEFUL_SET, *key)) is not None]

    def _without_guard(self, nodes: list[Key], pulse: Pulse) -> list[Key]:
        """Give the nodes that are held and that no live guard names."""
        held = self._held(nodes)
        if not pulse.beats():
            return held
        says = self.ports.cluster.get(Kind.CONFIG_MAP, SYSTEM_NAMESPACE, guardjournal.NAME)
        named = guardjournal.looked_after(says, pulse.lease)
        return [key for key in held if "/".join(key) not in named]

    def _warn(self, left: list[Key]) -> None:
        for namespace, name in left:
            self.log.warning(UNGUARDED, node=f"{namespace}/{name}")
        if left:
            self.log.warning(HELP)


def _named(nodes: list[Key]) -> str:
    return values.few([f"{namespace}/{name}" for namespace, name in nodes])
