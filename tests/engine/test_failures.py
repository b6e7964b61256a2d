"""What goes wrong while a node moves: it goes back by itself, waits for a person, or is told, and is never trapped."""

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
from tests.engine.harness import KEY, NAME, NAMESPACE, STRATEGIES, Scene, make_plan, reaching
from tests.engine.watchdog import Interrupted

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
def test_a_node_that_fails_is_ready_again_in_the_old_shape(strategy: Strategy, fault: Callable[[Faults], None]) -> None:
    scene = Scene(strategy=strategy)
    faults = scene.world.faults(*KEY)

    def heal(record: object, action: object) -> bool:
        # The fault is the new sidecar's: with the old image it is gone.
        image = scene.template["initContainers"][1]["image"]
        fault(faults) if image == SPLIT_IMAGE else _heal(faults)
        return False

    result = scene.apply(until=heal)
    assert result.outcome is Outcome.ROLLED_BACK
    assert result.failed
    assert result.record is not None
    assert result.record.failure
    scene.assert_as_before()


def _heal(faults: Faults) -> None:
    faults.sidecar_crashes = faults.stays_unready = False
    faults.missing_routes = frozenset()


def test_a_node_whose_new_image_cannot_be_pulled_goes_back() -> None:
    scene = Scene()
    scene.world.settings.broken_images.add(SPLIT_IMAGE)
    result = scene.apply()
    assert result.outcome is Outcome.ROLLED_BACK
    assert result.record is not None
    assert "ImagePull" in (result.record.failure or "")
    scene.assert_as_before()


def test_a_node_that_was_held_before_stays_held_when_it_failed() -> None:
    scene = Scene()
    scene.hold()
    scene.world.settings.broken_images.add(SPLIT_IMAGE)
    result = scene.apply()
    assert result.outcome is Outcome.ROLLED_BACK_HELD
    assert result.record is not None
    assert result.record.failure
    assert scene.held
    assert scene.statefulset["spec"] == scene.statefulset_before
    assert scene.service["spec"] == scene.service_before
    assert scene.pod_ready


def test_with_failure_pause_a_node_that_fails_waits_for_a_person() -> None:
    scene = Scene(plan=make_plan(failure=Failure(on_node_failure="pause")))
    scene.world.settings.broken_images.add(SPLIT_IMAGE)
    assert scene.apply().outcome is Outcome.PAUSED
    assert scene.held
    assert scene.rollback().outcome is Outcome.ROLLED_BACK
    scene.assert_as_before()


def test_forward_a_budget_that_allows_no_eviction_brings_the_node_back() -> None:
    scene = Scene()
    scene.budget(0)
    result = scene.apply()
    assert result.outcome is Outcome.ROLLED_BACK
    assert result.record is not None
    assert "eviction" in (result.record.failure or "")
    assert scene.replaced() == 0
    scene.assert_as_before()


def test_a_budget_does_not_trap_a_node_on_its_way_back_but_is_given_its_time() -> None:
    scene = Scene(plan=QUICK)
    scene.apply()
    scene.plan = make_plan()
    scene.budget(0)
    asked = scene.world.clock.now()
    assert scene.rollback().outcome is Outcome.ROLLED_BACK
    scene.assert_as_before()
    deletes = [r for r in scene.ours() if r.kind is Kind.POD and r.verb == "delete"]
    assert [r.outcome for r in deletes] == ["ok"]
    assert deletes[0].time - asked >= scene.plan.deadlines.eviction


def test_a_budget_that_refused_on_the_way_there_is_given_its_time_again_on_the_way_back() -> None:
    """In a staged cutover the second eviction is refused: the way back starts with one that may be allowed."""
    scene = Scene(plan=QUICK)
    scene.interrupt(reaching(StageName.ENFORCE))
    scene.budget(0)
    failed: list[float] = []

    def until(record: object, action: object) -> bool:
        if scene.record.direction is Direction.ROLLBACK and not failed:
            failed.append(scene.world.clock.now())
        return False

    scene.apply(until=until)
    deletes = [r for r in scene.ours() if r.kind is Kind.POD and r.verb == "delete"]
    assert deletes[0].time - failed[0] >= scene.plan.deadlines.eviction
    assert scene.pod_ready


