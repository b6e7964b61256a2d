"""A guard in a simulated world: which nodes it marks ready, which require an operator, and kills of the guard."""

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
from tests.engine.harness import KEY, NAME, NAMESPACE, Harness, make_plan

QUICK = make_plan(release=Release(agreement_timeout=0))
BUNDLED = load_plan((plans_dir() / "split-listeners.yaml").read_text(), "split-listeners.yaml", [])
"""The plan as it harness: it names no sidecar that splits, and a guard needs none."""


class CheckedPodClient:
    """A pod client for guards that accepts only the mark-ready of the guard's record, while the pod is not ready."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
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
            self._harness.monitor._reached(after=False)
            intent = journal(self._harness).nodes[f"{NAMESPACE}/{NAME}"].intent
            assert intent is not None
            assert body == {"id": intent.task, "type": "mark-ready"}
            assert intent.pod == self._harness.pod["metadata"]["uid"]
            assert not self._harness.pod_ready
            self.marked += 1
        response = self._harness.world.pods.call(namespace, pod, port, method, path, body=body, **kw)
        if method != "GET":
            self._harness.monitor._reached(after=True)
        return response


def journal(harness: Harness) -> guard_journal.GuardRecord:
    config_map = harness.world.cluster.objects[Kind.CONFIG_MAP].get((SYSTEM_NAMESPACE, guard_journal.NAME))
    return guard_journal.read(config_map)


class Process:
    """One guard, as a new process creates it."""

    def __init__(self, harness: Harness, lock: Lock | None = None) -> None:
        world = harness.world
        self.harness, self.pods, self.actions = harness, CheckedPodClient(harness), list[GuardAction]()
        ports = Ports(world.cluster, world.cache, self.pods, lock or FakeLock(), world.clock)
        on_action: Callable[[Any, GuardAction], None] = lambda key, action: self.actions.append(action)  # noqa: E731
        self.guard = Guard(ports, BUNDLED, on_action, RunCoverage(world.cluster, world.clock))

    def until(self, reached: Callable[[], bool], limit: float = 600.0) -> None:
        end = self.harness.world.clock.now() + limit
        self.guard.run(lambda: reached() or self.harness.world.clock.now() >= end)
        assert reached()

    def for_seconds(self, seconds: float, on_tick: Callable[[], None] = lambda: None) -> None:
        end = self.harness.world.clock.now() + seconds

        def over() -> bool:
            on_tick()
            return self.harness.world.clock.now() >= end

        self.guard.run(over)

    def operator_reasons(self) -> set[str]:
        """Return the reasons for which the node requires operator action."""
        return {action.reason for action in self.actions if isinstance(action, Skip) and action.needs_operator}


def cut_over_node(plan: Any = QUICK) -> Harness:
    """Return a node in the new shape that stays held, because the old controller does not confirm it."""
    harness = Harness(plan=plan, strategy=Strategy.MERGED)
    assert harness.apply().outcome is Outcome.DONE_HELD
    return harness


def renew_lock(harness: Harness, token: str = "run-9") -> None:
    """Renew the lock as a run that holds it does."""
    now = harness.world.clock.now()
    harness.world.cluster.put(
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


def test_externally_deleted_pod_of_a_held_node_is_marked_ready_after_90_s() -> None:
    harness = cut_over_node()
    deleted, before = harness.world.clock.now(), len(harness.our_writes())
    harness.delete_pod()
    process = Process(harness)
    process.until(lambda: harness.pod_ready and harness.pod["metadata"].get("deletionTimestamp") is None)
    assert process.pods.marked == 1
    assert harness.world.clock.now() - deleted > 90
    written = {
        (r.kind, r.namespace, r.name)
        for r in harness.our_writes()[before:]
        if r.kind is not Kind.POD or r.user != "other-client"
    }
    assert written == {(Kind.CONFIG_MAP, SYSTEM_NAMESPACE, guard_journal.NAME)}


def test_node_that_was_ready_when_held_is_marked_ready() -> None:
    harness = Harness()
    harness.hold()
    harness.world.stop_controller()
    harness.delete_pod()
    Process(harness).until(lambda: harness.pod_ready)


def test_node_that_its_controller_marks_ready_is_left_to_it() -> None:
    harness = Harness()
    harness.hold()
    harness.delete_pod()
    process = Process(harness)
    process.until(lambda: harness.pod_ready)
    assert process.pods.marked == 0


def test_node_that_was_not_ready_when_held_requires_operator_action() -> None:
    harness = Harness()
    harness.world.stop_controller()
    harness.delete_pod()
    harness.world.run(30)
    harness.hold()
    process = Process(harness)
    process.for_seconds(300)
    assert process.pods.marked == 0
    assert process.operator_reasons() == {"the node was not ready when it was held"}


def test_newer_mark_not_ready_requires_operator_action() -> None:
    harness = cut_over_node()
    body = {"type": "mark-not-ready"}
    harness.world.pods.call(*KEY[:1], f"{NAME}-0", 8443, "POST", "/v0/tasks", body=body, authorised=True)
    process = Process(harness)
    process.for_seconds(300)
    harness.delete_pod()
    process.for_seconds(300)
    assert process.pods.marked == 0
    assert any("mark-not-ready" in reason for reason in process.operator_reasons())
    assert not harness.pod_ready


def test_mark_not_ready_after_the_saved_intent_cancels_mark_ready() -> None:
    harness = cut_over_node()
    harness.delete_pod()

    def mark_not_ready(request: Any) -> None:
        if request.name == guard_journal.NAME and "mark-ready" in str(request.body) and request.outcome == "ok":
            body = {"type": "mark-not-ready"}
            harness.world.pods.call(*KEY[:1], f"{NAME}-0", 8443, "POST", "/v0/tasks", body=body, authorised=True)

    harness.world.cluster.after_request = mark_not_ready
    process = Process(harness)
    process.for_seconds(300)
    assert process.pods.marked == 0
    assert any("mark-not-ready" in reason for reason in process.operator_reasons())
    assert journal(harness).nodes[f"{NAMESPACE}/{NAME}"].intent is None


def test_guard_yields_to_a_live_run_and_not_to_a_dead_one() -> None:
    harness = cut_over_node()
    harness.delete_pod()
    process = Process(harness)
    process.for_seconds(300, on_tick=lambda: renew_lock(harness))
    assert process.pods.marked == 0
    assert not process.operator_reasons()
    process.until(lambda: harness.pod_ready, limit=130)
    assert process.pods.marked == 1


def test_frozen_node_without_a_run_is_marked_ready_immediately() -> None:
    harness = Harness(plan=QUICK, strategy=Strategy.MERGED)

    def reports_unready(record: Any, action: Any) -> bool:
        pod = harness.world.kubelet.pod(NAMESPACE, f"{NAME}-0")
        sidecar = pod.container("sei-sidecar") if pod is not None else None
        started = sidecar is not None and sidecar.running and not sidecar.marked_ready
        return bool(len(record.replaced_pods) == 1 and started and record.intent is None)

    harness.interrupt(reports_unready)
    start = harness.world.clock.now()
    process = Process(harness)
    process.until(lambda: process.pods.marked == 1)
    assert harness.world.clock.now() - start < 30
    process.until(lambda: harness.pod_ready)
    assert harness.apply().outcome is Outcome.DONE_HELD
    assert harness.replaced_pod_count() == 1


def test_node_whose_run_died_during_a_write_is_left_to_a_run() -> None:
    harness = Harness(plan=QUICK, strategy=Strategy.MERGED)
    harness.interrupt(lambda record, _: record.intent is not None and record.stage is StageName.ENFORCE)
    harness.delete_pod()
    process = Process(harness)
    process.for_seconds(400)
    assert process.pods.marked == 0
    assert any("resume it: seimigrate apply --node" in reason for reason in process.operator_reasons())


@pytest.mark.parametrize(("spec", "reason"), [({"paused": True}, "spec.paused"), ({"image": "sei:v9"}, "spec.image")])
def test_pause_or_upgrade_by_the_owner_requires_operator_action(spec: Mapping[str, Any], reason: str) -> None:
    harness = cut_over_node()
    harness.world.stop_controller()
    harness.delete_pod()
    harness.world.edit_seinode(*KEY, spec)
    process = Process(harness)
    process.for_seconds(300)
    assert process.pods.marked == 0
    assert [each for each in process.operator_reasons() if reason in each]


def test_sidecar_that_ignores_mark_ready_or_crashes_requires_operator() -> None:
    harness = cut_over_node()
    harness.world.faults(*KEY).stays_unready = True
    harness.delete_pod()
    process = Process(harness)
    process.for_seconds(600)
    assert process.pods.marked == 3
    assert any("after 3 mark-ready attempts" in reason for reason in process.operator_reasons())
    harness.world.faults(*KEY).stays_unready = False
    harness.world.faults(*KEY).sidecar_crashes = True
    harness.delete_pod()
    process.for_seconds(600)
    assert any("CrashLoopBackOff" in reason for reason in process.operator_reasons())


def test_only_the_latest_of_two_guards_acts() -> None:
    harness = cut_over_node()
    first = FakeLock()
    old, new = Process(harness, first), Process(harness, first.take_over())
    harness.delete_pod()
    with pytest.raises(LockHeld):
        old.guard.run_once()
    new.until(lambda: harness.pod_ready)
    assert (old.pods.marked, new.pods.marked) == (0, 1)


def test_guard_leaves_the_journal_of_a_run_unchanged() -> None:
    harness = cut_over_node()
    harness.delete_pod()
    process = Process(harness)
    run = harness.new_run()
    run.start()
    process.until(lambda: process.pods.marked == 1)
    [result] = run.rollback([KEY])
    assert result.outcome is Outcome.ROLLED_BACK_HELD
    assert harness.pod_ready


def test_guard_publishes_its_guarded_nodes() -> None:
    harness = cut_over_node()
    process = Process(harness)
    process.guard.run_once()
    assert journal(harness).guarded_nodes == (f"{NAMESPACE}/{NAME}",)
    assert harness.rollback(plan=make_plan()).outcome is Outcome.ROLLED_BACK
    process.guard.run_once()
    assert journal(harness).guarded_nodes == ()


def test_guard_killed_at_each_write_is_completed_by_the_next_guard() -> None:
    harness = cut_over_node()
    harness.delete_pod()
    first = Process(harness)
    forks = harness.forks(lambda: first.until(lambda: harness.pod_ready))
    assert len(forks) > 5
    for fork in forks:
        marked = sum(task["type"] == "mark-ready" for task in fork.world.volume(*KEY).tasks.values())
        process = Process(fork)
        process.until(lambda fork=fork: fork.pod_ready)  # type: ignore[misc]
        process.for_seconds(3 * POLL_INTERVAL)
        node = journal(fork).nodes.get(f"{NAMESPACE}/{NAME}")
        assert node is None or node.intent is None
        after = sum(task["type"] == "mark-ready" for task in fork.world.volume(*KEY).tasks.values())
        assert after - marked <= 1
        assert fork.replaced_pod_count() == 1
