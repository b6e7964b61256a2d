"""What a guard decides: it marks ready where all of its conditions hold, and nowhere else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from seimigrate.domain.kube.kinds import FREEZE_LABEL, HOLD_LABEL, Object
from seimigrate.domain.node.actions import QueryPod
from seimigrate.domain.node.guard_decision import (
    GuardAction,
    GuardedNode,
    GuardWait,
    MarkReadyState,
    SaveGuardState,
    SendMarkReady,
    Skip,
    UnreadySince,
    next_step,
    track_unready,
)
from seimigrate.domain.node.observation import NodeObservation, PodQuery, PodReply, RelatedObjects
from seimigrate.domain.node.record import Intent, IntentKind, Outcome, Record
from seimigrate.domain.node.rollout import restart_fingerprint
from seimigrate.domain.plan.plan import Strategy
from tests.engine.harness import make_plan

NOW = 1_800_000_000.0
PLAN = make_plan()
READY = [{"type": "mark-ready", "id": "x", "status": "completed"}]
INTENT = Intent(IntentKind.PATCH, object_kind="StatefulSet")


def a_pod(uid: str = "p-1", *, restarts: int = 0, running: bool = True) -> Object:
    state = {"running": {}} if running else {"waiting": {"reason": "CrashLoopBackOff"}}
    sidecar = {"name": "sei-sidecar", "containerID": f"c-{restarts}", "restartCount": restarts, "state": state}
    return {"metadata": {"uid": uid, "name": "node-0-0"}, "status": {"initContainerStatuses": [sidecar]}}


def a_charge(**spoilt: Any) -> GuardedNode:
    """A migrated, held node whose sidecar has answered 503 for 100 s, and whom nobody wants otherwise."""
    pod = spoilt.pop("pod", a_pod())
    labels = spoilt.pop("labels", {HOLD_LABEL: "r1-aaaaaa"})
    uid = pod["metadata"]["uid"] if pod else ""
    health, tasks = spoilt.pop("health", 503), spoilt.pop("tasks", READY)
    answers = {
        PodQuery.HEALTH: PodReply(uid, NOW, health, reason="" if health else "no answer"),
        PodQuery.TASKS: PodReply(uid, NOW, 200, json.dumps(tasks)),
    }
    about = {"metadata": {"uid": "n-1"}, "spec": {"image": "sei:v6"} | spoilt.pop("spec", {})}
    observed = NodeObservation(
        seinode=spoilt.pop("seinode", about),
        statefulset={"metadata": {"uid": "s-1", "labels": labels}, "spec": {}},
        service=None,
        pod=pod,
        replies=answers,
        related=spoilt.pop("around", RelatedObjects()),
    )
    record = Record(
        namespace="sei",
        name="node-0",
        uid="n-1",
        statefulset_uid="s-1",
        seid_image="sei:v6",
        run="r1-aaaaaa",
        plan="",
        strategy=Strategy.STAGED,
        since=NOW - 5000,
        was_ready=True,
        outcome=Outcome.DONE_HELD,
    )
    for_seconds = spoilt.pop("asks_for", 100.0)
    asks = UnreadySince(restart_fingerprint(pod), NOW - for_seconds) if pod else None
    record_changes = spoilt.pop("record", {})
    made = GuardedNode(replace(record, **record_changes), observed, MarkReadyState(), "r7-guard", asks)
    return replace(made, **spoilt)


def walk(node: GuardedNode) -> list[GuardAction]:
    """Decide until nothing is to be done at once; the journal is written, and a task that is sent is not taken."""
    steps: list[GuardAction] = []
    while len(steps) < 10:
        steps.append(next_step(node, PLAN, NOW))
        if not isinstance(steps[-1], SaveGuardState):
            break
        node = replace(node, state=steps[-1].state)
    return steps


def test_it_journals_an_intent_of_its_own_and_sends_that_very_one() -> None:
    journal, tell = walk(a_charge())
    assert isinstance(journal, SaveGuardState)
    assert isinstance(tell, SendMarkReady)
    assert tell.intent == journal.state.intent
    assert (tell.intent.kind, tell.intent.pod, tell.intent.token) == (IntentKind.MARK_READY, "p-1", "r7-guard")


def test_each_start_and_each_attempt_has_a_task_id_of_its_own() -> None:
    ids = set()
    for pod in (a_pod(), a_pod(restarts=1), a_pod("p-2")):
        for attempts in (0, 1):
            state = MarkReadyState(restart_fingerprint(pod), attempts, NOW - 60 if attempts else None)
            tell = walk(a_charge(pod=pod, state=state))[-1]
            assert isinstance(tell, SendMarkReady)
            ids.add(tell.intent.task)
    assert len(ids) == 6


def test_a_frozen_node_does_not_wait_and_another_one_does() -> None:
    frozen = {HOLD_LABEL: "r1", FREEZE_LABEL: "moving"}
    assert isinstance(walk(a_charge(labels=frozen, asks_for=0.0))[-1], SendMarkReady)
    waits = walk(a_charge(asks_for=89.0))[-1]
    assert isinstance(waits, GuardWait)
    assert waits.pending


SPOILT: dict[str, dict[str, Any]] = {
    "not held": {"labels": {}},
    "no pod": {"pod": None},
    "ready": {"health": 200},
    "not there": {"health": 404},
    "unreachable": {"health": None},
    "its sidecar crashes": {"pod": a_pod(running=False)},
    "a run looks after it": {"run": True},
    "in the middle of a write": {"record": {"outcome": None, "intent": INTENT}},
    "never ready": {"record": {"was_ready": False}},
    "no record": {"record": {}, "seinode": None},
    "made anew": {"record": {"uid": "n-0"}},
    "its StatefulSet made anew": {"record": {"statefulset_uid": "s-0"}},
    "being deleted": {"seinode": {"metadata": {"uid": "n-1", "deletionTimestamp": "x"}, "spec": {"image": "sei:v6"}}},
    "paused": {"spec": {"paused": True}},
    "upgraded": {"spec": {"image": "sei:v7"}},
    "marked not ready": {"tasks": [{"type": "mark-not-ready", "status": "completed"}]},
    "reset": {"tasks": [{"type": "reset-data", "status": "running"}, *READY]},
    "no task at all": {"tasks": []},
    "no list of tasks": {"tasks": "x"},
    "told often enough": {"state": MarkReadyState(restart_fingerprint(a_pod()), 3, NOW - 60)},
    "just told": {"state": MarkReadyState(restart_fingerprint(a_pod()), 1, NOW - 5)},
    "somebody's task": {
        "around": RelatedObjects(
            tasks=({"metadata": {"name": "t"}, "spec": {"target": {"nodeRef": {"name": "node-0"}}}, "status": {}},)
        )
    },
    "somebody's workflow": {
        "around": RelatedObjects(
            workflows=({"metadata": {"name": "w"}, "spec": {"target": {"nodeRef": {"name": "node-0"}}}, "status": {}},)
        )
    },
}


@pytest.mark.parametrize("name", SPOILT)
@pytest.mark.parametrize("intended", [False, True], ids=["", "intended before"])
def test_where_one_condition_does_not_hold_nothing_is_sent(name: str, intended: bool) -> None:
    node = a_charge(**SPOILT[name])
    pod = node.observed.pod
    if intended and pod is not None and name not in ("told often enough", "just told"):
        intent = Intent(IntentKind.MARK_READY, pod="p-1", name="node-0-0", task="t", token="r7-guard")
        node = replace(node, state=MarkReadyState(restart_fingerprint(pod), 0, None, intent))
    assert not any(isinstance(step, SendMarkReady) for step in walk(node))


def test_a_held_node_without_a_journal_is_left_to_people() -> None:
    step = walk(replace(a_charge(), record=None))[-1]
    assert isinstance(step, Skip)
    assert step.needs_operator


def test_an_intent_for_a_pod_that_is_gone_is_dropped() -> None:
    intent = Intent(IntentKind.MARK_READY, pod="p-0", task="t")
    first, *rest = walk(a_charge(state=MarkReadyState("p-0 ", 2, NOW - 300, intent)))
    assert first == SaveGuardState(MarkReadyState())
    assert isinstance(rest[-1], SendMarkReady)
    assert rest[-1].intent.pod == "p-1"


def test_what_was_sent_and_taken_is_settled_and_not_sent_again() -> None:
    intent = Intent(IntentKind.MARK_READY, pod="p-1", task="t")
    node = a_charge(state=MarkReadyState(restart_fingerprint(a_pod()), 0, None, intent))
    sent = replace(node, observed=replace(node.observed, executed_intent=intent))
    settled, then = walk(replace(sent, observed=sent.observed))[:2]
    assert settled == SaveGuardState(MarkReadyState(restart_fingerprint(a_pod()), 1, NOW, None))
    assert isinstance(then, GuardWait)


@pytest.mark.parametrize(
    ("status", "restarted", "since"), [(503, False, -60.0), (None, False, -60.0), (503, True, 0.0), (200, False, None)]
)
def test_it_asks_in_one_go_or_anew(status: int | None, restarted: bool, since: float | None) -> None:
    pod = a_pod(restarts=1) if restarted else a_pod()
    observed = a_charge(pod=pod, health=status).observed
    found = track_unready(UnreadySince(restart_fingerprint(a_pod()), NOW - 60), observed)
    assert found == (None if since is None else UnreadySince(restart_fingerprint(pod), NOW + since))


def test_an_old_answer_is_asked_for_again() -> None:
    node = a_charge()
    assert next_step(node, PLAN, NOW + 11) == QueryPod((PodQuery.HEALTH,))
