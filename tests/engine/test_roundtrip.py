"""Start, rollback, restart and completion of each stage, for every mode and strategy, with a running controller."""

from __future__ import annotations

import json

import pytest

from seimigrate.domain.kube.changes import Change
from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.domain.node.record import Outcome
from seimigrate.domain.node.shapes import Shape
from seimigrate.domain.plan.plan import StageName, Strategy
from tests.engine.harness import MODES, STRATEGIES, Harness, planned_restarts, reaching

STAGES = tuple(StageName)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_node_rolled_back_from_each_stage_can_be_cut_over(strategy: Strategy, stage: StageName) -> None:
    harness = Harness(strategy=strategy)
    harness.interrupt(reaching(stage))
    assert harness.rollback().outcome is Outcome.ROLLED_BACK
    harness.assert_restored()
    _complete(harness)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("mode", MODES)
def test_node_of_each_mode_is_rolled_back_from_all_stages_in_turn(mode: str, strategy: Strategy) -> None:
    harness = Harness(mode, strategy)
    for stage in STAGES:
        harness.interrupt(reaching(stage))
        assert harness.rollback().outcome is Outcome.ROLLED_BACK, stage
        harness.assert_restored()
    _complete(harness)


def test_node_with_a_custom_sidecar_port_is_rolled_back_and_cut_over() -> None:
    harness = Harness(sidecar_port=7070)
    harness.interrupt(reaching(StageName.POLICY))
    assert harness.rollback().outcome is Outcome.ROLLED_BACK
    harness.assert_restored()
    _complete(harness)


def test_objects_from_the_api_server_are_never_modified_in_place() -> None:
    """The simulated API server returns its stored objects themselves, and the real one's readers share a cache."""
    harness = Harness()
    stored: list[tuple[Object, str]] = []
    store = harness.world.cluster._store

    def keep(kind: Kind, body: Object) -> Object:
        stored.append((store(kind, body), json.dumps(body)))
        return stored[-1][0]

    harness.world.cluster._store = keep  # type: ignore[method-assign]
    harness.apply()
    harness.world.replace_controller("new")
    harness.apply()
    harness.rollback()
    assert {body["kind"] for body, _ in stored} >= {"StatefulSet", "Service", "Pod", "SeiNode", "ConfigMap"}
    assert [text for body, text in stored if json.dumps(body) != text] == []


def _complete(harness: Harness) -> None:
    """Cut the node over under the old controller, release it under the new one, and assert that it stays unchanged."""
    replaced = harness.replaced_pod_count()
    assert harness.apply().outcome is Outcome.DONE_HELD
    assert harness.held
    assert harness.replaced_pod_count() - replaced == planned_restarts(harness.strategy)
    pod = harness.pod["metadata"]["uid"]

    harness.world.replace_controller("new")
    assert harness.apply().outcome is Outcome.DONE
    harness.assert_done()
    harness.world.run(65)
    harness.assert_done()
    assert harness.pod["metadata"]["uid"] == pod
    assert not harness.controller_deletes()


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("mode", MODES)
def test_node_held_under_old_controller_is_released_under_new_one(mode: str, strategy: Strategy) -> None:
    harness = Harness(mode, strategy)
    assert harness.hold().outcome is Outcome.HELD
    harness.world.replace_controller("new")
    harness.world.run(200)
    assert harness.template == harness.statefulset_before["template"]["spec"]

    assert harness.apply().outcome is Outcome.DONE
    harness.assert_done()
    pod = harness.pod["metadata"]["uid"]
    harness.world.run(200)
    harness.assert_done()
    assert harness.pod["metadata"]["uid"] == pod
    assert harness.replaced_pod_count() == planned_restarts(strategy)
    assert not harness.controller_deletes()


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("stage", STAGES)
def test_node_rolled_back_to_a_stage_continues_from_there(stage: StageName, strategy: Strategy) -> None:
    harness = Harness(strategy=strategy)
    assert harness.apply().outcome is Outcome.DONE_HELD

    assert harness.rollback(stage).outcome is Outcome.ROLLED_BACK_HELD
    shapes = {StageName.HOLD: Shape.SHARED, StageName.CHECK: Shape.SHARED, StageName.EXPOSE: Shape.EXPOSED}
    shapes |= {StageName.PROBES: Shape.MOVED, StageName.READY: Shape.MOVED}
    assert harness.shape is harness.pod_shape is shapes.get(stage, Shape.ENFORCED)
    assert harness.pod_ready
    assert harness.held

    harness.world.replace_controller("new")
    assert harness.apply().outcome is Outcome.DONE
    harness.assert_done()


