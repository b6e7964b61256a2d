"""A guard in a simulated world: what it brings back, what it leaves to others, and what it does after it was killed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from seimigrate.domain.kube.kinds import LEASE_NAME, SYSTEM_NAMESPACE, Kind
from seimigrate.domain.node.guard_decision import GuardAction, Skip
from seimigrate.domain.node.record import Outcome
from seimigrate.domain.plan.plan import Release, StageName, Strategy
from seimigrate.engine import guard_journal
from seimigrate.engine.errors import LockHeld
from seimigrate.engine.guard import POLL_INTERVAL, Guard
from seimigrate.engine.lease_monitor import RunCoverage
from seimigrate.engine.node_worker import Ports
from seimigrate.engine.ports import Lock, Response
from seimigrate.planfile import load_plan
from seimigrate.resources import plans_dir
from seimigrate.simulation.locks import FakeLock
from tests.engine.harness import KEY, NAME, NAMESPACE, Scene, make_plan

QUICK = make_plan(release=Release(agreement_timeout=0))
BARE = load_plan((plans_dir() / "split-listeners.yaml").read_text(), "split-listeners.yaml", [])
"""The plan as it ships: it names no sidecar that splits, and a guard needs none."""


class CoveredPods:
    """The pods, for guards: no task but the mark-ready that is in the guard's journal, while the pod is not ready."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.marked = 0

    def call(
        self,
        namespace: str,
        pod: str,
        port: int,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        **kw: Any,
    ) -> Response:
        if method != "GET":
            self._scene.watchdog._reached(after=False)
            intent = journal(self._scene).nodes[f"{NAMESPACE}/{NAME}"].intent
            assert intent is not None
            assert body == {"id": intent.task, "type": "mark-ready"}
            assert intent.pod == self._scene.pod["metadata"]["uid"]
            assert not self._scene.pod_ready
            self.marked += 1
        answer = self._scene.world.pods.call(namespace, pod, port, method, path, body=body, **kw)
        if method != "GET":
            self._scene.watchdog._reached(after=True)
        return answer


def journal(scene: Scene) -> guard_journal.GuardRecord:
    found = scene.world.cluster.objects[Kind.CONFIG_MAP].get((SYSTEM_NAMESPACE, guard_journal.NAME))
    return guard_journal.read(found)


class Process:
    """One guard, as a new process would make it."""

    def __init__(self, scene: Scene, lock: Lock | None = None) -> None:
        world = scene.world
        self.scene, self.pods, self.steps = scene, CoveredPods(scene), list[GuardAction]()
        ports = Ports(world.cluster, world.cache, self.pods, lock or FakeLock(), world.clock)
        told: Callable[[Any, GuardAction], None] = lambda key, step: self.steps.append(step)  # noqa: E731
        self.guard = Guard(ports, BARE, told, RunCoverage(world.cluster, world.clock))

    def until(self, reached: Callable[[], bool], limit: float = 600.0) -> None:
        end = self.scene.world.clock.now() + limit
        self.guard.run(lambda: reached() or self.scene.world.clock.now() >= end)
        assert reached()

    def for_seconds(self, seconds: float, meanwhile: Callable[[], None] = lambda: None) -> None:
        end = self.scene.world.clock.now() + seconds

        def over() -> bool:
            meanwhile()
            return self.scene.world.clock.now() >= end

        self.guard.run(over)

    def left(self) -> set[str]:
        """The reasons for which the node was left to people."""
        return {step.reason for step in self.steps if isinstance(step, Skip) and step.needs_operator}


def migrated(plan: Any = QUICK) -> Scene:
    """A node that has its new shape and stays held, since the old controller does not agree."""
    scene = Scene(plan=plan, strategy=Strategy.MERGED)
    assert scene.apply().outcome is Outcome.DONE_HELD
    return scene


def renewed(scene: Scene, token: str = "run-9") -> None:
    """Let a run that holds the lock renew it."""
    now = scene.world.clock.now()
    scene.world.cluster.put(
        Kind.LEASE,
        {
            "metadata": {
                "namespace": SYSTEM_NAMESPACE,
                "name": LEASE_NAME,
                "annotations": {"seimigrate.sei.io/run": token},
            },
            "spec": {
                "holderIdentity": "ann@there:1",
                "leaseDurationSeconds": 15,
                "renewTime": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            },
        },
    )


