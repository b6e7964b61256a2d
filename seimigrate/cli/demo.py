"""A cutover in memory: the real program on a simulated cluster, which says that it is one.

It shows a node that is cut over while the old controller fights back, one that fails and is rolled back, and what
plan and status show. Hours of the simulated cluster take a moment.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager

from seimigrate.cli.app import main as program
from seimigrate.cli.options import Connect
from seimigrate.domain.kinds import LEASE_NAME, SYSTEM_NAMESPACE, Kind
from seimigrate.engine.crew import Inline
from seimigrate.engine.ports import Clock, Cluster, Lock, Pods, View
from seimigrate.simulation.world import World

NAMESPACE = "sei"
SPLIT_IMAGE = "ghcr.io/sei-protocol/seictl:v2.0.0"
GO = (
    "--set",
    "sidecars.accepted=[{minimumVersion: v2.0.0}]",
    "--set",
    f"sidecars.image={SPLIT_IMAGE}",
    "--accept-unjudged-policy",
)


class SimulatedSession:
    """The simulated cluster, as a command meets one."""

    namespace = NAMESPACE
    server = "simulated"

    def __init__(self, world: World) -> None:
        self.world = world
        self.cluster: Cluster = world.cluster
        self.clock: Clock = world.clock

    def require_rights(self, namespaces: Sequence[str], *, holds: bool) -> None:
        """Find nothing missing: there are no rights in memory."""

    def require_guard_rights(self, namespaces: Sequence[str]) -> None:
        """Find nothing missing."""

    def pods(self, service_account: tuple[str, str], *, required: bool) -> Pods:
        """Give calls to the simulated pods."""
        return self.world.pods

    @contextmanager
    def lock(
        self, holder: str, seconds: float, on_wait: Callable[[str, float], None], *, name: str = LEASE_NAME
    ) -> Iterator[Lock]:
        """Take the lock as a new process would."""
        self.world.lock = self.world.lock.take_over()
        yield self.world.lock

    @contextmanager
    def view(self, namespaces: Sequence[str], *, guards: bool = False) -> Iterator[View]:
        """Give the view, which is always fresh."""
        yield self.world.view

    def crew(self) -> Executor:
        """Do the steps one after the other."""
        return Inline()


class Demo:
    """Types commands, as a person would, and says what happens in the cluster meanwhile."""

    def __init__(self) -> None:
        self.world = World(splits=lambda image: image == SPLIT_IMAGE)
        self.world.add_namespace(SYSTEM_NAMESPACE)
        self._session = SimulatedSession(self.world)

    def tell(self, *lines: str) -> None:
        """Say something to the reader."""
        for line in lines:
            print(f"# {line}", flush=True)  # noqa: T201 - the demo's page is its output

    def type(self, *words: str) -> int:
        """Run a command of the program, after showing it; gives its exit code."""
        print(f"\n$ seimigrate {shlex.join(words)}", flush=True)  # noqa: T201

        def open_session(chosen: Connect) -> SimulatedSession:
            return self._session

        code = program(words, open_session)
        sys.stderr.flush()
        print(f"[exit {code}]\n", flush=True)  # noqa: T201
        return code


def main() -> int:
    """Show the demo; gives 0 if every step came out as it was meant to."""
    demo = Demo()
    world = demo.world
    demo.tell("Everything here is simulated: API server, kubelet, controller and time are models in memory.")
    world.add_node(NAMESPACE, "full-0", "fullNode")
    world.add_node(NAMESPACE, "validator-0", "validator", sidecar_port=7778)
    codes = [demo.type("plan", *GO)]

    demo.tell("The old controller re-applies the old shape whenever it can; the hold denies it.")
    codes.append(demo.type("apply", "--node", f"{NAMESPACE}/full-0", "--yes", "--unguarded", *GO))
    denied = len(world.controller.denials) if world.controller else 0
    demo.tell(f"Meanwhile the old controller's writes were denied {denied} times.")

    demo.tell("The next node's new sidecar is broken: it never gets ready.")
    _break_when_moved(world, "validator-0")
    codes.append(demo.type("apply", "--node", f"{NAMESPACE}/validator-0", "--yes", "--unguarded", *GO))
    codes.append(demo.type("status"))

    demo.tell("The controller is upgraded to one that renders the new shape: now the first node can be released.")
    world.swap_controller("new", SPLIT_IMAGE)
    codes.append(demo.type("apply", "--node", f"{NAMESPACE}/full-0", "--yes", "--unguarded", *GO))
    codes.append(demo.type("status"))
    demo.tell("The second node was not held any more: the new controller has moved it by itself, with no gate and no")
    demo.tell("budget. That is why the recommended order begins with: seimigrate hold -A")
    expected = [0, 9, 6, 0, 0, 0]
    if codes != expected:
        demo.tell(f"this is not what was to be shown: exit codes {codes} instead of {expected}")
    return int(codes != expected)


def _break_when_moved(world: World, name: str) -> None:
    """Let a node's sidecar stay unready as soon as it splits, and only then."""

    def broken(*_: object) -> None:
        pod = world.view.get(Kind.POD, NAMESPACE, f"{name}-0")
        world.switches(NAMESPACE, name).stays_unready = pod is not None and SPLIT_IMAGE in str(pod["spec"])

    world.cluster.after_request = broken


if __name__ == "__main__":
    sys.exit(main())
