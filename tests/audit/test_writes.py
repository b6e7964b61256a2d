"""Rule 4: writes that a journal tells of, and writes that none does."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.audit.cover import uncovered
from tests.audit.events import Json
from tests.audit.logs import OURS, TOKEN, Log, settled
from tests.audit.shapes import (
    FREEZE_PATH,
    IGNORE,
    add_label,
    change,
    expect_hold,
    pointer,
)
from tests.audit.violations import CONTROLLER, FENCE, HOLD, PROBE

PORT = {"name": "public", "port": 9100, "protocol": "TCP", "targetPort": 9100}
ADD_PORT = {"op": "add", "path": "/spec/ports/-", "value": PORT}
EXPOSED = change("spec.ports[port=9100,protocol=TCP]", None, PORT)


def expose(log: Log, *more: Json) -> None:
    log.patch("services", "a", expect_hold(TOKEN), ADD_PORT, *more)


def test_a_patch_that_its_journal_tells_of_is_covered(log: Log) -> None:
    log.intend("services", "a", EXPOSED)
    expose(log)
    assert settled(log) == set()


@pytest.mark.parametrize(
    "journal",
    [
        lambda log: log.journal("a"),
        lambda log: log.intend("statefulsets", "a", EXPOSED),
        lambda log: log.intend("services", "b", EXPOSED),
        lambda log: log.intend("services", "a", {**EXPOSED, "after": {**PORT, "name": "another"}}),
        lambda log: log.intend("services", "a", change(FREEZE_PATH, None, None)),
        lambda log: log.intend("services", "a", EXPOSED, change(FREEZE_PATH, None, TOKEN)),
        lambda log: log.intend("services", "a", {**EXPOSED, "before": {**PORT, "name": "another"}}),
    ],
    ids=["no intent", "other kind", "other node", "other value", "other path", "half of it", "other value before"],
)
def test_a_patch_that_its_journal_does_not_tell_of_is_told(log: Log, journal: Callable[[Log], Any]) -> None:
    journal(log)
    expose(log)
    assert settled(log) == {4}


def test_a_patch_that_changes_something_besides_is_told(log: Log) -> None:
    log.intend("services", "a", EXPOSED)
    expose(log, {"op": "add", "path": "/metadata/labels/x", "value": "y"})
    assert settled(log) == {4}


def test_an_intent_covers_only_what_comes_after_it(log: Log) -> None:
    expose(log)
    log.intend("services", "a", EXPOSED)
    assert settled(log) == {4}


def test_an_intent_covers_nothing_once_it_is_closed(log: Log) -> None:
    log.intend("services", "a", EXPOSED)
    log.journal("a")
    expose(log)
    assert settled(log) == {4}


def test_status_and_bookkeeping_are_nobodys_change(log: Log) -> None:
    log.intend("services", "a", EXPOSED)
    fields = [{"op": "add", "path": f"/metadata/{name}", "value": []} for name in ("managedFields", "generation")]
    expose(log, *fields, {"op": "add", "path": "/status", "value": {"x": 1}})
    assert settled(log) == set()


def test_a_change_by_somebody_else_between_journal_and_patch_is_not_ours(log: Log) -> None:
    log.intend("services", "a", EXPOSED)
    log.patch("services", "a", {"op": "add", "path": "/metadata/labels/x", "value": "y"}, user="somebody")
    expose(log)
    assert settled(log) == set()


def test_a_patch_that_finds_all_done_needs_no_intent(log: Log) -> None:
    log.intend("services", "a", EXPOSED)
    expose(log)
    log.journal("a")
    log.ask("patch", "services", "a", body=[expect_hold(TOKEN)], answer=log.has("services", "a"))
    assert settled(log) == set()


@pytest.mark.parametrize(
    "operations",
    [
        [ADD_PORT],
        [add_label(HOLD, TOKEN), expect_hold(TOKEN), ADD_PORT],
        [{"op": "test", "path": pointer("another"), "value": TOKEN}, ADD_PORT],
    ],
    ids=["no test", "test of its own write", "test of another label"],
)
def test_a_patch_without_a_test_of_the_token_is_told(log: Log, operations: list[Json]) -> None:
    log.patch("services", "a", add_label("another", TOKEN), user="somebody")
    log.intend("services", "a", EXPOSED)
    log.patch("services", "a", *operations)
    assert settled(log) == {4}


@pytest.mark.parametrize("verb", ["create", "delete", "deletecollection"])
def test_statefulsets_and_services_are_patched_only(log: Log, verb: str) -> None:
    log.ask(verb, "services", "a", answer=log.has("services", "a"))
    log.ask(verb, "services", "a", answer=log.has("services", "a"), user="somebody")
    assert len([v for v in log.judged() if v.object == "services sei/a" and v.what.startswith("seimigrate")]) == 1


def test_a_pod_is_ended_only_with_an_intent_for_that_very_pod(log: Log) -> None:
    log.replace("a", "a-pod-1")
    log.pod("a", "a-pod-2")
    assert settled(log) == set()
    log.replace("a", "a-pod-2", intent=False)
    assert settled(log) == {4}


@pytest.mark.parametrize(
    "options",
    [
        {"gracePeriodSeconds": 300},
        {"gracePeriodSeconds": 30, "preconditions": {"uid": "a-pod-1"}},
    ],
    ids=["no uid", "other grace"],
)
def test_a_pod_is_ended_as_its_intent_says(log: Log, options: Json) -> None:
    log.journal("a", intent={"kind": "replace", "pod": "a-pod-1", "name": "a-0", "grace": 300, "evict": False})
    log.ask("delete", "pods", "a-0", body=options)
    assert settled(log) == {4}


@pytest.mark.parametrize(
    ("task", "pod", "rules"),
    [("task-1", "a-pod-1", set()), ("task-2", "a-pod-1", {4}), ("task-1", "a-pod-0", {4})],
)
def test_a_mark_ready_is_the_one_that_the_journal_tells_of(log: Log, task: str, pod: str, rules: set[int]) -> None:
    log.journal("a", intent={"kind": "mark-ready", "task": "task-1", "pod": "a-pod-1"})
    log.mark_ready("a", pod, task, intent=False)
    assert settled(log) == rules


def test_others_may_mark_ready_without_a_journal(log: Log) -> None:
    for user in (CONTROLLER, "operator", None):
        log.call("a", "POST", {"type": "mark-ready", "id": "x"}, user=user)
    settled(log)
    assert log.broken(others=["operator"]) == set()
    assert log.broken() == {4}


def test_a_pod_gets_a_fence_and_nothing_else(log: Log) -> None:
    def annotate(key: str) -> None:
        pod = log.has("pods", "a-0")
        pod["metadata"]["annotations"] = {key: TOKEN}
        log.store("patch", "pods", pod, user=OURS)

    annotate(FENCE)
    assert settled(log) == set()
    annotate("another")
    assert settled(log) == {4}


def test_a_write_whose_object_the_log_never_showed_is_not_passed() -> None:
    log = Log()
    thing = {"kind": "Service", "metadata": {"name": "a", "resourceVersion": "7"}, "spec": {}}
    log.ask("patch", "services", "a", body=[], answer=thing)
    assert log.broken() == {4}


def test_a_damaged_or_foreign_journal_covers_nothing(log: Log) -> None:
    for damage in ({"labels": None}, {"data": {"record": "{"}}):
        log.intend("services", "a", EXPOSED)
        journal = log.has("configmaps", "seimigrate-a")
        sound = json.loads(json.dumps(journal))
        journal["metadata"].update({key: value for key, value in damage.items() if key == "labels"})
        journal.update({key: value for key, value in damage.items() if key == "data"})
        log.store("update", "configmaps", journal, user="somebody")
        expose(log)
        log.store("update", "configmaps", sound, user="somebody")
        assert settled(log) == {4}
        log.patch("services", "a", {"op": "remove", "path": "/spec/ports/1"}, user="somebody")


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("spec.ports[port=9100,protocol=TCP]", None, {"name": "public", "port": 9100}),
        ("spec.c[name=x].args[^=--ignore-paths=]", IGNORE, None),
        ("spec.c[name=x].args[*=/dev/tcp/localhost/]", "a </dev/tcp/localhost/1", "a </dev/tcp/localhost/2"),
        ("metadata.labels[seimigrate.sei.io/hold]", None, TOKEN),
    ],
)
def test_every_form_of_path_is_understood(path: str, before: Any, after: Any) -> None:
    old, new = _around(before), _around(after)
    touched = [change(path, before, after)]
    assert uncovered(old, new, touched) == []
    assert uncovered(old, new, []) != []
    assert uncovered(old, old, touched) != []


def _around(value: Any) -> Json:
    """Put a value where its form belongs, among neighbours; the API server fills in what is left out of a port."""
    thing: Json = {"metadata": {"name": "n"}, "spec": {"ports": [{"port": 9100, "protocol": "UDP"}]}}
    thing["spec"]["c"] = [{"name": "w"}, {"name": "x", "args": ["--first", "--last"]}]
    if isinstance(value, dict):
        thing["spec"]["ports"].append({**value, "protocol": "TCP", "targetPort": 9100})
    elif value == TOKEN:
        thing["metadata"]["labels"] = {HOLD: value}
    elif value is not None:
        thing["spec"]["c"][1]["args"].insert(1, value)
    return thing


@pytest.mark.parametrize(
    ("node", "pod", "task", "rules"),
    [
        ("a", "a-pod-1", "task-1", set()),
        ("a", "a-pod-1", "task-2", {4}),
        ("a", "a-pod-0", "task-1", {4}),
        ("b", "a-pod-1", "task-1", {4}),
    ],
)
def test_a_guards_mark_ready_is_the_one_that_its_own_journal_tells_of(
    log: Log, node: str, pod: str, task: str, rules: set[int]
) -> None:
    log.guard_journal("a", "a-pod-1", "task-1")
    log.mark_ready(node, pod, task, intent=False)
    assert settled(log) == rules


@pytest.mark.parametrize(
    ("maker", "pinned", "rules"), [(OURS, "probe-1", set()), (CONTROLLER, "probe-1", {4}), (OURS, "probe-0", {4})]
)
def test_a_probe_is_deleted_without_a_journal_by_whoever_made_it(
    log: Log, maker: str, pinned: str, rules: set[int]
) -> None:
    probe = {"metadata": {"name": "seimigrate-probe-1", "uid": "probe-1", "labels": PROBE}, "spec": {}}
    log.store("create", "pods", probe, user=maker)
    options = {"preconditions": {"uid": pinned}, "gracePeriodSeconds": 1}
    log.ask("delete", "pods", "seimigrate-probe-1", body=options, answer={"kind": "Status"})
    log.replace("a", "a-pod-1")  # and takes nothing from the budget
    assert settled(log) - {2} == rules
    assert settled(log) == (rules and {2, *rules})