def _refused(harness: Harness, stage: StageName) -> bool:
    """Return whether a rollback to a stage is refused; assert that a refused one changes nothing."""
    before = (harness.statefulset["spec"], harness.service["spec"], harness.pod["metadata"]["uid"], harness.held)
    result = harness.rollback(stage)
    if not result.blockers:
        return False
    assert before == (
        harness.statefulset["spec"],
        harness.service["spec"],
        harness.pod["metadata"]["uid"],
        harness.held,
    )
    assert [blocker.code for blocker in result.blockers] == ["stage-not-reached"]
    return True


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("stage", STAGES[1:])
def test_rollback_to_a_stage_not_reached_is_refused(stage: StageName, strategy: Strategy) -> None:
    harness = Harness(strategy=strategy)
    harness.interrupt(reaching(stage))
    for ahead in STAGES[stage.position : -1]:
        assert _refused(harness, ahead), ahead
    held = (Outcome.HELD, Outcome.ROLLED_BACK_HELD)
    in_between = strategy is Strategy.MERGED and StageName.EXPOSE.position < stage.position
    if in_between and stage.position <= StageName.ENFORCE.position:
        assert _refused(harness, STAGES[stage.position - 1]), "merged: the template has not been written yet"
        assert harness.rollback(StageName.CHECK).outcome in held
    else:
        assert harness.rollback(STAGES[stage.position - 1]).outcome in held
    assert harness.pod_ready
    assert harness.apply().outcome is Outcome.DONE_HELD


def test_held_or_rolled_back_node_has_not_reached_later_stages() -> None:
    harness = Harness()
    harness.hold()
    assert all(_refused(harness, ahead) for ahead in STAGES[1:-1])
    assert harness.rollback(StageName.HOLD).outcome is Outcome.HELD
    harness.apply()
    harness.rollback(StageName.PROBES)
    assert all(_refused(harness, ahead) for ahead in STAGES[StageName.READY.position : -1])
    assert harness.rollback(StageName.PROBES).outcome is Outcome.ROLLED_BACK_HELD
    assert harness.rollback(StageName.EXPOSE).outcome is Outcome.ROLLED_BACK_HELD


def test_rollback_with_reverted_template_cannot_stop_at_a_later_stage() -> None:
    harness = Harness()
    harness.apply()
    harness.interrupt_rollback(
        lambda record, _: record.intent is None and not any(_in_template(c) for c in record.changes)
    )
    assert _refused(harness, StageName.READY)
    assert harness.rollback(StageName.HOLD).outcome is Outcome.ROLLED_BACK_HELD
    assert harness.statefulset["spec"] == harness.statefulset_before


def _in_template(change: Change) -> bool:
    return change.path.startswith("spec.template.")


def test_second_rollback_is_unchanged() -> None:
    harness = Harness()
    harness.apply()
    assert harness.rollback().outcome is Outcome.ROLLED_BACK
    assert harness.rollback().unchanged
    harness.assert_restored()


def test_apply_to_a_released_node_is_unchanged() -> None:
    harness = Harness()
    harness.apply()
    harness.world.replace_controller("new")
    harness.apply()
    writes = len(harness.our_writes())
    assert harness.apply().unchanged
    assert {(r.kind.name, r.namespace) for r in harness.our_writes()[writes:]} == {("CONFIG_MAP", "seimigrate-system")}


def test_rollback_of_a_released_node_stays_held_under_new_controller() -> None:
    harness = Harness()
    harness.apply()
    harness.world.replace_controller("new")
    assert harness.apply().outcome is Outcome.DONE

    assert harness.rollback().outcome is Outcome.ROLLED_BACK_HELD
    assert harness.statefulset["spec"] == harness.statefulset_before
    assert harness.pod_shape is Shape.SHARED
    assert harness.pod_ready

    harness.world.replace_controller("old")
    assert harness.rollback().outcome is Outcome.ROLLED_BACK
    harness.assert_clean()
    assert harness.pod_ready


@pytest.mark.parametrize("sent", [False, True], ids=["not-sent", "sent"])
def test_agreement_probe_is_repeated_for_the_other_shape(sent: bool) -> None:
    harness = Harness(strategy=Strategy.MERGED)
    role = harness.statefulset["metadata"]["labels"]["sei.io/role"]
    harness.interrupt(lambda record, _: record.agreement_probe is not None and (record.intent is None) is sent)
    harness.world.replace_controller("new")
    harness.world.run(10)
    assert harness.rollback().outcome is Outcome.ROLLED_BACK_HELD
    assert "did not confirm" in harness.record.reason
    assert not any(record.agreed_at for record, _ in harness.reported)
    assert harness.statefulset["metadata"]["labels"]["sei.io/role"] == role
    assert harness.shape is harness.pod_shape is Shape.SHARED
