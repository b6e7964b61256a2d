"""Each stage through start, rollback, start and complete, for every mode and both strategies, the controller alive."""

from __future__ import annotations

import json

import pytest

from seimigrate.domain.kube.changes import Change
from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.domain.node.record import Outcome
from seimigrate.domain.node.shapes import Shape
from seimigrate.domain.plan.plan import StageName, Strategy
from tests.engine.harness import MODES, STRATEGIES, Scene, planned_restarts, reaching

STAGES = tuple(StageName)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_node_goes_back_from_each_stage_and_then_all_the_way(strategy: Strategy, stage: StageName) -> None:
    scene = Scene(strategy=strategy)
    scene.interrupt(reaching(stage))
    assert scene.rollback().outcome is Outcome.ROLLED_BACK
    scene.assert_as_before()
    _complete(scene)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("mode", MODES)
def test_in_each_mode_a_node_goes_back_from_one_stage_after_the_other(mode: str, strategy: Strategy) -> None:
    scene = Scene(mode, strategy)
    for stage in STAGES:
        scene.interrupt(reaching(stage))
        assert scene.rollback().outcome is Outcome.ROLLED_BACK, stage
        scene.assert_as_before()
    _complete(scene)


def test_a_node_with_a_sidecar_port_of_its_own_goes_there_and_back() -> None:
    scene = Scene(sidecar_port=7070)
    scene.interrupt(reaching(StageName.POLICY))
    assert scene.rollback().outcome is Outcome.ROLLED_BACK
    scene.assert_as_before()
    _complete(scene)


def test_nobody_changes_in_place_what_the_api_server_gave() -> None:
    """Readers of the simulated one get the very objects that it stores; those of the real one share a cache."""
    scene = Scene()
    stored: list[tuple[Object, str]] = []
    store = scene.world.cluster._store

    def keep(kind: Kind, body: Object) -> Object:
        stored.append((store(kind, body), json.dumps(body)))
        return stored[-1][0]

    scene.world.cluster._store = keep  # type: ignore[method-assign]
    scene.apply()
    scene.world.replace_controller("new")
    scene.apply()
    scene.rollback()
    assert {body["kind"] for body, _ in stored} >= {"StatefulSet", "Service", "Pod", "SeiNode", "ConfigMap"}
    assert [text for body, text in stored if json.dumps(body) != text] == []


def _complete(scene: Scene) -> None:
    """Cut the node over under the old controller, release it under the new one, and see that it stays as it is."""
    replaced = scene.replaced()
    assert scene.apply().outcome is Outcome.DONE_HELD
    assert scene.held
    assert scene.replaced() - replaced == planned_restarts(scene.strategy)
    pod = scene.pod["metadata"]["uid"]

    scene.world.replace_controller("new")
    assert scene.apply().outcome is Outcome.DONE
    scene.assert_done()
    scene.world.run(65)
    scene.assert_done()
    assert scene.pod["metadata"]["uid"] == pod
    assert not scene.controller_deletes()


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("mode", MODES)
def test_held_under_the_old_controller_a_node_is_cut_over_and_released_under_the_new_one(
    mode: str, strategy: Strategy
) -> None:
    scene = Scene(mode, strategy)
    assert scene.hold().outcome is Outcome.HELD
    scene.world.replace_controller("new")
    scene.world.run(200)
    assert scene.template == scene.statefulset_before["template"]["spec"]

    assert scene.apply().outcome is Outcome.DONE
    scene.assert_done()
    pod = scene.pod["metadata"]["uid"]
    scene.world.run(200)
    scene.assert_done()
    assert scene.pod["metadata"]["uid"] == pod
    assert scene.replaced() == planned_restarts(strategy)
    assert not scene.controller_deletes()


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("stage", STAGES)
def test_a_node_goes_back_to_the_end_of_a_stage_and_on_from_there(stage: StageName, strategy: Strategy) -> None:
    scene = Scene(strategy=strategy)
    assert scene.apply().outcome is Outcome.DONE_HELD

    assert scene.rollback(stage).outcome is Outcome.ROLLED_BACK_HELD
    wanted = {StageName.HOLD: Shape.SHARED, StageName.CHECK: Shape.SHARED, StageName.EXPOSE: Shape.EXPOSED}
    wanted |= {StageName.PROBES: Shape.MOVED, StageName.READY: Shape.MOVED}
    assert scene.shape is scene.pod_shape is wanted.get(stage, Shape.ENFORCED)
    assert scene.pod_ready
    assert scene.held

    scene.world.replace_controller("new")
    assert scene.apply().outcome is Outcome.DONE
    scene.assert_done()