def test_a_held_node_whose_pod_an_outsider_deleted_gets_ready_again_after_90_seconds_and_nothing_else_is_written() -> (
    None
):
    scene = migrated()
    deleted, before = scene.world.clock.now(), len(scene.ours())
    scene.delete_pod()
    process = Process(scene)
    process.until(lambda: scene.pod_ready and scene.pod["metadata"].get("deletionTimestamp") is None)
    assert process.pods.marked == 1
    assert scene.world.clock.now() - deleted > 90
    written = {
        (r.kind, r.namespace, r.name) for r in scene.ours()[before:] if r.kind is not Kind.POD or r.user != "person"
    }
    assert written == {(Kind.CONFIG_MAP, SYSTEM_NAMESPACE, guard_journal.NAME)}


def test_a_node_that_was_ready_when_it_was_held_is_brought_back_where_its_controller_is_gone() -> None:
    scene = Scene()
    scene.hold()
    scene.world.stop_controller()
    scene.delete_pod()
    Process(scene).until(lambda: scene.pod_ready)


def test_a_node_that_its_controller_looks_after_is_left_to_it() -> None:
    scene = Scene()
    scene.hold()
    scene.delete_pod()
    process = Process(scene)
    process.until(lambda: scene.pod_ready)
    assert process.pods.marked == 0


def test_a_node_that_was_not_ready_when_it_was_held_is_left_to_people() -> None:
    scene = Scene()
    scene.world.stop_controller()
    scene.delete_pod()
    scene.world.run(30)
    scene.hold()
    process = Process(scene)
    process.for_seconds(300)
    assert process.pods.marked == 0
    assert process.left() == {"the node was not ready when it was held"}


def test_a_newer_mark_not_ready_is_somebodys_intent() -> None:
    scene = migrated()
    body = {"type": "mark-not-ready"}
    scene.world.pods.call(*KEY[:1], f"{NAME}-0", 8443, "POST", "/v0/tasks", body=body, authorised=True)
    process = Process(scene)
    process.for_seconds(300)
    scene.delete_pod()
    process.for_seconds(300)
    assert process.pods.marked == 0
    assert any("mark-not-ready" in reason for reason in process.left())
    assert not scene.pod_ready


def test_an_intent_that_comes_after_the_journal_is_not_overrun() -> None:
    scene = migrated()
    scene.delete_pod()

    def at_once(request: Any) -> None:
        if request.name == guard_journal.NAME and "mark-ready" in str(request.body) and request.outcome == "ok":
            body = {"type": "mark-not-ready"}
            scene.world.pods.call(*KEY[:1], f"{NAME}-0", 8443, "POST", "/v0/tasks", body=body, authorised=True)

    scene.world.cluster.after_request = at_once
    process = Process(scene)
    process.for_seconds(300)
    assert process.pods.marked == 0
    assert any("mark-not-ready" in reason for reason in process.left())
    assert journal(scene).nodes[f"{NAMESPACE}/{NAME}"].intent is None


def test_a_live_run_is_yielded_to_and_a_dead_one_is_not() -> None:
    scene = migrated()
    scene.delete_pod()
    process = Process(scene)
    process.for_seconds(300, meanwhile=lambda: renewed(scene))
    assert process.pods.marked == 0
    assert not process.left()
    process.until(lambda: scene.pod_ready, limit=130)
    assert process.pods.marked == 1


def test_a_node_that_is_frozen_without_a_run_is_marked_at_once() -> None:
    scene = Scene(plan=QUICK, strategy=Strategy.MERGED)

    def asks(record: Any, action: Any) -> bool:
        answer = scene.world.kubelet.pod(NAMESPACE, f"{NAME}-0")
        sidecar = answer.container("sei-sidecar") if answer is not None else None
        started = sidecar is not None and sidecar.running and not sidecar.marked_ready
        return bool(len(record.replaced_pods) == 1 and started and record.intent is None)

    scene.interrupt(asks)
    start = scene.world.clock.now()
    process = Process(scene)
    process.until(lambda: process.pods.marked == 1)
    assert scene.world.clock.now() - start < 30
    process.until(lambda: scene.pod_ready)
    assert scene.apply().outcome is Outcome.DONE_HELD
    assert scene.replaced() == 1


