"""One node in a simulated world, and runs over it: each run is a separate process with its own token."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from threading import Lock as ThreadLock
from threading import RLock
from typing import Any

from seimigrate.domain.findings import AcceptedFindings
from seimigrate.domain.kube.kinds import (
    FREEZE_LABEL,
    HOLD_LABEL,
    JOURNAL_PREFIX,
    MANAGER,
    SYSTEM_NAMESPACE,
    Kind,
    Object,
)
from seimigrate.domain.node.actions import Action
from seimigrate.domain.node.record import Record
from seimigrate.domain.node.run_spec import RunSpec
from seimigrate.domain.node.shapes import Shape
from seimigrate.domain.node.shapes import read as read_shape
from seimigrate.domain.plan.plan import Plan, StageName, Strategy
from seimigrate.domain.plan.rollback_steps import RollbackRunbooks
from seimigrate.engine.hold import HoldManager, find_accounts
from seimigrate.engine.journal import read
from seimigrate.engine.node_worker import Ports
from seimigrate.engine.ports import Lock, ObjectCache
from seimigrate.engine.results import Result
from seimigrate.engine.run import Run
from seimigrate.planfile import load_plan
from seimigrate.resources import plans_dir
from seimigrate.runbook import read_runbooks
from seimigrate.simulation.cluster import Request
from seimigrate.simulation.locks import FakeLock
from seimigrate.simulation.objects import CONTROLLER_USER, condition, copy_json, labels_of
from seimigrate.simulation.world import SPLIT_IMAGE, World
from tests.engine.invariant_monitor import WRITES, Interrupted, InvariantMonitor

NAMESPACE, NAME = "sei", "node-0"
KEY = (NAMESPACE, NAME)
STRATEGIES = (Strategy.STAGED, Strategy.MERGED)
MODES = ("fullNode", "archive", "replayer", "validator", "seed")

_TEXT = (plans_dir() / "split-listeners.yaml").read_text()
_SPLITS = (
    f'sidecars.supported=[{{digest: "{SPLIT_IMAGE.partition("@")[2]}"}}]',
    f"sidecars.image={SPLIT_IMAGE}",
)

RUNBOOKS = read_runbooks(None).rollback_runbooks
"""The rollback runbooks that the bundled runbooks define."""

Interrupt = Callable[[Record, Action], bool]
"""Returns whether a run is interrupted before it executes an action."""


def make_plan(*overrides: str, **parts: Any) -> Plan:
    """Return the bundled plan with the simulation's split sidecar; ``parts`` replace whole members of it."""
    return _read_plan(overrides).model_copy(update=parts)


@lru_cache
def _read_plan(overrides: tuple[str, ...]) -> Plan:
    return load_plan(_TEXT, "split-listeners.yaml", [*_SPLITS, *overrides])