def _refused(scene: Scene, to: StageName) -> bool:
    """Whether a way back to a stage is refused; nothing of the node has changed then."""
    before = (scene.statefulset["spec"], scene.service["spec"], scene.pod["metadata"]["uid"], scene.held)
    result = scene.rollback(to)
    if not result.blockers:
        return False
    assert before == (scene.statefulset["spec"], scene.service["spec"], scene.pod["metadata"]["uid"], scene.held)
    assert [blocker.code for blocker in result.blockers] == ["stage-not-reached"]
    return True


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_node_cannot_be_brought_back_to_a_stage_that_is_ahead_of_it(stage: StageName, strategy: Strategy) -> None:
    scene = Scene(strategy=strategy)
    scene.interrupt(reaching(stage))
    for ahead in STAGES[stage.position : -1]:
        assert _refused(scene, ahead), ahead
    held = (Outcome.HELD, Outcome.ROLLED_BACK_HELD)
    in_between = strategy is Strategy.MERGED and StageName.EXPOSE.position < stage.position
    if in_between and stage.position <= StageName.ENFORCE.position:
        assert _refused(scene, STAGES[stage.position - 1]), "merged: nothing of the template was written yet"
        assert scene.rollback(StageName.CHECK).outcome in held
    else:
        assert scene.rollback(STAGES[stage.position - 1]).outcome in held
    assert scene.pod_ready
    assert scene.apply().outcome is Outcome.DONE_HELD


def test_what_was_held_or_brought_back_is_before_the_stages_that_it_has_not_or_no_more() -> None:
    scene = Scene()
    scene.hold()
    assert all(_refused(scene, ahead) for ahead in STAGES[1:-1])
    assert scene.rollback(StageName.HOLD).outcome is Outcome.HELD
    scene.apply()
    scene.rollback(StageName.PROBES)
    assert all(_refused(scene, ahead) for ahead in STAGES[StageName.READY.position : -1])
    assert scene.rollback(StageName.PROBES).outcome is Outcome.ROLLED_BACK_HELD
    assert scene.rollback(StageName.EXPOSE).outcome is Outcome.ROLLED_BACK_HELD


def test_on_a_way_back_that_has_put_the_template_back_no_later_stage_can_be_stopped_at() -> None:
    scene = Scene()
    scene.apply()
    scene.interrupt_back(lambda record, _: record.intent is None and not any(_in_template(c) for c in record.changes))
    assert _refused(scene, StageName.READY)
    assert scene.rollback(StageName.HOLD).outcome is Outcome.ROLLED_BACK_HELD
    assert scene.statefulset["spec"] == scene.statefulset_before


def _in_template(change: Change) -> bool:
    return change.path.startswith("spec.template.")


def test_going_back_twice_finds_nothing_to_do() -> None:
    scene = Scene()
    scene.apply()
    assert scene.rollback().outcome is Outcome.ROLLED_BACK
    again = scene.rollback()
    assert again.unchanged
    scene.assert_as_before()


def test_a_node_that_is_done_and_released_has_nothing_to_do() -> None:
    scene = Scene()
    scene.apply()
    scene.world.replace_controller("new")
    scene.apply()
    writes = len(scene.ours())
    assert scene.apply().unchanged
    assert {(r.kind.name, r.namespace) for r in scene.ours()[writes:]} == {("CONFIG_MAP", "seimigrate-system")}


def test_a_released_node_can_still_be_brought_back_and_stays_held_under_the_new_controller() -> None:
    scene = Scene()
    scene.apply()
    scene.world.replace_controller("new")
    assert scene.apply().outcome is Outcome.DONE

    assert scene.rollback().outcome is Outcome.ROLLED_BACK_HELD
    assert scene.statefulset["spec"] == scene.statefulset_before
    assert scene.pod_shape is Shape.SHARED
    assert scene.pod_ready

    scene.world.replace_controller("old")
    assert scene.rollback().outcome is Outcome.ROLLED_BACK
    scene.assert_clean()
    assert scene.pod_ready


@pytest.mark.parametrize("sent", [False, True], ids=["not sent yet", "sent"])
def test_a_controller_that_was_asked_about_one_shape_is_asked_again_about_the_other(sent: bool) -> None:
    scene = Scene(strategy=Strategy.MERGED)
    role = scene.statefulset["metadata"]["labels"]["sei.io/role"]
    scene.interrupt(lambda record, _: record.agreement_probe is not None and (record.intent is None) is sent)
    scene.world.replace_controller("new")
    scene.world.run(10)
    assert scene.rollback().outcome is Outcome.ROLLED_BACK_HELD
    assert "did not confirm" in scene.record.reason
    assert not any(record.agreed_at for record, _ in scene.seen)
    assert scene.statefulset["metadata"]["labels"]["sei.io/role"] == role
    assert scene.shape is scene.pod_shape is Shape.SHARED
