"""The hold by itself, and journals that cannot be read: one clear error, and nothing changed."""

from __future__ import annotations

import pytest

from seimigrate.domain.kube.kinds import FREEZE_LABEL, JOURNAL_PREFIX, SYSTEM_NAMESPACE, Kind, Object
from seimigrate.domain.node.record import Outcome
from seimigrate.domain.node.shapes import Shape
from seimigrate.domain.plan.plan import Release, StageName
from seimigrate.engine.errors import SeimigrateError
from seimigrate.engine.hold import HoldManager
from seimigrate.simulation.objects import CONTROLLER_USER, copy_json
from tests.engine.harness import KEY, NAME, NAMESPACE, Scene, make_plan, reaching

QUICK = make_plan(release=Release(agreement_timeout=0))


def test_hold_changes_nothing_but_labels() -> None:
    scene = Scene()
    pod = scene.pod
    assert scene.hold().outcome is Outcome.HELD
    assert scene.held
    assert FREEZE_LABEL not in scene.statefulset["metadata"]["labels"]
    assert scene.statefulset["spec"] == scene.statefulset_before
    assert scene.service["spec"] == scene.service_before
    scene.world.run(100)
    assert scene.pod["metadata"]["uid"] == pod["metadata"]["uid"]
    assert scene.world.controller is not None
    assert not scene.world.controller.denials


def test_a_blocked_node_is_held_and_not_moved() -> None:
    scene = Scene()
    scene.edit(Kind.STATEFUL_SET, {"op": "add", "path": "/spec/template/spec/hostNetwork", "value": True})
    assert scene.hold().outcome is Outcome.HELD
    assert scene.held
    result = scene.apply()
    assert result.outcome in (Outcome.BLOCKED, Outcome.HELD)
    assert scene.held
    assert scene.shape is Shape.SHARED


def test_a_node_that_is_blocked_and_not_held_is_left_alone() -> None:
    scene = Scene()
    scene.world.faults(*KEY).stays_unready = True
    scene.delete_pod()
    scene.world.run(30)
    result = scene.apply()
    assert result.outcome is Outcome.BLOCKED
    assert not scene.held
    assert not [r for r in scene.ours() if r.kind in (Kind.STATEFUL_SET, Kind.SERVICE, Kind.POD)]


NARROWER = {"namespaceSelector": {"matchLabels": {"nobody": "has"}}}


@pytest.mark.parametrize(
    ("kind", "name", "key", "value"),
    [
        (Kind.ADMISSION_BINDING, "seimigrate-hold", "matchResources", NARROWER),
        (Kind.ADMISSION_BINDING, "seimigrate-hold-service", "matchResources", NARROWER),
        (Kind.ADMISSION_POLICY, "seimigrate-hold", "paramKind", {"apiVersion": "v1", "kind": "ConfigMap"}),
    ],
)
def test_a_policy_that_somebody_narrowed_holds_nothing_and_is_put_right_by_hold(
    kind: Kind, name: str, key: str, value: Object
) -> None:
    scene = Scene(plan=QUICK)
    scene.hold()
    keeper = HoldManager(scene.world.cluster, scene.world.cache, [CONTROLLER_USER])
    assert keeper.error() == ""
    scene.edit(kind, {"op": "add", "path": f"/spec/{key}", "value": value}, name=name)
    assert keeper.error() == f"{kind.resource.kind} {name} was changed"
    scene.hold()
    assert keeper.error() == ""


def test_a_hold_whose_service_policy_does_nothing_is_not_proven() -> None:
    scene = Scene(plan=QUICK)
    scene.hold()
    keeper = HoldManager(scene.world.cluster, scene.world.cache, [CONTROLLER_USER])
    assert keeper.verify(scene.statefulset, scene.service)
    scene.world.cluster.objects[Kind.ADMISSION_BINDING].pop(("", "seimigrate-hold-service"))
    assert not keeper.verify(scene.statefulset, scene.service)


def test_going_back_from_the_hold_alone_releases_it() -> None:
    scene = Scene()
    scene.hold()
    assert scene.rollback().outcome is Outcome.ROLLED_BACK
    scene.assert_as_before()
    assert scene.replaced() == 0


def test_holding_twice_writes_nothing_to_the_node() -> None:
    scene = Scene()
    scene.hold()
    first = len(scene.ours())
    assert scene.hold().unchanged
    assert {r.kind for r in scene.ours()[first:]} <= {Kind.CONFIG_MAP}


# Bad journals.


def _journal(scene: Scene, **changes: object) -> None:
    key = (NAMESPACE, JOURNAL_PREFIX + NAME)
    body = copy_json(scene.world.cluster.objects[Kind.CONFIG_MAP][key])
    scene.world.cluster.put(Kind.CONFIG_MAP, body | changes)


@pytest.mark.parametrize("command", ["apply", "hold", "rollback"])
@pytest.mark.parametrize(
    "data",
    [{}, {"record": ""}, {"record": "[]"}, {"record": "{}"}, {"record": '{"version": 2}'}, {"record": "\x00{"}],
)
def test_a_damaged_journal_is_one_clear_error_and_changes_nothing(data: Object, command: str) -> None:
    scene = Scene(plan=QUICK)
    scene.hold()
    _journal(scene, data=data)
    first = len(scene.ours())
    with pytest.raises(SeimigrateError, match="damaged") as caught:
        getattr(scene, command)()
    assert "kubectl" in caught.value.hint
    assert {r.kind for r in scene.ours()[first:]} <= {Kind.CONFIG_MAP}
    assert {r.name for r in scene.ours()[first:]} <= {"seimigrate-run"}


@pytest.mark.parametrize("command", ["apply", "hold", "rollback"])
def test_a_foreign_journal_is_one_clear_error_and_changes_nothing(command: str) -> None:
    scene = Scene(plan=QUICK)
    metadata = {"namespace": NAMESPACE, "name": JOURNAL_PREFIX + NAME}
    scene.world.cluster.put(Kind.CONFIG_MAP, {"metadata": metadata, "data": {"theirs": "1"}})
    with pytest.raises(SeimigrateError, match="not written by seimigrate"):
        getattr(scene, command)()
    written = [r for r in scene.ours() if r.outcome == "ok"]
    assert {r.name for r in written if r.kind is Kind.CONFIG_MAP} == {"seimigrate-run"}
    assert not [r for r in scene.ours() if r.kind in (Kind.STATEFUL_SET, Kind.SERVICE, Kind.POD)]


def test_a_damaged_record_of_the_run_is_one_clear_error() -> None:
    scene = Scene(plan=QUICK)
    scene.hold()
    key = (SYSTEM_NAMESPACE, "seimigrate-run")
    body = copy_json(scene.world.cluster.objects[Kind.CONFIG_MAP][key])
    scene.world.cluster.put(Kind.CONFIG_MAP, body | {"data": {"record": "{"}})
    with pytest.raises(SeimigrateError, match="damaged"):
        scene.apply()


def test_another_plan_for_a_node_on_its_way_is_refused() -> None:
    scene = Scene()
    scene.interrupt(reaching(StageName.READY))
    with pytest.raises(SeimigrateError, match="in progress by plan"):
        scene.apply(plan=make_plan("ports.public=9101"))
    assert scene.rollback(plan=make_plan("ports.public=9101")).outcome is Outcome.ROLLED_BACK
    scene.assert_as_before()