@pytest.mark.parametrize("stage", [StageName.PROBES, StageName.READY, StageName.ENFORCE, StageName.POLICY])
def test_what_others_change_beside_our_fields_survives_there_and_back(stage: StageName) -> None:
    scene = Scene()
    scene.interrupt(reaching(stage))
    scene.edit(Kind.STATEFUL_SET, {"op": "add", "path": f"{PROXY_ARGS}/0", "value": "--v=9"})
    scene.edit(
        Kind.SERVICE, {"op": "add", "path": "/spec/ports/0", "value": {"name": "x", "port": 1, "protocol": "TCP"}}
    )
    assert scene.apply().outcome is Outcome.DONE_HELD
    assert "--v=9" in scene.template["initContainers"][2]["args"]

    scene.rollback()
    assert scene.template["initContainers"][2]["args"][0] == "--v=9"
    wanted = copy_json(scene.statefulset_before)
    wanted["template"]["spec"]["initContainers"][2]["args"].insert(0, "--v=9")
    spec = copy_json(scene.statefulset["spec"])
    before = next(a for a in wanted["template"]["spec"]["initContainers"][2]["args"] if a.startswith("--ignore"))
    args = spec["template"]["spec"]["initContainers"][2]["args"]
    assert before in args
    args.sort()
    wanted["template"]["spec"]["initContainers"][2]["args"].sort()
    assert spec == wanted
    assert [port["name"] for port in scene.service["spec"]["ports"]] == [
        "x",
        *(port["name"] for port in scene.service_before["ports"]),
    ]
    assert scene.pod_ready


def _edit_public(scene: Scene, value: str) -> None:
    containers = scene.template["initContainers"]
    index = next(i for i, e in enumerate(containers[1]["env"]) if e["name"] == "SEI_SIDECAR_PUBLIC_PORT")
    path = f"/spec/template/spec/initContainers/1/env/{index}/value"
    scene.edit(Kind.STATEFUL_SET, {"op": "replace", "path": path, "value": value})


def test_our_field_changed_by_somebody_is_named_and_left_alone() -> None:
    scene = Scene(plan=QUICK)
    scene.apply()
    ports = scene.service["spec"]["ports"]
    index = next(i for i, port in enumerate(ports) if port["name"] == "public")
    scene.edit(Kind.SERVICE, {"op": "replace", "path": f"/spec/ports/{index}/targetPort", "value": 9191})
    scene.plan = make_plan()
    result = scene.rollback()
    assert result.record is not None
    assert any("spec.ports[port=9100" in note for note in result.record.notes)
    assert any(port.get("targetPort") == 9191 for port in scene.service["spec"]["ports"])
    assert scene.statefulset["spec"] == scene.statefulset_before
    assert scene.pod_ready


def test_with_force_our_field_is_put_back_over_what_somebody_changed() -> None:
    scene = Scene(plan=QUICK)
    scene.apply()
    _edit_public(scene, "9101")
    scene.plan = make_plan()
    assert scene.rollback(force=True).outcome is Outcome.ROLLED_BACK
    scene.assert_as_before()


def test_our_field_taken_back_by_somebody_is_a_failure_that_names_it() -> None:
    scene = Scene()
    scene.interrupt(reaching(StageName.ENFORCE))
    scene.edit(
        Kind.STATEFUL_SET, {"op": "replace", "path": "/spec/template/spec/initContainers/1/image", "value": "x:y"}
    )
    result = scene.apply()
    assert scene.record.outcome is not None
    assert "image" in " ".join([result.record.reason, result.record.failure or "", *result.record.notes])  # type: ignore[union-attr]


@pytest.mark.parametrize("to", [None, StageName.PROBES])
def test_a_field_of_ours_that_is_edited_right_before_a_restart_ends_in_a_clear_word(to: StageName | None) -> None:
    """The port is still there under its number, so nothing is left to write; but it is not the port that we added."""
    scene = Scene()
    scene.interrupt(reaching(StageName.ENFORCE))
    index = len(scene.template["initContainers"][1]["ports"]) - 1
    path = f"/spec/template/spec/initContainers/1/ports/{index}/name"
    scene.edit(Kind.STATEFUL_SET, {"op": "replace", "path": path, "value": "web"})
    result = scene.apply() if to is None else scene.rollback(to)
    assert result.record is not None
    told = " ".join([result.record.reason, result.record.failure or "", *result.record.notes])
    assert "containerPort=9100" in told or result.outcome is Outcome.ROLLED_BACK_HELD