@dataclass
class Harness:
    """A world with one node that is ready in the old shape, and a copy of its original objects."""

    mode: str = "fullNode"
    strategy: Strategy = Strategy.STAGED
    plan: Plan = field(default_factory=make_plan)
    sidecar_port: int = 7777
    controller: str = "old"

    def __post_init__(self) -> None:
        self.world = World(controller=self.controller)
        self.world.add_namespace(SYSTEM_NAMESPACE)
        self.world.add_node(NAMESPACE, NAME, self.mode, sidecar_port=self.sidecar_port)
        self.statefulset_before = copy_json(self.statefulset["spec"])
        self.service_before = copy_json(self.service["spec"])
        self.reported: list[tuple[Record, Action]] = []
        self._first = len(self.world.cluster.requests)
        self._locks: list[FakeLock] = [self.world.lock]
        self.monitor = InvariantMonitor(self.world, KEY)

    # Observed state.

    @property
    def statefulset(self) -> Object:
        return self.world.statefulset(*KEY)

    @property
    def service(self) -> Object:
        return self.world.cluster.objects[Kind.SERVICE][KEY]

    @property
    def pod(self) -> Object:
        pod = self.world.pod(*KEY)
        assert pod is not None
        return pod

    @property
    def template(self) -> Object:
        template: Object = self.statefulset["spec"]["template"]["spec"]
        return template

    @property
    def shape(self) -> Shape:
        """Return the shape of the template."""
        return read_shape(self.template, self.plan.parameters).shape

    @property
    def pod_shape(self) -> Shape:
        return read_shape(self.pod["spec"], self.plan.parameters).shape

    @property
    def pod_ready(self) -> bool:
        pod = self.world.pod(*KEY)
        return pod is not None and "deletionTimestamp" not in pod["metadata"] and condition(pod, "Ready") == "True"

    @property
    def record(self) -> Record:
        """Return the node's record from its journal."""
        return read(self.world.cluster.objects[Kind.CONFIG_MAP][(NAMESPACE, JOURNAL_PREFIX + NAME)])

    @property
    def held(self) -> bool:
        return HOLD_LABEL in labels_of(self.statefulset)

    @property
    def requests(self) -> list[Request]:
        """Return all requests to the API server since the node was ready."""
        return self.world.cluster.requests[self._first :]

    def our_writes(self) -> list[Request]:
        """Return the writes that runs sent, without dry runs, whether they succeeded or not."""
        user = self.world.cluster.user
        return [r for r in self.requests if r.user == user and r.verb in WRITES and not r.dry_run]

    def replaced_pod_count(self) -> int:
        """Return how many pods the runs have replaced."""
        return sum(
            r.verb in ("delete", "evict") and r.kind is Kind.POD and r.outcome == "ok" for r in self.our_writes()
        )

    def controller_deletes(self) -> list[Request]:
        """Return the requests by which the controller deleted pods."""
        return [r for r in self.requests if r.user == CONTROLLER_USER and r.verb == "delete" and r.kind is Kind.POD]

    # Runs.

    def new_run(
        self,
        *,
        strategy: Strategy | None = None,
        target_stage: StageName = StageName.RELEASE,
        plan: Plan | None = None,
        lock: Lock | None = None,
        cache: ObjectCache | None = None,
        until: Interrupt | None = None,
        overwrite: bool = False,
        accept: bool = True,
        runbooks: RollbackRunbooks | None = None,
        completed_steps: tuple[int, ...] = (),
        rollback_to: StageName | None = None,
    ) -> Run:
        """Return a run as a new process creates it; it takes the lock over from the last one."""
        if lock is None:
            lock = self._locks[-1].take_over()
            self._locks.append(lock)

        def report(record: Record, action: Action) -> None:
            self.reported.append((record, action))
            if until is not None and until(record, action):
                raise Interrupted

        world = self.world
        accounts = find_accounts(world.cache.list(Kind.DEPLOYMENT), None)
        return Run(
            Ports(world.cluster, cache or world.cache, self.monitor, lock, world.clock),
            plan or self.plan,
            HoldManager(world.cluster, cache or world.cache, accounts),
            RunSpec(
                command="test",
                strategy=strategy or self.strategy,
                runbooks=runbooks or RUNBOOKS,
                target_stage=target_stage,
                accepted_findings=AcceptedFindings.VIOLATIONS if accept else AcceptedFindings.NOTHING,
                overwrite=overwrite,
                completed_steps=completed_steps,
                rollback_to=rollback_to,
            ),
            "test",
            report,
        )

    def apply(self, **kwargs: Any) -> Result:
        run = self.new_run(**kwargs)
        run.start()
        [result] = run.apply([KEY])
        return result

    def hold(self, **kwargs: Any) -> Result:
        run = self.new_run(target_stage=StageName.HOLD, **kwargs)
        run.start()
        [result] = run.hold([KEY])
        return result

    def rollback(self, rollback_to: StageName | None = None, **kwargs: Any) -> Result:
        run = self.new_run(rollback_to=rollback_to, **kwargs)
        run.start()
        [result] = run.rollback([KEY])
        return result

    def crash(self, number: int, *, after: bool, run: Callable[[], object]) -> bool:
        """Crash the process at its ``number``-th write, before or after it is executed; return whether it crashed."""
        self.monitor.crash_at(number, after=after)
        try:
            run()
        except Interrupted:
            return True
        finally:
            self.monitor.disarm()
        return False

    def crashes_at_next_step(self, run: Callable[[], object]) -> bool:
        """Crash the process once the journal shows a new step; return whether it crashed."""
        previous = self._progress()

        def at_write() -> None:
            if self._progress() not in (previous, None):
                raise Interrupted

        self.monitor.at_write = at_write
        try:
            run()
        except Interrupted:
            return True
        finally:
            self.monitor.at_write = None
        return False

    def _progress(self) -> Record | None:
        """Return the record without its owner and times, ``None`` before the first write and after the last."""
        if (NAMESPACE, JOURNAL_PREFIX + NAME) not in self.world.cluster.objects[Kind.CONFIG_MAP]:
            return None
        record = self.record.owned_by("")
        intent = replace(record.intent, token="", at=0.0) if record.intent else None
        return None if record.outcome else replace(record, intent=intent, since=0.0)

    def forks(self, run: Callable[[], object]) -> list[Harness]:
        """Execute a whole run; return copies of the world before and after each of its writes.

        If nothing happened between two writes, the copy after the first is also the one before the second. No process
        runs in these copies.
        """
        forks: list[Harness] = []
        versions: list[tuple[int, int]] = []

        def at_write() -> None:
            version = (self.world.cluster.version, len(self.world.log.entries))
            if not versions or versions[-1] != version:
                versions.append(version)
                forks.append(self._fork())

        self.monitor.at_write = at_write
        run()
        self.monitor.at_write = None
        return [*forks, self]

    def _fork(self) -> Harness:
        """Copy the world; stored objects and answered requests never change and are shared."""
        cluster, kubelet, log = self.world.cluster, self.world.kubelet, self.world.log
        bodies = [body for kind in Kind for body in cluster.objects[kind].values()]
        answered = [request for request in cluster.requests if request.outcome]
        shared = [self.statefulset_before, self.service_before, self.plan, *bodies, *answered, *log.entries]
        memo: dict[int, Any] = {id(each): each for each in shared}
        memo |= {
            id(kubelet.lock): RLock(),
            id(log._lock): ThreadLock(),
            id(self.reported): [],
            id(self.monitor.at_write): None,
            id(cluster.applied): dict(cluster.applied),
        }
        copied = copy.deepcopy(self, memo)
        for request in copied.world.cluster.requests[-3:]:
            request.outcome = request.outcome or Interrupted.__name__
        return copied

    def interrupt(self, until: Interrupt, **kwargs: Any) -> None:
        """Apply, and interrupt the run once a condition is met."""
        self._interrupted(lambda: self.apply(until=until, **kwargs))

    def interrupt_rollback(self, until: Interrupt, **kwargs: Any) -> None:
        """Roll back, and interrupt the run once a condition is met."""
        self._interrupted(lambda: self.rollback(until=until, **kwargs))

    def _interrupted(self, run: Callable[[], object]) -> None:
        try:
            run()
        except Interrupted:
            return
        raise AssertionError("the run finished before it could be interrupted")

    # External changes.

    def edit(self, kind: Kind, *operations: Object, name: str = NAME) -> None:
        """Change an object as another client with kubectl does."""
        ours, self.world.cluster.user = self.world.cluster.user, "other-client"
        try:
            namespace = NAMESPACE if kind.resource.namespaced else ""
            self.world.cluster.patch(kind, namespace, name, operations, manager="kubectl-edit")
        finally:
            self.world.cluster.user = ours

    def put_disruption_budget(self, allowed: int) -> None:
        """Create a PodDisruptionBudget for the node's pod that allows ``allowed`` evictions now."""
        self.world.cluster.put(
            Kind.DISRUPTION_BUDGET,
            {
                "metadata": {"namespace": NAMESPACE, "name": "budget"},
                "spec": {"selector": {"matchLabels": {"sei.io/node": NAME}}},
                "status": {"disruptionsAllowed": allowed, "expectedPods": 1, "desiredHealthy": 0},
            },
        )

    def delete_pod(self) -> None:
        """Delete the pod as a drain does."""
        client = self.world.cluster.client("other-client")
        client.delete(Kind.POD, NAMESPACE, f"{NAME}-0", uid=self.pod["metadata"]["uid"], grace_seconds=300)

    # Assertions.

    def assert_restored(self) -> None:
        """Assert that the objects equal the original ones, without our labels or managed fields."""
        assert self.statefulset["spec"] == self.statefulset_before
        assert self.service["spec"] == self.service_before
        self.assert_clean()
        assert self.pod_shape is Shape.SHARED
        assert self.pod_ready

    def assert_clean(self) -> None:
        """Assert that the objects have none of our labels and that we own none of their fields."""
        for obj in (self.statefulset, self.service):
            assert not {HOLD_LABEL, FREEZE_LABEL} & labels_of(obj).keys()
            assert MANAGER not in {entry["manager"] for entry in obj["metadata"]["managedFields"]}

    def assert_done(self) -> None:
        """Assert that the node is ready in the new shape and released to its controller."""
        self.assert_clean()
        assert self.shape is self.pod_shape is Shape.ENFORCED
        assert self.pod_ready


def reaching(stage: StageName) -> Interrupt:
    """Return an interrupt of a run that is met once its record is at a stage."""
    return lambda record, _: record.stage is stage


def planned_restarts(strategy: Strategy) -> int:
    return 2 if strategy is Strategy.STAGED else 1
