"""The hold alone, and unreadable journals: one error, and no change."""

from __future__ import annotations

import pytest

from seimigrate.domain.kube.kinds import FREEZE_LABEL, JOURNAL_PREFIX, SYSTEM_NAMESPACE, Kind, Object
from seimigrate.domain.node.record import Outcome
from seimigrate.domain.node.shapes import Shape
from seimigrate.domain.plan.plan import Release, StageName
from seimigrate.engine.errors import SeimigrateError
from seimigrate.engine.hold import HoldManager
from seimigrate.simulation.objects import CONTROLLER_USER, copy_json
from tests.engine.harness import KEY, NAME, NAMESPACE, Harness, make_plan, reaching

QUICK = make_plan(release=Release(agreement_timeout=0))


def test_hold_changes_labels_only() -> None:
    harness = Harness()
    pod = harness.pod
    assert harness.hold().outcome is Outcome.HELD
    assert harness.held
    assert FREEZE_LABEL not in harness.statefulset["metadata"]["labels"]
    assert harness.statefulset["spec"] == harness.statefulset_before
    assert harness.service["spec"] == harness.service_before
    harness.world.run(100)
    assert harness.pod["metadata"]["uid"] == pod["metadata"]["uid"]
    assert harness.world.controller is not None
    assert not harness.world.controller.denials


def test_blocked_node_is_held_and_not_cut_over() -> None:
    harness = Harness()
    harness.edit(Kind.STATEFUL_SET, {"op": "add", "path": "/spec/template/spec/hostNetwork", "value": True})
    assert harness.hold().outcome is Outcome.HELD
    assert harness.held
    result = harness.apply()
    assert result.outcome in (Outcome.BLOCKED, Outcome.HELD)
    assert harness.held
    assert harness.shape is Shape.SHARED


def test_blocked_node_that_is_not_held_is_not_written() -> None:
    harness = Harness()
    harness.world.faults(*KEY).stays_unready = True
    harness.delete_pod()
    harness.world.run(30)
    result = harness.apply()
    assert result.outcome is Outcome.BLOCKED
    assert not harness.held
    assert not [r for r in harness.our_writes() if r.kind in (Kind.STATEFUL_SET, Kind.SERVICE, Kind.POD)]


NARROWER = {"namespaceSelector": {"matchLabels": {"no-namespace": "has"}}}


@pytest.mark.parametrize(
    ("kind", "name", "key", "value"),
    [
        (Kind.ADMISSION_BINDING, "seimigrate-hold", "matchResources", NARROWER),
        (Kind.ADMISSION_BINDING, "seimigrate-hold-service", "matchResources", NARROWER),
        (Kind.ADMISSION_POLICY, "seimigrate-hold", "paramKind", {"apiVersion": "v1", "kind": "ConfigMap"}),
    ],
)
def test_hold_policy_narrowed_externally_is_reported_and_repaired_by_hold(
    kind: Kind, name: str, key: str, value: Object
) -> None:
    harness = Harness(plan=QUICK)
    harness.hold()
    manager = HoldManager(harness.world.cluster, harness.world.cache, [CONTROLLER_USER])
    assert manager.error() == ""
    harness.edit(kind, {"op": "add", "path": f"/spec/{key}", "value": value}, name=name)
    assert manager.error() == f"{kind.resource.kind} {name} was changed"
    harness.hold()
    assert manager.error() == ""


def test_hold_without_its_service_policy_is_not_verified() -> None:
    harness = Harness(plan=QUICK)
    harness.hold()
    manager = HoldManager(harness.world.cluster, harness.world.cache, [CONTROLLER_USER])
    assert manager.verify(harness.statefulset, harness.service)
    harness.world.cluster.objects[Kind.ADMISSION_BINDING].pop(("", "seimigrate-hold-service"))
    assert not manager.verify(harness.statefulset, harness.service)


def test_rollback_of_a_held_node_releases_it() -> None:
    harness = Harness()
    harness.hold()
    assert harness.rollback().outcome is Outcome.ROLLED_BACK
    harness.assert_restored()
    assert harness.replaced_pod_count() == 0


def test_second_hold_does_not_write_to_the_node() -> None:
    harness = Harness()
    harness.hold()
    first = len(harness.our_writes())
    assert harness.hold().unchanged
    assert {r.kind for r in harness.our_writes()[first:]} <= {Kind.CONFIG_MAP}


# Invalid journals.


def _journal(harness: Harness, **changes: object) -> None:
    key = (NAMESPACE, JOURNAL_PREFIX + NAME)
    body = copy_json(harness.world.cluster.objects[Kind.CONFIG_MAP][key])
    harness.world.cluster.put(Kind.CONFIG_MAP, body | changes)


@pytest.mark.parametrize("command", ["apply", "hold", "rollback"])
@pytest.mark.parametrize(
    "data",
    [{}, {"record": ""}, {"record": "[]"}, {"record": "{}"}, {"record": '{"version": 2}'}, {"record": "\x00{"}],
)
def test_damaged_journal_is_an_error_and_changes_nothing(data: Object, command: str) -> None:
    harness = Harness(plan=QUICK)
    harness.hold()
    _journal(harness, data=data)
    first = len(harness.our_writes())
    with pytest.raises(SeimigrateError, match="damaged") as caught:
        getattr(harness, command)()
    assert "kubectl" in caught.value.hint
    assert {r.kind for r in harness.our_writes()[first:]} <= {Kind.CONFIG_MAP}
    assert {r.name for r in harness.our_writes()[first:]} <= {"seimigrate-run"}


@pytest.mark.parametrize("command", ["apply", "hold", "rollback"])
def test_foreign_journal_is_an_error_and_changes_nothing(command: str) -> None:
    harness = Harness(plan=QUICK)
    metadata = {"namespace": NAMESPACE, "name": JOURNAL_PREFIX + NAME}
    harness.world.cluster.put(Kind.CONFIG_MAP, {"metadata": metadata, "data": {"theirs": "1"}})
    with pytest.raises(SeimigrateError, match="not written by seimigrate"):
        getattr(harness, command)()
    written = [r for r in harness.our_writes() if r.outcome == "ok"]
    assert {r.name for r in written if r.kind is Kind.CONFIG_MAP} == {"seimigrate-run"}
    assert not [r for r in harness.our_writes() if r.kind in (Kind.STATEFUL_SET, Kind.SERVICE, Kind.POD)]


def test_damaged_run_record_is_an_error() -> None:
    harness = Harness(plan=QUICK)
    harness.hold()
    key = (SYSTEM_NAMESPACE, "seimigrate-run")
    body = copy_json(harness.world.cluster.objects[Kind.CONFIG_MAP][key])
    harness.world.cluster.put(Kind.CONFIG_MAP, body | {"data": {"record": "{"}})
    with pytest.raises(SeimigrateError, match="damaged"):
        harness.apply()


def test_other_plan_for_a_node_in_progress_is_refused() -> None:
    harness = Harness()
    harness.interrupt(reaching(StageName.READY))
    with pytest.raises(SeimigrateError, match="in progress by plan"):
        harness.apply(plan=make_plan("ports.public=9101"))
    assert harness.rollback(plan=make_plan("ports.public=9101")).outcome is Outcome.ROLLED_BACK
    harness.assert_restored()