def test_a_patch_that_was_written_and_then_edited_is_remembered_for_the_way_back() -> None:
    """The process died after its patch, before the journal said so, and somebody changed one of the fields."""
    scene = Scene(strategy=Strategy.MERGED, plan=QUICK)
    forks = scene.forks(scene.apply)
    scene = next(fork for fork in forks if fork.shape is Shape.ENFORCED)
    assert scene.record.intent is not None, "the crash is to be right after the patch"
    _edit_public(scene, "9101")
    scene.plan = make_plan()
    scene.rollback(force=True)
    assert scene.statefulset["spec"] == scene.statefulset_before


def test_a_hold_that_a_person_removes_pauses_the_node() -> None:
    scene = Scene()
    scene.world.stop_controller()
    scene.interrupt(reaching(StageName.READY))
    scene.edit(Kind.STATEFUL_SET, {"op": "remove", "path": HOLD})
    result = scene.apply()
    assert result.outcome is Outcome.PAUSED
    assert "hold" in result.record.reason  # type: ignore[union-attr]
    assert scene.replaced() == 0


@pytest.mark.parametrize("kind", [Kind.ADMISSION_POLICY, Kind.ADMISSION_BINDING])
@pytest.mark.parametrize("name", list(POLICIES.values()))
def test_a_policy_that_goes_while_a_node_moves_pauses_it(kind: Kind, name: str) -> None:
    scene = Scene()

    def until(record: object, action: object) -> bool:
        if scene.shape is Shape.MOVED and scene.world.cache.get(kind, "", name):
            scene.world.cluster._remove(kind, "", name)
        return False

    scene.world.stop_controller()
    result = scene.apply(until=until)
    assert result.outcome is Outcome.PAUSED
    assert name in result.record.reason  # type: ignore[union-attr]


@pytest.mark.parametrize("edit", [{"paused": True}, {"image": "ghcr.io/sei-protocol/sei:v9"}])
@pytest.mark.parametrize("stage", [StageName.READY, StageName.ENFORCE, StageName.RELEASE])
def test_what_its_owner_wants_goes_before_the_migration(stage: StageName, edit: Object) -> None:
    scene = Scene()
    scene.interrupt(reaching(stage))
    replaced = scene.replaced()
    scene.world.edit_seinode(NAMESPACE, NAME, edit)
    result = scene.apply()
    assert result.outcome is Outcome.PAUSED
    assert f"spec.{next(iter(edit))}" in result.record.reason  # type: ignore[union-attr]
    assert scene.replaced() == replaced


def test_a_node_that_somebody_marked_not_ready_is_not_marked_ready() -> None:
    scene = Scene(plan=QUICK)

    def until(record: object, action: object) -> bool:
        replaced = scene.record.replaced_pods
        if replaced and "x" not in scene.world.volume(*KEY).tasks:
            volume = scene.world.volume(*KEY)
            volume.tasks.clear()
            volume.tasks["x"] = {"id": "x", "type": "mark-not-ready", "status": "completed"}
        return False

    result = scene.apply(until=until)
    assert result.outcome is Outcome.PAUSED
    assert "mark-not-ready" in result.record.reason  # type: ignore[union-attr]


def test_a_mark_ready_intended_by_a_run_that_died_is_not_carried_out_against_a_newer_intent() -> None:
    scene = Scene(plan=QUICK)
    scene.interrupt(
        lambda record, action: isinstance(action, ExecuteIntent) and action.intent.kind is IntentKind.MARK_READY
    )
    volume = scene.world.volume(*KEY)
    volume.tasks.clear()
    volume.tasks["x"] = {"id": "x", "type": "mark-not-ready", "status": "completed"}
    result = scene.apply()
    assert result.outcome is Outcome.PAUSED
    assert "mark-not-ready" in result.record.reason  # type: ignore[union-attr]


