"""Several nodes in a simulated world, and runs over them; nodes that are down are counted at each of our evictions."""

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
from tests.engine.harness import RUNBOOKS, make_plan
from tests.engine.invariant_monitor import WRITES, Interrupted

SEI = "sei"


def fleet_plan(
    *, soak: float = 30, max_unavailable: str = "1", waves: tuple[str, ...] = ("100%",), failure: Failure | None = None,
    **canary: Any,
) -> Plan:  # fmt: skip
    """Return the plan of the tests with fleet settings, and with short timeouts of the controller's agreement."""
    plan = make_plan()
    parts: dict[str, Any] = {
        "fleet": Fleet(
            canary=Canary(soak=soak, **canary), waves=waves, max_unavailable=MaxUnavailable(fleet=max_unavailable)
        ),
        "release": plan.release.model_copy(update={"agreement_timeout": 5.0, "stabilization": 5.0}),
        "failure": failure or Failure(),
    }
    return plan.model_copy(update=parts)


@dataclass
class FleetHarness:
    """A world with nodes, each ``(name, mode, chain)``."""

    nodes: Sequence[tuple[str, str, str]]
    plan: Plan
    controller: str = "old"
    started: list[str] = field(default_factory=list)
    max_down: int = 0
    on_action: Callable[[Campaign, FleetAction, FleetObservation], None] | None = None

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
        record = RunJournal(self.world.cluster).load()
        assert record is not None
        assert record.campaign is not None
        return record.campaign

    def shape(self, name: str) -> Shape:
        """Return the shape of a node's pod."""
        pod = self.world.pod(SEI, name)
        assert pod is not None
        return read_shape(pod["spec"], self.plan.parameters).shape

    def held(self, name: str) -> bool:
        return HOLD_LABEL in labels_of(self.world.statefulset(SEI, name))

    def down(self) -> set[str]:
        """Return the names of the nodes whose pods are not Ready now."""
        return {
            name
            for name, _, _ in self.nodes
            if (pod := self.world.pod(SEI, name)) is None
            or "deletionTimestamp" in pod["metadata"]
            or condition(pod, "Ready") != "True"
        }

    # Runs.

    def new_run(self, **options: Any) -> Run:
        """Return a run as a new process creates it; it takes the lock over from the last one."""
        self._locks.append(self._locks[-1].take_over())
        lock, world = self._locks[-1], self.world
        settings: dict[str, Any] = {
            "command": "test",
            "runbooks": RUNBOOKS,
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
            RunServices(listener=self._on_fleet_action),
        )

    def apply(self, **options: Any) -> dict[str, Result]:
        run = self.new_run(**options)
        run.start()
        return {result.name: result for result in run.apply(self.keys)}

    def rollback(self, **options: Any) -> dict[str, Outcome | None]:
        run = self.new_run(**options)
        run.start()
        return {result.name: result.outcome for result in run.rollback(self.keys)}

    def outcomes(self, **options: Any) -> dict[str, Outcome | None]:
        return {name: result.outcome for name, result in self.apply(**options).items()}

    def _on_fleet_action(self, campaign: Campaign, action: FleetAction, fleet: FleetObservation) -> None:
        if isinstance(action, StartNodes):
            self.started += [key.partition("/")[2] for key in action.keys]
        if self.on_action is not None:
            self.on_action(campaign, action, fleet)

    def send(self, command: ControlCommand, node: str = "", *, rollback: bool = False) -> None:
        """Send a control request to the live run, as an operator's command does."""
        key = f"{SEI}/{node}" if node else ""
        request = ControlRequest(f"{command}-{node}", command, "ann", self._locks[-1].token, key, rollback)
        run_control._change(self.world.cluster, lambda mailbox: run_control._with_request(mailbox, request))

    # Crashes, and the number of nodes that are down.

    def crash_after(self, writes: int) -> None:
        """Crash the process at its write after the next ``writes`` ones."""
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
            self.max_down = max(self.max_down, len(self.down()))
