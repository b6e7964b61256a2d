"""The guard's decision: it sends mark-ready only if all conditions are met."""

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


def make_pod(uid: str = "p-1", *, restarts: int = 0, running: bool = True) -> Object:
    state = {"running": {}} if running else {"waiting": {"reason": "CrashLoopBackOff"}}
    sidecar = {"name": "sei-sidecar", "containerID": f"c-{restarts}", "restartCount": restarts, "state": state}
    return {"metadata": {"uid": uid, "name": "node-0-0"}, "status": {"initContainerStatuses": [sidecar]}}


def guarded_node(**overrides: Any) -> GuardedNode:
    """A migrated, held node whose sidecar has returned 503 for 100 s, without a conflicting task or change."""
    pod = overrides.pop("pod", make_pod())
    labels = overrides.pop("labels", {HOLD_LABEL: "r1-aaaaaa"})
    uid = pod["metadata"]["uid"] if pod else ""
    health, tasks = overrides.pop("health", 503), overrides.pop("tasks", READY)
    replies = {
        PodQuery.HEALTH: PodReply(uid, NOW, health, reason="" if health else "no answer"),
        PodQuery.TASKS: PodReply(uid, NOW, 200, json.dumps(tasks)),
    }
    default_seinode = {"metadata": {"uid": "n-1"}, "spec": {"image": "sei:v6"} | overrides.pop("spec", {})}
    observed = NodeObservation(
        seinode=overrides.pop("seinode", default_seinode),
        statefulset={"metadata": {"uid": "s-1", "labels": labels}, "spec": {}},
        service=None,
        pod=pod,
        replies=replies,
        related=overrides.pop("related", RelatedObjects()),
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
    unready_seconds = overrides.pop("unready_for", 100.0)
    unready = UnreadySince(restart_fingerprint(pod), NOW - unready_seconds) if pod else None
    record_changes = overrides.pop("record", {})
    node = GuardedNode(replace(record, **record_changes), observed, MarkReadyState(), "r7-guard", unready)
    return replace(node, **overrides)


def decide_all(node: GuardedNode) -> list[GuardAction]:
    """Decide until no action is due; the journal is saved, and a task that is sent is not executed."""
    actions: list[GuardAction] = []
    while len(actions) < 10:
        actions.append(next_step(node, PLAN, NOW))
        if not isinstance(actions[-1], SaveGuardState):
            break
        node = replace(node, state=actions[-1].state)
    return actions


def test_intent_is_saved_before_the_same_intent_is_sent() -> None:
    journal, send = decide_all(guarded_node())
    assert isinstance(journal, SaveGuardState)
    assert isinstance(send, SendMarkReady)
    assert send.intent == journal.state.intent
    assert (send.intent.kind, send.intent.pod, send.intent.token) == (IntentKind.MARK_READY, "p-1", "r7-guard")


def test_task_id_is_unique_per_start_and_attempt() -> None:
    ids = set()
    for pod in (make_pod(), make_pod(restarts=1), make_pod("p-2")):
        for attempts in (0, 1):
            state = MarkReadyState(restart_fingerprint(pod), attempts, NOW - 60 if attempts else None)
            send = decide_all(guarded_node(pod=pod, state=state))[-1]
            assert isinstance(send, SendMarkReady)
            ids.add(send.intent.task)
    assert len(ids) == 6


def test_only_unfrozen_node_waits_for_controller() -> None:
    frozen = {HOLD_LABEL: "r1", FREEZE_LABEL: "moving"}
    assert isinstance(decide_all(guarded_node(labels=frozen, unready_for=0.0))[-1], SendMarkReady)
    action = decide_all(guarded_node(unready_for=89.0))[-1]
    assert isinstance(action, GuardWait)
    assert action.pending


UNMET: dict[str, dict[str, Any]] = {
    "not held": {"labels": {}},
    "no pod": {"pod": None},
    "ready": {"health": 200},
    "health not found": {"health": 404},
    "unreachable": {"health": None},
    "sidecar crashes": {"pod": make_pod(running=False)},
    "covered by a run": {"run": True},
    "write in progress": {"record": {"outcome": None, "intent": INTENT}},
    "never ready": {"record": {"was_ready": False}},
    "no record": {"record": {}, "seinode": None},
    "recreated": {"record": {"uid": "n-0"}},
    "StatefulSet recreated": {"record": {"statefulset_uid": "s-0"}},
    "being deleted": {"seinode": {"metadata": {"uid": "n-1", "deletionTimestamp": "x"}, "spec": {"image": "sei:v6"}}},
    "paused": {"spec": {"paused": True}},
    "upgraded": {"spec": {"image": "sei:v7"}},
    "marked not ready": {"tasks": [{"type": "mark-not-ready", "status": "completed"}]},
    "reset": {"tasks": [{"type": "reset-data", "status": "running"}, *READY]},
    "no tasks": {"tasks": []},
    "no task list": {"tasks": "x"},
    "all attempts used": {"state": MarkReadyState(restart_fingerprint(make_pod()), 3, NOW - 60)},
    "attempt just sent": {"state": MarkReadyState(restart_fingerprint(make_pod()), 1, NOW - 5)},
    "open SeiNodeTask": {
        "related": RelatedObjects(
            tasks=({"metadata": {"name": "t"}, "spec": {"target": {"nodeRef": {"name": "node-0"}}}, "status": {}},)
        )
    },
    "open workflow": {
        "related": RelatedObjects(
            workflows=({"metadata": {"name": "w"}, "spec": {"target": {"nodeRef": {"name": "node-0"}}}, "status": {}},)
        )
    },
}


@pytest.mark.parametrize("name", UNMET)
@pytest.mark.parametrize("journaled", [False, True], ids=["", "journaled before"])
def test_mark_ready_is_not_sent_if_one_condition_is_unmet(name: str, journaled: bool) -> None:
    node = guarded_node(**UNMET[name])
    pod = node.observed.pod
    if journaled and pod is not None and name not in ("all attempts used", "attempt just sent"):
        intent = Intent(IntentKind.MARK_READY, pod="p-1", name="node-0-0", task="t", token="r7-guard")
        node = replace(node, state=MarkReadyState(restart_fingerprint(pod), 0, None, intent))
    assert not any(isinstance(step, SendMarkReady) for step in decide_all(node))


def test_held_node_without_journal_needs_operator() -> None:
    step = decide_all(replace(guarded_node(), record=None))[-1]
    assert isinstance(step, Skip)
    assert step.needs_operator


def test_intent_for_replaced_pod_is_dropped() -> None:
    intent = Intent(IntentKind.MARK_READY, pod="p-0", task="t")
    first, *rest = decide_all(guarded_node(state=MarkReadyState("p-0 ", 2, NOW - 300, intent)))
    assert first == SaveGuardState(MarkReadyState())
    assert isinstance(rest[-1], SendMarkReady)
    assert rest[-1].intent.pod == "p-1"


def test_executed_intent_is_resolved_and_not_sent_again() -> None:
    intent = Intent(IntentKind.MARK_READY, pod="p-1", task="t")
    node = guarded_node(state=MarkReadyState(restart_fingerprint(make_pod()), 0, None, intent))
    sent = replace(node, observed=replace(node.observed, executed_intent=intent))
    resolved, following = decide_all(replace(sent, observed=sent.observed))[:2]
    assert resolved == SaveGuardState(MarkReadyState(restart_fingerprint(make_pod()), 1, NOW, None))
    assert isinstance(following, GuardWait)


@pytest.mark.parametrize(
    ("status", "restarted", "since"), [(503, False, -60.0), (None, False, -60.0), (503, True, 0.0), (200, False, None)]
)
def test_unready_time_restarts_with_the_sidecar(status: int | None, restarted: bool, since: float | None) -> None:
    pod = make_pod(restarts=1) if restarted else make_pod()
    observed = guarded_node(pod=pod, health=status).observed
    unready = track_unready(UnreadySince(restart_fingerprint(make_pod()), NOW - 60), observed)
    assert unready == (None if since is None else UnreadySince(restart_fingerprint(pod), NOW + since))


def test_old_reply_is_queried_again() -> None:
    node = guarded_node()
    assert next_step(node, PLAN, NOW + 11) == QueryPod((PodQuery.HEALTH,))
