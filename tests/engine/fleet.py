"""Several nodes in a simulated world, and runs over them; what our hand takes down is counted at every request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from seimigrate.domain.findings import AcceptedFindings
from seimigrate.domain.fleet.actions import FleetAction, StartNodes
from seimigrate.domain.fleet.campaign import Campaign
from seimigrate.domain.fleet.control import ControlCommand, ControlRequest
from seimigrate.domain.fleet.observation import FleetObservation
from seimigrate.domain.kube.kinds import HOLD_LABEL, JOURNAL_PREFIX, SYSTEM_NAMESPACE, Kind
from seimigrate.domain.node.record import Outcome, Record
from seimigrate.domain.node.run_spec import RunSpec
from seimigrate.domain.node.shapes import Shape
from seimigrate.domain.node.shapes import read as read_shape
from seimigrate.domain.plan.fleet import Canary, Fleet, MaxUnavailable
from seimigrate.domain.plan.plan import Failure, Plan, Strategy
from seimigrate.engine import run_control
from seimigrate.engine.hold import HoldManager, find_accounts
from seimigrate.engine.journal import read
from seimigrate.engine.node_worker import Ports
from seimigrate.engine.results import Result
from seimigrate.engine.run import Run, RunServices
from seimigrate.engine.run_store import RunJournal
from seimigrate.simulation.cluster import Request
from seimigrate.simulation.objects import condition, labels_of
from seimigrate.simulation.world import World
from tests.engine.harness import WAYS, make_plan
from tests.engine.watchdog import WRITES, Interrupted

SEI = "sei"


def fleet_plan(
    *, soak: float = 30, at_once: str = "1", waves: tuple[str, ...] = ("100%",), failure: Failure | None = None,
    **canary: Any,
) -> Plan:  # fmt: skip
    """The plan of the tests, with a pace; what waits for an old controller's agreement waits shortly."""
    plan = make_plan()
    parts: dict[str, Any] = {
        "fleet": Fleet(canary=Canary(soak=soak, **canary), waves=waves, max_unavailable=MaxUnavailable(fleet=at_once)),
        "release": plan.release.model_copy(update={"agreement_timeout": 5.0, "stabilization": 5.0}),
        "failure": failure or Failure(),
    }
    return plan.model_copy(update=parts)


@dataclass
class Ships:
    """A world with nodes, each ``(name, mode, chain)``."""

    nodes: Sequence[tuple[str, str, str]]
    plan: Plan
    controller: str = "old"
    started: list[str] = field(default_factory=list)
    most_down: int = 0
    on_step: Callable[[Campaign, FleetAction, FleetObservation], None] | None = None

    def __post_init__(self) -> None:
        self.world = World(controller=self.controller)
        self.world.add_namespace(SYSTEM_NAMESPACE)
        for name, mode, chain in self.nodes:
            self.world.add_node(SEI, name, mode, chain=chain, until_ready=False)
        self.world.run_until(lambda: all(self.world.is_ready(SEI, name) for name, _, _ in self.nodes))
        self._ours = self.world.cluster.user
        self._locks = [self.world.lock]
        self._writes_left = -1
        self.world.cluster.before_request = self._before
        self.world.cluster.after_request = self._after

    @property
    def keys(self) -> list[tuple[str, str]]:
        return [(SEI, name) for name, _, _ in self.nodes]

    def record(self, name: str) -> Record:
        return read(self.world.cluster.objects[Kind.CONFIG_MAP][SEI, JOURNAL_PREFIX + name])

    def campaign(self) -> Campaign:
        about = RunJournal(self.world.cluster).load()
        assert about is not None
        assert about.campaign is not None
        return about.campaign

    def shape(self, name: str) -> Shape:
        """The shape of a node's pod."""
        pod = self.world.pod(SEI, name)
        assert pod is not None
        return read_shape(pod["spec"], self.plan.parameters).shape

    def held(self, name: str) -> bool:
        return HOLD_LABEL in labels_of(self.world.statefulset(SEI, name))

    def down(self) -> set[str]:
        """The nodes whose pods are not Ready now."""
        return {
            name
            for name, _, _ in self.nodes
            if (pod := self.world.pod(SEI, name)) is None
            or "deletionTimestamp" in pod["metadata"]
            or condition(pod, "Ready") != "True"
        }

    # Runs.

    def process(self, **options: Any) -> Run:
        """Give a run as a new process would make it."""
        self._locks.append(self._locks[-1].take_over())
        lock, world = self._locks[-1], self.world
        settings: dict[str, Any] = {
            "command": "test",
            "runbooks": WAYS,
            "strategy": Strategy.MIXED,
            "accepted_findings": AcceptedFindings.VIOLATIONS,
        }
        return Run(
            Ports(world.cluster, world.cache, world.pods, lock, world.clock),
            self.plan,
            HoldManager(world.cluster, world.cache, find_accounts(world.cache.list(Kind.DEPLOYMENT), None)),
            RunSpec(**(settings | options)),
            "test",
            lambda record, action: None,
            RunServices(listener=self._told),
        )

    def apply(self, **options: Any) -> dict[str, Result]:
        run = self.process(**options)
        run.start()
        return {result.name: result for result in run.apply(self.keys)}

    def rollback(self, **options: Any) -> dict[str, Outcome | None]:
        run = self.process(**options)
        run.start()
        return {result.name: result.outcome for result in run.rollback(self.keys)}

    def outcomes(self, **options: Any) -> dict[str, Outcome | None]:
        return {name: result.outcome for name, result in self.apply(**options).items()}

    def _told(self, campaign: Campaign, step: FleetAction, fleet: FleetObservation) -> None:
        if isinstance(step, StartNodes):
            self.started += [key.partition("/")[2] for key in step.keys]
        if self.on_step is not None:
            self.on_step(campaign, step, fleet)

    def wish(self, command: ControlCommand, node: str = "", *, rollback: bool = False) -> None:
        """Leave a wish for the live run, as a person's command does."""
        key = f"{SEI}/{node}" if node else ""
        request = ControlRequest(f"{command}-{node}", command, "ann", self._locks[-1].token, key, rollback)
        run_control._change(self.world.cluster, lambda board: run_control._with_request(board, request))

    # Dying, and what must never be.

    def die_after(self, writes: int) -> None:
        """Let the process die at one of its writes from now."""
        self._writes_left = writes

    def _before(self, request: Request) -> None:
        if request.user != self._ours or request.verb not in WRITES or request.dry_run:
            return
        if self._writes_left == 0:
            self._writes_left = -1
            raise Interrupted
        self._writes_left -= self._writes_left > 0

    def _after(self, request: Request) -> None:
        if request.user == self._ours and request.verb in ("evict", "delete") and request.kind is Kind.POD:
            self.most_down = max(self.most_down, len(self.down()))
