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
from tests.engine.harness import NAME, NAMESPACE, Harness


def events(harness: Harness) -> list[Object]:
    """Return the Events in the order in which they were written."""
    return list(harness.world.cluster.objects[Kind.EVENT].values())


def recorder(harness: Harness, dropped: list[str]) -> Recorder:
    world = harness.world
    return Recorder(world.cluster, world.clock, "ann@here:1", dropped.append)


def run(harness: Harness, dropped: list[str]) -> None:
    """Cut the node over, and send its steps to a recorder."""
    dispatch = EventDispatcher(harness.world.clock, recorder(harness, dropped))
    harness.apply()
    for record, action in harness.reported:
        dispatch(record, action)


def test_each_stage_and_the_outcome_is_an_event_on_the_seinode() -> None:
    harness, dropped = Harness(), []  # type: Harness, list[str]
    harness.world.replace_controller("new")
    run(harness, dropped)
    written = [(event["reason"], event["note"]) for event in events(harness)]
    assert [note for reason, note in written if reason == "StageStarted"] == [
        f"stage {stage} started"
        for stage in ("hold", "check", "expose", "probes", "ready", "enforce", "policy", "release")
    ]
    assert written[-1][0] in ("CutoverSucceeded", "CutoverSucceededHeld")
    node = harness.world.cache.get(Kind.SEI_NODE, NAMESPACE, NAME)
    assert node is not None
    for event in events(harness):
        assert event["regarding"]["uid"] == node["metadata"]["uid"]
        assert (event["type"], event["action"]) == ("Normal", "Cutover")
        assert event["reportingInstance"] == "ann@here:1"
    assert dropped == []


def test_stage_failure_is_a_warning_event() -> None:
    harness, dropped = Harness(), []  # type: Harness, list[str]
    harness.world.faults(NAMESPACE, NAME).stays_unready = True
    run(harness, dropped)
    kinds = [(event["type"], event["reason"], event["action"]) for event in events(harness)]
    assert ("Warning", "StageFailed", "Rollback") in kinds
    assert ("Normal", "RollbackStarted", "Rollback") in kinds
    assert kinds[-1] == ("Warning", "CutoverFailed", "Rollback")  # the pod stays unready in the old shape


def test_event_that_cannot_be_written_is_dropped_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    harness, dropped = Harness(), []  # type: Harness, list[str]
    harness.apply()
    record = harness.record

    def forbid(*_: Any, **__: Any) -> Object:
        raise Forbidden("you may not create events")

    monkeypatch.setattr(harness.world.cluster, "create", forbid)
    recorder(harness, dropped)(RunEvent(EventType.OUTCOME, "done", record))
    assert dropped == ["no Kubernetes Event was written: you may not create events"]


def test_long_note_is_truncated_and_simultaneous_events_are_both_kept() -> None:
    harness = Harness()
    harness.apply()
    before = len(events(harness))
    dispatch = recorder(harness, [])
    for _ in range(2):
        dispatch(RunEvent(EventType.OUTCOME, "é" * 2000, harness.record.finished(Outcome.DONE)))
    both = events(harness)[before:]
    assert len(both) == 2
    assert all(len(event["note"].encode()) <= MAX_NOTE_LENGTH for event in both)