def test_a_container_that_somebody_renames_before_the_release_is_told_and_nothing_breaks() -> None:
    scene = Scene()
    scene.interrupt(reaching(StageName.RELEASE))
    scene.edit(
        Kind.STATEFUL_SET, {"op": "replace", "path": "/spec/template/spec/initContainers/1/name", "value": "other"}
    )
    result = scene.apply()
    assert result.outcome is not None
    assert result.outcome not in (Outcome.DONE, Outcome.ROLLED_BACK)


@pytest.mark.parametrize(
    ("path", "value", "told", "restarts"),
    [
        (f"{PROXY_ARGS}/-", "--ignore-paths=/v0/healthz", "args[^=--ignore-paths=]", 1),
        (GRACE, 31, "after the pod was created", 2),
    ],
    ids=["a field of ours", "another field"],
)
def test_a_template_edited_after_the_last_gate_is_told_and_put_right_by_another_apply(
    path: str, value: object, told: str, restarts: int
) -> None:
    scene = Scene(strategy=Strategy.MERGED, controller="old")
    scene.interrupt(reaching(StageName.RELEASE))
    scene.edit(Kind.STATEFUL_SET, {"op": "add" if path.endswith("-") else "replace", "path": path, "value": value})
    result = scene.apply()
    assert result.outcome is Outcome.DONE_HELD
    assert told in scene.record.reason
    scene.apply()
    assert "somebody" not in scene.record.reason
    assert scene.shape is scene.pod_shape is Shape.ENFORCED
    assert scene.replaced() == restarts


def test_a_node_that_is_held_in_the_new_shape_is_not_brought_back_for_being_busy() -> None:
    scene = Scene(strategy=Strategy.MERGED, plan=QUICK)
    assert scene.apply().outcome is Outcome.DONE_HELD
    scene.edit(Kind.STATEFUL_SET, {"op": "replace", "path": GRACE, "value": 31})
    task = {"metadata": {"namespace": NAMESPACE, "name": "snapshot"}, "spec": {"target": {"nodeRef": {"name": NAME}}}}
    scene.world.cluster.put(Kind.SEI_NODE_TASK, task)
    assert scene.apply().outcome is Outcome.PAUSED
    assert "snapshot" in scene.record.reason
    assert scene.shape is Shape.ENFORCED
    assert scene.replaced() == 1
    scene.world.cluster.put(Kind.SEI_NODE_TASK, {**task, "status": {"phase": "Complete"}})
    assert scene.apply().outcome is Outcome.DONE_HELD
    assert scene.replaced() == 2


def test_a_node_that_sets_out_again_goes_back_by_all_that_the_earlier_way_changed() -> None:
    scene = Scene(strategy=Strategy.MERGED, plan=QUICK)
    assert scene.apply().outcome is Outcome.DONE_HELD
    scene.edit(Kind.STATEFUL_SET, {"op": "replace", "path": GRACE, "value": 31})
    scene.interrupt(reaching(StageName.CHECK))
    scene.edit(Kind.STATEFUL_SET, {"op": "replace", "path": GRACE, "value": 30})
    scene.plan = make_plan()
    assert scene.rollback().outcome is Outcome.ROLLED_BACK
    scene.assert_as_before()


@pytest.mark.parametrize("stage", [StageName.ENFORCE, None], ids=["on its way", "done"])
def test_a_node_that_was_made_anew_sets_out_as_if_it_had_never_moved(stage: StageName | None) -> None:
    scene = Scene(strategy=Strategy.MERGED, plan=QUICK)
    if stage is not None:
        scene.interrupt(reaching(stage))
    else:
        scene.apply()
    for kind, name in ((Kind.SEI_NODE, NAME), (Kind.STATEFUL_SET, NAME), (Kind.SERVICE, NAME), (Kind.POD, f"{NAME}-0")):
        scene.world.cluster.objects[kind].pop((NAMESPACE, name))
    scene.world.add_node(NAMESPACE, NAME)
    assert scene.rollback().unchanged
    assert scene.hold().outcome is Outcome.HELD
    assert not scene.record.changes
    assert scene.apply().outcome is Outcome.DONE_HELD
    assert scene.shape is scene.pod_shape is Shape.ENFORCED


