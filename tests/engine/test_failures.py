"""Failures of a node in progress: it is rolled back, paused or reported, and can always be rolled back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from seimigrate.domain.kube.kinds import HOLD_LABEL, Kind, Object
from seimigrate.domain.node.actions import ExecuteIntent, Wait
from seimigrate.domain.node.record import Direction, IntentKind, Outcome
from seimigrate.domain.node.shapes import Shape
from seimigrate.domain.plan.plan import Failure, Release, StageName, Strategy
from seimigrate.simulation.admission import POLICIES
from seimigrate.simulation.containers import Faults
from seimigrate.simulation.objects import copy_json
from seimigrate.simulation.world import SPLIT_IMAGE
from tests.engine.harness import KEY, NAME, NAMESPACE, STRATEGIES, Harness, make_plan, reaching
from tests.engine.invariant_monitor import Interrupted

QUICK = make_plan(release=Release(agreement_timeout=0))
HOLD = "/metadata/labels/" + HOLD_LABEL.replace("/", "~1")
PROXY_ARGS = "/spec/template/spec/initContainers/2/args"
GRACE = "/spec/template/spec/terminationGracePeriodSeconds"


def _crashes(on: Faults) -> None:
    on.sidecar_crashes = True


def _stays_unready(on: Faults) -> None:
    on.stays_unready = True


def _without_metrics(on: Faults) -> None:
    on.missing_routes = frozenset({"/v0/metrics"})


def _without_health(on: Faults) -> None:
    on.missing_routes = frozenset({"/v0/healthz"})


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("fault", [_crashes, _stays_unready, _without_metrics, _without_health])
def test_failed_node_is_rolled_back_and_ready(strategy: Strategy, fault: Callable[[Faults], None]) -> None:
    harness = Harness(strategy=strategy)
    faults = harness.world.faults(*KEY)

    def heal(record: object, action: object) -> bool:
        # Only the new sidecar has the fault; the old image does not.
        image = harness.template["initContainers"][1]["image"]
        fault(faults) if image == SPLIT_IMAGE else _heal(faults)
        return False

    result = harness.apply(until=heal)
    assert result.outcome is Outcome.ROLLED_BACK
    assert result.failed
    assert result.record is not None
    assert result.record.failure
    harness.assert_restored()


def _heal(faults: Faults) -> None:
    faults.sidecar_crashes = faults.stays_unready = False
    faults.missing_routes = frozenset()


def test_node_whose_new_image_cannot_be_pulled_is_rolled_back() -> None:
    harness = Harness()
    harness.world.settings.broken_images.add(SPLIT_IMAGE)
    result = harness.apply()
    assert result.outcome is Outcome.ROLLED_BACK
    assert result.record is not None
    assert "ImagePull" in (result.record.failure or "")
    harness.assert_restored()


def test_failed_node_that_was_held_before_stays_held() -> None:
    harness = Harness()
    harness.hold()
    harness.world.settings.broken_images.add(SPLIT_IMAGE)
    result = harness.apply()
    assert result.outcome is Outcome.ROLLED_BACK_HELD
    assert result.record is not None
    assert result.record.failure
    assert harness.held
    assert harness.statefulset["spec"] == harness.statefulset_before
    assert harness.service["spec"] == harness.service_before
    assert harness.pod_ready


def test_failed_node_with_on_node_failure_pause_is_paused() -> None:
    harness = Harness(plan=make_plan(failure=Failure(on_node_failure="pause")))
    harness.world.settings.broken_images.add(SPLIT_IMAGE)
    assert harness.apply().outcome is Outcome.PAUSED
    assert harness.held
    assert harness.rollback().outcome is Outcome.ROLLED_BACK
    harness.assert_restored()


def test_cutover_whose_eviction_is_blocked_is_rolled_back() -> None:
    harness = Harness()
    harness.put_disruption_budget(0)
    result = harness.apply()
    assert result.outcome is Outcome.ROLLED_BACK
    assert result.record is not None
    assert "eviction" in (result.record.failure or "")
    assert harness.replaced_pod_count() == 0
    harness.assert_restored()


def test_rollback_whose_eviction_is_blocked_deletes_after_the_deadline() -> None:
    harness = Harness(plan=QUICK)
    harness.apply()
    harness.plan = make_plan()
    harness.put_disruption_budget(0)
    started = harness.world.clock.now()
    assert harness.rollback().outcome is Outcome.ROLLED_BACK
    harness.assert_restored()
    deletes = [r for r in harness.our_writes() if r.kind is Kind.POD and r.verb == "delete"]
    assert [r.outcome for r in deletes] == ["ok"]
    assert deletes[0].time - started >= harness.plan.deadlines.eviction


def test_rollback_after_a_blocked_eviction_restarts_the_deadline() -> None:
    """In a staged cutover the second eviction is blocked; the rollback starts with one that may be allowed."""
    harness = Harness(plan=QUICK)
    harness.interrupt(reaching(StageName.ENFORCE))
    harness.put_disruption_budget(0)
    failed: list[float] = []

    def until(record: object, action: object) -> bool:
        if harness.record.direction is Direction.ROLLBACK and not failed:
            failed.append(harness.world.clock.now())
        return False

    harness.apply(until=until)
    deletes = [r for r in harness.our_writes() if r.kind is Kind.POD and r.verb == "delete"]
    assert deletes[0].time - failed[0] >= harness.plan.deadlines.eviction
    assert harness.pod_ready


@pytest.mark.parametrize("stage", [StageName.PROBES, StageName.READY, StageName.ENFORCE, StageName.POLICY])
def test_external_changes_beside_our_fields_survive_a_roundtrip(stage: StageName) -> None:
    harness = Harness()
    harness.interrupt(reaching(stage))
    harness.edit(Kind.STATEFUL_SET, {"op": "add", "path": f"{PROXY_ARGS}/0", "value": "--v=9"})
    harness.edit(
        Kind.SERVICE, {"op": "add", "path": "/spec/ports/0", "value": {"name": "x", "port": 1, "protocol": "TCP"}}
    )
    assert harness.apply().outcome is Outcome.DONE_HELD
    assert "--v=9" in harness.template["initContainers"][2]["args"]

    harness.rollback()
    assert harness.template["initContainers"][2]["args"][0] == "--v=9"
    wanted = copy_json(harness.statefulset_before)
    wanted["template"]["spec"]["initContainers"][2]["args"].insert(0, "--v=9")
    spec = copy_json(harness.statefulset["spec"])
    before = next(a for a in wanted["template"]["spec"]["initContainers"][2]["args"] if a.startswith("--ignore"))
    args = spec["template"]["spec"]["initContainers"][2]["args"]
    assert before in args
    args.sort()
    wanted["template"]["spec"]["initContainers"][2]["args"].sort()
    assert spec == wanted
    assert [port["name"] for port in harness.service["spec"]["ports"]] == [
        "x",
        *(port["name"] for port in harness.service_before["ports"]),
    ]
    assert harness.pod_ready


def _edit_public(harness: Harness, value: str) -> None:
    containers = harness.template["initContainers"]
    index = next(i for i, e in enumerate(containers[1]["env"]) if e["name"] == "SEI_SIDECAR_PUBLIC_PORT")
    path = f"/spec/template/spec/initContainers/1/env/{index}/value"
    harness.edit(Kind.STATEFUL_SET, {"op": "replace", "path": path, "value": value})


def test_rollback_names_and_keeps_a_field_modified_externally() -> None:
    harness = Harness(plan=QUICK)
    harness.apply()
    ports = harness.service["spec"]["ports"]
    index = next(i for i, port in enumerate(ports) if port["name"] == "public")
    harness.edit(Kind.SERVICE, {"op": "replace", "path": f"/spec/ports/{index}/targetPort", "value": 9191})
    harness.plan = make_plan()
    result = harness.rollback()
    assert result.record is not None
    assert any("spec.ports[port=9100" in note for note in result.record.notes)
    assert any(port.get("targetPort") == 9191 for port in harness.service["spec"]["ports"])
    assert harness.statefulset["spec"] == harness.statefulset_before
    assert harness.pod_ready


def test_rollback_overwrite_reverts_a_field_modified_externally() -> None:
    harness = Harness(plan=QUICK)
    harness.apply()
    _edit_public(harness, "9101")
    harness.plan = make_plan()
    assert harness.rollback(overwrite=True).outcome is Outcome.ROLLED_BACK
    harness.assert_restored()


def test_field_reverted_externally_is_a_failure_that_names_it() -> None:
    harness = Harness()
    harness.interrupt(reaching(StageName.ENFORCE))
    harness.edit(
        Kind.STATEFUL_SET, {"op": "replace", "path": "/spec/template/spec/initContainers/1/image", "value": "x:y"}
    )
    result = harness.apply()
    assert harness.record.outcome is not None
    assert "image" in " ".join([result.record.reason, result.record.failure or "", *result.record.notes])  # type: ignore[union-attr]


@pytest.mark.parametrize("rollback_to", [None, StageName.PROBES])
def test_field_edited_right_before_a_restart_is_named(rollback_to: StageName | None) -> None:
    """The port still exists under its number, so nothing is left to write, but it is not the port that we added."""
    harness = Harness()
    harness.interrupt(reaching(StageName.ENFORCE))
    index = len(harness.template["initContainers"][1]["ports"]) - 1
    path = f"/spec/template/spec/initContainers/1/ports/{index}/name"
    harness.edit(Kind.STATEFUL_SET, {"op": "replace", "path": path, "value": "web"})
    result = harness.apply() if rollback_to is None else harness.rollback(rollback_to)
    assert result.record is not None
    message = " ".join([result.record.reason, result.record.failure or "", *result.record.notes])
    assert "containerPort=9100" in message or result.outcome is Outcome.ROLLED_BACK_HELD


def test_patch_edited_before_its_intent_was_resolved_is_rolled_back() -> None:
    """The process died after its patch and before the journal update; then another client changed one of the fields."""
    harness = Harness(strategy=Strategy.MERGED, plan=QUICK)
    forks = harness.forks(harness.apply)
    harness = next(fork for fork in forks if fork.shape is Shape.ENFORCED)
    assert harness.record.intent is not None, "the fork must be right after the patch"
    _edit_public(harness, "9101")
    harness.plan = make_plan()
    harness.rollback(overwrite=True)
    assert harness.statefulset["spec"] == harness.statefulset_before


def test_hold_removed_externally_pauses_the_node() -> None:
    harness = Harness()
    harness.world.stop_controller()
    harness.interrupt(reaching(StageName.READY))
    harness.edit(Kind.STATEFUL_SET, {"op": "remove", "path": HOLD})
    result = harness.apply()
    assert result.outcome is Outcome.PAUSED
    assert "hold" in result.record.reason  # type: ignore[union-attr]
    assert harness.replaced_pod_count() == 0


@pytest.mark.parametrize("kind", [Kind.ADMISSION_POLICY, Kind.ADMISSION_BINDING])
@pytest.mark.parametrize("name", list(POLICIES.values()))
def test_deleted_hold_policy_pauses_the_node_in_progress(kind: Kind, name: str) -> None:
    harness = Harness()

    def until(record: object, action: object) -> bool:
        if harness.shape is Shape.MOVED and harness.world.cache.get(kind, "", name):
            harness.world.cluster._remove(kind, "", name)
        return False

    harness.world.stop_controller()
    result = harness.apply(until=until)
    assert result.outcome is Outcome.PAUSED
    assert name in result.record.reason  # type: ignore[union-attr]


@pytest.mark.parametrize("edit", [{"paused": True}, {"image": "ghcr.io/sei-protocol/sei:v9"}])
@pytest.mark.parametrize("stage", [StageName.READY, StageName.ENFORCE, StageName.RELEASE])
def test_pause_or_upgrade_by_the_owner_pauses_the_migration(stage: StageName, edit: Object) -> None:
    harness = Harness()
    harness.interrupt(reaching(stage))
    replaced = harness.replaced_pod_count()
    harness.world.edit_seinode(NAMESPACE, NAME, edit)
    result = harness.apply()
    assert result.outcome is Outcome.PAUSED
    assert f"spec.{next(iter(edit))}" in result.record.reason  # type: ignore[union-attr]
    assert harness.replaced_pod_count() == replaced


def test_node_marked_not_ready_externally_is_not_marked_ready() -> None:
    harness = Harness(plan=QUICK)

    def until(record: object, action: object) -> bool:
        replaced = harness.record.replaced_pods
        if replaced and "x" not in harness.world.volume(*KEY).tasks:
            volume = harness.world.volume(*KEY)
            volume.tasks.clear()
            volume.tasks["x"] = {"id": "x", "type": "mark-not-ready", "status": "completed"}
        return False

    result = harness.apply(until=until)
    assert result.outcome is Outcome.PAUSED
    assert "mark-not-ready" in result.record.reason  # type: ignore[union-attr]


def test_mark_ready_of_a_dead_run_yields_to_a_newer_mark_not_ready() -> None:
    harness = Harness(plan=QUICK)
    harness.interrupt(
        lambda record, action: isinstance(action, ExecuteIntent) and action.intent.kind is IntentKind.MARK_READY
    )
    volume = harness.world.volume(*KEY)
    volume.tasks.clear()
    volume.tasks["x"] = {"id": "x", "type": "mark-not-ready", "status": "completed"}
    result = harness.apply()
    assert result.outcome is Outcome.PAUSED
    assert "mark-not-ready" in result.record.reason  # type: ignore[union-attr]


def test_container_renamed_before_release_is_not_reported_as_done() -> None:
    harness = Harness()
    harness.interrupt(reaching(StageName.RELEASE))
    harness.edit(
        Kind.STATEFUL_SET, {"op": "replace", "path": "/spec/template/spec/initContainers/1/name", "value": "other"}
    )
    result = harness.apply()
    assert result.outcome is not None
    assert result.outcome not in (Outcome.DONE, Outcome.ROLLED_BACK)


@pytest.mark.parametrize(
    ("path", "value", "reason", "restarts"),
    [
        (f"{PROXY_ARGS}/-", "--ignore-paths=/v0/healthz", "args[^=--ignore-paths=]", 1),
        (GRACE, 31, "after the pod was created", 2),
    ],
    ids=["our-field", "other-field"],
)
def test_template_edited_at_release_is_reported_and_fixed_by_apply(
    path: str, value: object, reason: str, restarts: int
) -> None:
    harness = Harness(strategy=Strategy.MERGED, controller="old")
    harness.interrupt(reaching(StageName.RELEASE))
    harness.edit(Kind.STATEFUL_SET, {"op": "add" if path.endswith("-") else "replace", "path": path, "value": value})
    result = harness.apply()
    assert result.outcome is Outcome.DONE_HELD
    assert reason in harness.record.reason
    harness.apply()
    assert "somebody" not in harness.record.reason
    assert harness.shape is harness.pod_shape is Shape.ENFORCED
    assert harness.replaced_pod_count() == restarts


def test_busy_node_held_after_cutover_is_paused_and_not_rolled_back() -> None:
    harness = Harness(strategy=Strategy.MERGED, plan=QUICK)
    assert harness.apply().outcome is Outcome.DONE_HELD
    harness.edit(Kind.STATEFUL_SET, {"op": "replace", "path": GRACE, "value": 31})
    task = {"metadata": {"namespace": NAMESPACE, "name": "snapshot"}, "spec": {"target": {"nodeRef": {"name": NAME}}}}
    harness.world.cluster.put(Kind.SEI_NODE_TASK, task)
    assert harness.apply().outcome is Outcome.PAUSED
    assert "snapshot" in harness.record.reason
    assert harness.shape is Shape.ENFORCED
    assert harness.replaced_pod_count() == 1
    harness.world.cluster.put(Kind.SEI_NODE_TASK, {**task, "status": {"phase": "Complete"}})
    assert harness.apply().outcome is Outcome.DONE_HELD
    assert harness.replaced_pod_count() == 2


def test_repeated_cutover_rolls_back_the_changes_of_the_earlier_one() -> None:
    harness = Harness(strategy=Strategy.MERGED, plan=QUICK)
    assert harness.apply().outcome is Outcome.DONE_HELD
    harness.edit(Kind.STATEFUL_SET, {"op": "replace", "path": GRACE, "value": 31})
    harness.interrupt(reaching(StageName.CHECK))
    harness.edit(Kind.STATEFUL_SET, {"op": "replace", "path": GRACE, "value": 30})
    harness.plan = make_plan()
    assert harness.rollback().outcome is Outcome.ROLLED_BACK
    harness.assert_restored()


@pytest.mark.parametrize("stage", [StageName.ENFORCE, None], ids=["in-progress", "done"])
def test_recreated_node_starts_without_the_earlier_changes(stage: StageName | None) -> None:
    harness = Harness(strategy=Strategy.MERGED, plan=QUICK)
    if stage is not None:
        harness.interrupt(reaching(stage))
    else:
        harness.apply()
    for kind, name in ((Kind.SEI_NODE, NAME), (Kind.STATEFUL_SET, NAME), (Kind.SERVICE, NAME), (Kind.POD, f"{NAME}-0")):
        harness.world.cluster.objects[kind].pop((NAMESPACE, name))
    harness.world.add_node(NAMESPACE, NAME)
    assert harness.rollback().unchanged
    assert harness.hold().outcome is Outcome.HELD
    assert not harness.record.changes
    assert harness.apply().outcome is Outcome.DONE_HELD
    assert harness.shape is harness.pod_shape is Shape.ENFORCED


def test_other_supported_image_set_during_the_cutover_is_adopted() -> None:
    newer = "ghcr.io/sei-protocol/seictl@sha256:" + "6" * 64
    both = ", ".join(f'{{digest: "{image.partition("@")[2]}"}}' for image in (SPLIT_IMAGE, newer))
    harness = Harness(plan=make_plan(f"sidecars.supported=[{both}]", release=Release(agreement_timeout=0)))
    harness.world.settings.splits = lambda image: image in (SPLIT_IMAGE, newer)
    harness.interrupt(reaching(StageName.ENFORCE))
    harness.edit(Kind.SEI_NODE, {"op": "add", "path": "/spec/sidecar", "value": {"image": newer}})
    result = harness.apply()
    assert "reverted by another client" not in str(result.record)
    assert harness.template["initContainers"][1]["image"] == newer


def test_node_drained_during_the_cutover_is_cut_over() -> None:
    harness = Harness(plan=QUICK)
    drained: list[str] = []

    def until(record: object, action: object) -> bool:
        if isinstance(action, Wait) and harness.pod_ready and harness.pod["metadata"]["uid"] not in drained:
            drained.append(harness.pod["metadata"]["uid"])
            harness.delete_pod()
        return len(drained) > 6

    assert harness.apply(until=until).outcome is Outcome.DONE_HELD
    assert drained
    assert harness.shape is harness.pod_shape is Shape.ENFORCED


def test_failed_node_stops_the_run_before_the_next_node() -> None:
    harness = Harness(plan=QUICK)
    harness.world.add_node(NAMESPACE, "node-1")
    harness.world.settings.broken_images.add(SPLIT_IMAGE)
    harness.monitor.strict = False
    run = harness.new_run()
    run.start()
    results = run.apply([KEY, (NAMESPACE, "node-1")])
    assert [result.name for result in results] == [NAME]
    assert HOLD_LABEL not in harness.world.statefulset(NAMESPACE, "node-1")["metadata"]["labels"]


def _frozen_and_scaled_to_zero() -> Harness:
    """Return a node that its owner paused and unpaused during its rollback.

    The freeze allowed the controller to scale the node down, and denies to scale it up.
    """
    harness = Harness(strategy=Strategy.MERGED)
    harness.interrupt(reaching(StageName.POLICY))
    with pytest.raises(Interrupted):
        harness.rollback(until=lambda record, _: len(record.replaced_pods) == 2)
    harness.world.edit_seinode(NAMESPACE, NAME, {"paused": True})
    harness.world.run(100)
    assert harness.statefulset["spec"]["replicas"] == 0
    harness.world.edit_seinode(NAMESPACE, NAME, {"paused": None})
    harness.world.run(200)
    assert harness.world.pod(*KEY) is None
    return harness


def test_node_paused_and_unpaused_during_rollback_is_scaled_up() -> None:
    harness = _frozen_and_scaled_to_zero()
    assert harness.rollback().outcome is Outcome.ROLLED_BACK
    harness.assert_restored()


def test_hold_of_a_node_scaled_to_zero_can_be_verified() -> None:
    harness = Harness(strategy=Strategy.MERGED)
    harness.interrupt(reaching(StageName.POLICY))
    harness.world.edit_seinode(NAMESPACE, NAME, {"paused": True})
    harness.world.run(100)
    harness.world.edit_seinode(NAMESPACE, NAME, {"paused": None})
    assert harness.rollback().outcome is Outcome.ROLLED_BACK
    harness.assert_restored()


def test_repaired_sidecar_is_marked_ready_by_the_next_run() -> None:
    harness = Harness(strategy=Strategy.MERGED, plan=QUICK)
    harness.interrupt(reaching(StageName.POLICY))
    harness.world.faults(*KEY).stays_unready = True
    assert harness.rollback().outcome is Outcome.FAILED
    _heal(harness.world.faults(*KEY))
    harness.world.kubelet.resync()
    harness.plan = make_plan()
    assert harness.rollback().outcome is Outcome.ROLLED_BACK
    harness.assert_restored()


def test_old_mark_ready_intent_is_still_executed() -> None:
    harness = Harness(plan=QUICK)
    harness.interrupt(
        lambda _, action: isinstance(action, ExecuteIntent) and action.intent.kind is IntentKind.MARK_READY
    )
    harness.world.run(400)
    assert harness.apply().outcome is Outcome.DONE_HELD
