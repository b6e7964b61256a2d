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

from seimigrate.app.options import ConnectionOptions
from seimigrate.cli.main import main as program
from seimigrate.domain.kube.kinds import LEASE_NAME, SYSTEM_NAMESPACE, Kind
from seimigrate.engine.executor import InlineExecutor
from seimigrate.engine.permissions import RequiredPermissions
from seimigrate.engine.ports import Clock, Cluster, HttpClient, Lock, ObjectCache, PodClient
from seimigrate.resources import plans_dir
from seimigrate.simulation.prometheus import SimulatedPrometheus
from seimigrate.simulation.world import FakeCache, World

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
FRAME_SECONDS = 0.01
"""Seconds."""
PINNED, BROKEN = "full-2", "seed-1"
PLAN = """
parameters:
  sidecars: {supported: [{minimumVersion: v2.0.0}], image: ghcr.io/sei-protocol/seictl:v2.0.0}
failure: {onNodeFailure: rollback, maxFailedNodes: 1, onExceeded: stop, rollbackScope: none}
fleet:
  canary: {soak: 300, promote: automatic}
  waves: ["30%", "100%"]
  maxUnavailable: {fleet: 2, chain: 1}
gates:
- gate: prometheus
  name: sidecars-up
  target: {pod: monitoring/prometheus-0, port: 9090}
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

    def http_client(self) -> HttpClient:
        """Give a simulated Prometheus."""
        return self._prometheus

    def require_rights(self, needs: RequiredPermissions) -> None:
        """Find nothing missing: there are no rights in memory."""

    def require_guard_rights(self, namespaces: Sequence[str], account: tuple[str, str]) -> None:
        """Find nothing missing."""

    def pods(self, service_account: tuple[str, str], *, required: bool) -> PodClient:
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
    def cache(self, namespaces: Sequence[str], *, guards: bool = False) -> Iterator[ObjectCache]:
        """Give the view, which is always fresh; on a terminal time passes slowly enough to be watched."""
        yield SlowedCache(self.world) if sys.stderr.isatty() else self.world.cache

    def executor(self) -> Executor:
        """Do the steps one after the other."""
        return InlineExecutor()


class SlowedCache(FakeCache):
    """A view in which each moment takes a moment."""

    def wait_for_change(self, seconds: float) -> None:
        """Let the world go on, then let whoever watches look."""
        super().wait_for_change(seconds)
        time.sleep(FRAME_SECONDS)


class Demo:
    """Types commands, as a person would, and says what happens in the cluster meanwhile."""

    def __init__(self) -> None:
        self.world = World(splits=lambda image: image == SPLIT_IMAGE)
        self.world.add_namespace(SYSTEM_NAMESPACE)
        self._session = SimulatedSession(self.world)

    def narrate(self, *lines: str) -> None:
        """Say something to the reader."""
        for line in lines:
            print(f"# {line}", flush=True)  # noqa: T201 - the demo's page is its output

    def run_command(self, *words: str) -> int:
        """Run a command of the program, after showing it; gives its exit code."""
        print(f"\n$ seimigrate {shlex.join(words)}", flush=True)  # noqa: T201

        def open_session(chosen: ConnectionOptions) -> SimulatedSession:
            return self._session

        code = program(words, open_session)
        sys.stderr.flush()
        print(f"[exit {code}]\n", flush=True)  # noqa: T201
        return code


def main() -> int:
    """Show the demo; gives 0 if every step came out as it was meant to."""
    demo = Demo()
    world = demo.world
    demo.narrate(
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
        demo.narrate("First all nodes are held: then a controller upgrade cannot roll the fleet behind our back.")
        codes = [demo.run_command("hold", "--yes", "-f", plan)]
        demo.narrate("The controller is upgraded to one that renders the new shape. Held nodes stay as they are.")
        world.replace_controller("new", SPLIT_IMAGE)
        world.run(60)
        demo.narrate("What would be done, in which order, and for how long: looked at, and saved.")
        codes.append(demo.run_command("plan", "-f", plan, "--accept-policy-violations", "--out", saved))
        demo.narrate("Exactly that is carried out: canaries first, then waves, with a gate on Prometheus between them.")
        began = world.clock.now()
        codes.append(demo.run_command("apply", saved, "--yes", "--no-guard"))
        took = (world.clock.now() - began) / 60
        demo.narrate(f"That took {took:.0f} minutes of the simulated cluster's time.")
        codes.append(demo.run_command("status"))
    demo.narrate(
        f"Eight nodes are done. {BROKEN} failed and was rolled back by itself, within the budget of one failure.",
        f"{PINNED} has the new shape and stays held: its owner has to write the new sidecar into its SeiNode.",
    )
    expected = [0, 0, 6, 0]
    if codes != expected:
        demo.narrate(f"this is not what was to be shown: exit codes {codes} instead of {expected}")
    return int(codes != expected)


def _plan_text() -> str:
    plan = yaml.safe_load((plans_dir() / "split-listeners.yaml").read_text())
    more = yaml.safe_load(PLAN)
    plan["parameters"] |= more.pop("parameters")
    return yaml.safe_dump(plan | more, sort_keys=False)


def _break_when_moved(world: World, name: str) -> None:
    """Let a node's sidecar stay unready as soon as it splits, and only then."""

    def broken(*_: object) -> None:
        pod = world.cache.get(Kind.POD, NAMESPACE, f"{name}-0")
        world.faults(NAMESPACE, name).stays_unready = pod is not None and SPLIT_IMAGE in str(pod["spec"])

    world.cluster.after_request = broken


if __name__ == "__main__":
    sys.exit(main())
