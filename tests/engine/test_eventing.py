"""Kubernetes Events of a run, on a simulated cluster."""

from __future__ import annotations

from typing import Any

import pytest

from seimigrate.domain.fleet.events import EventType, RunEvent
from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.domain.node.record import Outcome
from seimigrate.engine.errors import Forbidden
from seimigrate.engine.event_dispatcher import EventDispatcher
from seimigrate.engine.kube_events import MAX_NOTE_LENGTH, Recorder
from tests.engine.harness import NAME, NAMESPACE, Scene


def events(scene: Scene) -> list[Object]:
    """The Events, in the order in which they were written."""
    return list(scene.world.cluster.objects[Kind.EVENT].values())


def recorder(scene: Scene, missed: list[str]) -> Recorder:
    world = scene.world
    return Recorder(world.cluster, world.clock, "ann@here:1", missed.append)


def run(scene: Scene, missed: list[str]) -> None:
    """Cut the node over, with a recorder watching."""
    tell = EventDispatcher(scene.world.clock, recorder(scene, missed))
    scene.apply()
    for record, action in scene.seen:
        tell(record, action)


def test_each_stage_and_the_end_is_an_event_on_the_seinode() -> None:
    scene, missed = Scene(), []  # type: Scene, list[str]
    scene.world.replace_controller("new")
    run(scene, missed)
    told = [(event["reason"], event["note"]) for event in events(scene)]
    assert [note for reason, note in told if reason == "StageStarted"] == [
        f"stage {stage} started"
        for stage in ("hold", "check", "expose", "probes", "ready", "enforce", "policy", "release")
    ]
    assert told[-1][0] in ("CutoverSucceeded", "CutoverSucceededHeld")
    node = scene.world.cache.get(Kind.SEI_NODE, NAMESPACE, NAME)
    assert node is not None
    for event in events(scene):
        assert event["regarding"]["uid"] == node["metadata"]["uid"]
        assert (event["type"], event["action"]) == ("Normal", "Cutover")
        assert event["reportingInstance"] == "ann@here:1"
    assert missed == []


def test_a_failure_is_a_warning() -> None:
    scene, missed = Scene(), []  # type: Scene, list[str]
    scene.world.faults(NAMESPACE, NAME).stays_unready = True
    run(scene, missed)
    kinds = [(event["type"], event["reason"], event["action"]) for event in events(scene)]
    assert ("Warning", "StageFailed", "Rollback") in kinds
    assert ("Normal", "RollbackStarted", "Rollback") in kinds
    assert kinds[-1] == ("Warning", "CutoverFailed", "Rollback")  # in the old shape it gets no readier


def test_an_event_that_cannot_be_written_is_missed_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    scene, missed = Scene(), []  # type: Scene, list[str]
    scene.apply()
    record = scene.record

    def forbid(*_: Any, **__: Any) -> Object:
        raise Forbidden("you may not create events")

    monkeypatch.setattr(scene.world.cluster, "create", forbid)
    recorder(scene, missed)(RunEvent(EventType.OUTCOME, "done", record))
    assert missed == ["no Kubernetes Event was written: you may not create events"]


def test_a_long_note_is_cut_and_two_at_one_moment_are_two() -> None:
    scene = Scene()
    scene.apply()
    before = len(events(scene))
    tell = recorder(scene, [])
    for _ in range(2):
        tell(RunEvent(EventType.OUTCOME, "é" * 2000, scene.record.finished(Outcome.DONE)))
    both = events(scene)[before:]
    assert len(both) == 2
    assert all(len(event["note"].encode()) <= MAX_NOTE_LENGTH for event in both)