def test_a_node_whose_run_died_in_the_middle_of_a_write_belongs_to_a_run() -> None:
    scene = Scene(plan=QUICK, strategy=Strategy.MERGED)
    scene.interrupt(lambda record, _: record.intent is not None and record.stage is StageName.ENFORCE)
    scene.delete_pod()
    process = Process(scene)
    process.for_seconds(400)
    assert process.pods.marked == 0
    assert any("resume it: seimigrate apply --node" in reason for reason in process.left())


@pytest.mark.parametrize(("spec", "reason"), [({"paused": True}, "spec.paused"), ({"image": "sei:v9"}, "spec.image")])
def test_what_its_owner_wants_otherwise_is_left_to_people(spec: Mapping[str, Any], reason: str) -> None:
    scene = migrated()
    scene.world.stop_controller()
    scene.delete_pod()
    scene.world.edit_seinode(*KEY, spec)
    process = Process(scene)
    process.for_seconds(300)
    assert process.pods.marked == 0
    assert [told for told in process.left() if reason in told]


def test_a_sidecar_that_crashes_or_does_not_take_it_is_left_to_people() -> None:
    scene = migrated()
    scene.world.faults(*KEY).stays_unready = True
    scene.delete_pod()
    process = Process(scene)
    process.for_seconds(600)
    assert process.pods.marked == 3
    assert any("after 3 mark-ready attempts" in reason for reason in process.left())
    scene.world.faults(*KEY).stays_unready = False
    scene.world.faults(*KEY).sidecar_crashes = True
    scene.delete_pod()
    process.for_seconds(600)
    assert any("CrashLoopBackOff" in reason for reason in process.left())


def test_of_two_guards_one_acts() -> None:
    scene = migrated()
    first = FakeLock()
    old, new = Process(scene, first), Process(scene, first.take_over())
    scene.delete_pod()
    with pytest.raises(LockHeld):
        old.guard.run_once()
    new.until(lambda: scene.pod_ready)
    assert (old.pods.marked, new.pods.marked) == (0, 1)


def test_a_run_that_begins_meanwhile_finds_its_journal_as_it_left_it() -> None:
    scene = migrated()
    scene.delete_pod()
    process = Process(scene)
    run = scene.process()
    run.start()
    process.until(lambda: process.pods.marked == 1)
    [result] = run.rollback([KEY])
    assert result.outcome is Outcome.ROLLED_BACK_HELD
    assert scene.pod_ready


def test_the_guard_says_which_nodes_it_looks_after() -> None:
    scene = migrated()
    process = Process(scene)
    process.guard.run_once()
    assert journal(scene).guarded_nodes == (f"{NAMESPACE}/{NAME}",)
    assert scene.rollback(plan=make_plan()).outcome is Outcome.ROLLED_BACK
    process.guard.run_once()
    assert journal(scene).guarded_nodes == ()


def test_after_a_kill_at_any_write_the_next_guard_gets_the_node_ready() -> None:
    scene = migrated()
    scene.delete_pod()
    first = Process(scene)
    forks = scene.forks(lambda: first.until(lambda: scene.pod_ready))
    assert len(forks) > 5
    for fork in forks:
        marked = sum(task["type"] == "mark-ready" for task in fork.world.volume(*KEY).tasks.values())
        process = Process(fork)
        process.until(lambda fork=fork: fork.pod_ready)  # type: ignore[misc]
        process.for_seconds(3 * POLL_INTERVAL)
        found = journal(fork).nodes.get(f"{NAMESPACE}/{NAME}")
        assert found is None or found.intent is None
        after = sum(task["type"] == "mark-ready" for task in fork.world.volume(*KEY).tasks.values())
        assert after - marked <= 1
        assert fork.replaced() == 1
