"""A fleet's cutover in memory: the real program on a simulated cluster, which says that it is one.

Ten nodes of five modes on two chains. One pins a sidecar that is too old, the new sidecar of another never gets ready.
Hours of the simulated cluster take seconds.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from seimigrate.cli.app import main as program
from seimigrate.cli.options import Connect
from seimigrate.domain.kinds import LEASE_NAME, SYSTEM_NAMESPACE, Kind
from seimigrate.engine.crew import Inline
from seimigrate.engine.ports import Clock, Cluster, Lock, Pods, View, Web
from seimigrate.engine.rights import Needs
from seimigrate.resources import plans_dir
from seimigrate.simulation.prometheus import SimulatedPrometheus
from seimigrate.simulation.world import MemoryView, World

NAMESPACE = "sei"
SPLIT_IMAGE = "ghcr.io/sei-protocol/seictl:v2.0.0"
OLD_IMAGE = "ghcr.io/sei-protocol/seictl:v1.9.0"
PACIFIC, ATLANTIC = "pacific-1", "atlantic-2"
FLEET = (
    ("replayer-0", "replayer", PACIFIC),
    ("full-0", "fullNode", PACIFIC),
    ("full-1", "fullNode", PACIFIC),
    ("full-2", "fullNode", ATLANTIC),
    ("seed-0", "seed", PACIFIC),
    ("seed-1", "seed", ATLANTIC),
    ("archive-0", "archive", PACIFIC),
    ("validator-0", "validator", PACIFIC),
    ("validator-1", "validator", PACIFIC),
    ("validator-2", "validator", ATLANTIC),
)
MOMENT = 0.01
"""Seconds."""
PINNED, BROKEN = "full-2", "seed-1"
PLAN = """
parameters:
  sidecars: {accepted: [{minimumVersion: v2.0.0}], image: ghcr.io/sei-protocol/seictl:v2.0.0}
failure: {node: rollback, maxFailed: 1, run: stop, undo: none}
fleet:
  canary: {soak: 300, promote: automatic}
  waves: ["30%", "100%"]
  maxUnavailable: {fleet: 2, chain: 1}
gates:
- gate: prometheus
  name: sidecars-up
  at: {pod: monitoring/prometheus-0, port: 9090}
  query: up
  condition: all == 1
"""
"""What this fleet's plan says beyond the project's own."""


class SimulatedSession:
    """The simulated cluster, as a command meets one."""

    namespace = NAMESPACE
    server = "simulated"

    def __init__(self, world: World) -> None:
        self.world = world
        self.cluster: Cluster = world.cluster
        self.clock: Clock = world.clock
        self._prometheus = SimulatedPrometheus(world)

    def web(self) -> Web:
        """Give a simulated Prometheus."""
        return self._prometheus

    def require_rights(self, needs: Needs) -> None:
        """Find nothing missing: there are no rights in memory."""

    def require_guard_rights(self, namespaces: Sequence[str], account: tuple[str, str]) -> None:
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
        """Give the view, which is always fresh; on a terminal time passes slowly enough to be watched."""
        yield Slowed(self.world) if sys.stderr.isatty() else self.world.view

    def crew(self) -> Executor:
        """Do the steps one after the other."""
        return Inline()


class Slowed(MemoryView):
    """A view in which each moment takes a moment."""

    def wait(self, seconds: float) -> None:
        """Let the world go on, then let whoever watches look."""
        super().wait(seconds)
        time.sleep(MOMENT)


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
    demo.tell(
        "Everything here is simulated: API server, kubelets, controller, Prometheus and time are models in memory.",
        f"Ten nodes on two chains. The owner of {PINNED} pins a sidecar that is too old to split ({OLD_IMAGE});",
        f"the new sidecar of {BROKEN} will never get ready, which nobody knows yet.",
    )
    for name, mode, chain in FLEET:
        world.add_node(NAMESPACE, name, mode, chain=chain, sidecar_image=OLD_IMAGE if name == PINNED else None)
    _break_when_moved(world, BROKEN)
    with TemporaryDirectory() as folder:
        plan, saved = str(Path(folder, "plan.yaml")), str(Path(folder, "cutover.plan"))
        Path(plan).write_text(_plan_text())
        demo.tell("First all nodes are held: then a controller upgrade cannot roll the fleet behind our back.")
        codes = [demo.type("hold", "--yes", "-f", plan)]
        demo.tell("The controller is upgraded to one that renders the new shape. Held nodes stay as they are.")
        world.swap_controller("new", SPLIT_IMAGE)
        world.run(60)
        demo.tell("What would be done, in which order, and for how long: looked at, and saved.")
        codes.append(demo.type("plan", "-f", plan, "--accept-policy-findings", "--out", saved))
        demo.tell("Exactly that is carried out: canaries first, then waves, with a gate on Prometheus between them.")
        began = world.clock.now()
        codes.append(demo.type("apply", saved, "--yes", "--unguarded"))
        took = (world.clock.now() - began) / 60
        demo.tell(f"That took {took:.0f} minutes of the simulated cluster's time.")
        codes.append(demo.type("status"))
    demo.tell(
        f"Eight nodes are done. {BROKEN} failed and was rolled back by itself, within the budget of one failure.",
        f"{PINNED} has the new shape and stays held: its owner has to write the new sidecar into its SeiNode.",
    )
    expected = [0, 0, 6, 0]
    if codes != expected:
        demo.tell(f"this is not what was to be shown: exit codes {codes} instead of {expected}")
    return int(codes != expected)


def _plan_text() -> str:
    plan = yaml.safe_load((plans_dir() / "split-listeners.yaml").read_text())
    more = yaml.safe_load(PLAN)
    plan["parameters"] |= more.pop("parameters")
    return yaml.safe_dump(plan | more, sort_keys=False)


def _break_when_moved(world: World, name: str) -> None:
    """Let a node's sidecar stay unready as soon as it splits, and only then."""

    def broken(*_: object) -> None:
        pod = world.view.get(Kind.POD, NAMESPACE, f"{name}-0")
        world.switches(NAMESPACE, name).stays_unready = pod is not None and SPLIT_IMAGE in str(pod["spec"])

    world.cluster.after_request = broken


if __name__ == "__main__":
    sys.exit(main())