def test_another_accepted_image_asked_for_in_the_middle_is_taken_up() -> None:
    newer = "ghcr.io/sei-protocol/seictl@sha256:" + "6" * 64
    both = ", ".join(f'{{digest: "{image.partition("@")[2]}"}}' for image in (SPLIT_IMAGE, newer))
    scene = Scene(plan=make_plan(f"sidecars.supported=[{both}]", release=Release(agreement_timeout=0)))
    scene.world.settings.splits = lambda image: image in (SPLIT_IMAGE, newer)
    scene.interrupt(reaching(StageName.ENFORCE))
    scene.edit(Kind.SEI_NODE, {"op": "add", "path": "/spec/sidecar", "value": {"image": newer}})
    result = scene.apply()
    assert "reverted by another client" not in str(result.record)
    assert scene.template["initContainers"][1]["image"] == newer


def test_a_node_whose_pod_is_drained_while_it_moves_comes_to_the_same_end() -> None:
    scene = Scene(plan=QUICK)
    drained: list[str] = []

    def until(record: object, action: object) -> bool:
        if isinstance(action, Wait) and scene.pod_ready and scene.pod["metadata"]["uid"] not in drained:
            drained.append(scene.pod["metadata"]["uid"])
            scene.delete_pod()
        return len(drained) > 6

    assert scene.apply(until=until).outcome is Outcome.DONE_HELD
    assert drained
    assert scene.shape is scene.pod_shape is Shape.ENFORCED


def test_one_node_failed_ends_the_run_before_the_next() -> None:
    scene = Scene(plan=QUICK)
    scene.world.add_node(NAMESPACE, "node-1")
    scene.world.settings.broken_images.add(SPLIT_IMAGE)
    scene.watchdog.strict = False
    run = scene.process()
    run.start()
    results = run.apply([KEY, (NAMESPACE, "node-1")])
    assert [result.name for result in results] == [NAME]
    assert HOLD_LABEL not in scene.world.statefulset(NAMESPACE, "node-1")["metadata"]["labels"]


def _frozen_and_scaled_to_zero() -> Scene:
    """The owner paused a node on its way back and unpaused it: the freeze let it down, and does not let it up."""
    scene = Scene(strategy=Strategy.MERGED)
    scene.interrupt(reaching(StageName.POLICY))
    with pytest.raises(Interrupted):
        scene.rollback(until=lambda record, _: len(record.replaced_pods) == 2)
    scene.world.edit_seinode(NAMESPACE, NAME, {"paused": True})
    scene.world.run(100)
    assert scene.statefulset["spec"]["replicas"] == 0
    scene.world.edit_seinode(NAMESPACE, NAME, {"paused": None})
    scene.world.run(200)
    assert scene.world.pod(*KEY) is None
    return scene


def test_a_node_that_was_paused_and_unpaused_on_its_way_back_is_let_up_again() -> None:
    scene = _frozen_and_scaled_to_zero()
    assert scene.rollback().outcome is Outcome.ROLLED_BACK
    scene.assert_as_before()


def test_the_hold_of_a_node_that_is_scaled_to_zero_can_be_proven() -> None:
    scene = Scene(strategy=Strategy.MERGED)
    scene.interrupt(reaching(StageName.POLICY))
    scene.world.edit_seinode(NAMESPACE, NAME, {"paused": True})
    scene.world.run(100)
    scene.world.edit_seinode(NAMESPACE, NAME, {"paused": None})
    assert scene.rollback().outcome is Outcome.ROLLED_BACK
    scene.assert_as_before()


def test_a_sidecar_that_was_told_in_vain_and_is_mended_is_told_again_by_the_next_run() -> None:
    scene = Scene(strategy=Strategy.MERGED, plan=QUICK)
    scene.interrupt(reaching(StageName.POLICY))
    scene.world.faults(*KEY).stays_unready = True
    assert scene.rollback().outcome is Outcome.FAILED
    _heal(scene.world.faults(*KEY))
    scene.world.kubelet.resync()
    scene.plan = make_plan()
    assert scene.rollback().outcome is Outcome.ROLLED_BACK
    scene.assert_as_before()


def test_a_mark_ready_that_was_intended_long_ago_is_still_carried_out() -> None:
    scene = Scene(plan=QUICK)
    scene.interrupt(lambda _, action: isinstance(action, ExecuteIntent) and action.intent.kind is IntentKind.MARK_READY)
    scene.world.run(400)
    assert scene.apply().outcome is Outcome.DONE_HELD
