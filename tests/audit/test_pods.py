"""Rule 6: how pods are ended, and against whose intent they are marked ready."""

from __future__ import annotations

import pytest

from tests.audit.logs import Log, settled
from tests.audit.violations import CONTROLLER


@pytest.mark.parametrize("by", ["evict", "delete"])
@pytest.mark.parametrize("grace", [0, None])
def test_every_pod_is_given_time_to_stop(log: Log, by: str, grace: int | None) -> None:
    log.replace("a", "a-pod-1", by=by, grace=grace)
    assert settled(log) - {4} == {6}


def test_grace_zero_is_told_even_when_it_is_refused_and_not_when_it_is_only_asked(log: Log) -> None:
    options = {"gracePeriodSeconds": 0}
    log.ask("delete", "pods", "a-0", body=options | {"dryRun": ["All"]})
    log.ask("delete", "pods", "a-0", body=options, query="dryRun=All")
    assert settled(log) == set()
    log.ask("delete", "pods", "a-0", body=options, code=409)
    assert settled(log) == {6}


def test_a_node_that_somebody_took_out_of_service_is_not_marked_ready(log: Log) -> None:
    log.call("a", "POST", {"type": "mark-not-ready", "id": "x"}, user=CONTROLLER)
    log.mark_ready("a", "a-pod-1", "task-1")
    assert settled(log) == {6}


def test_a_node_that_was_given_back_may_be_marked_ready(log: Log) -> None:
    for kind in ("mark-not-ready", "mark-ready"):
        log.call("a", "POST", {"type": kind, "id": kind}, user=CONTROLLER)
    log.mark_ready("a", "a-pod-1", "task-1")
    assert settled(log) == set()


def test_a_completed_task_that_is_posted_again_gives_nothing_back(log: Log) -> None:
    for kind in ("mark-ready", "mark-not-ready", "mark-ready"):
        log.call("a", "POST", {"type": kind, "id": kind}, user=CONTROLLER)
    log.mark_ready("a", "a-pod-1", "task-1")
    assert settled(log) == {6}


@pytest.mark.parametrize(
    ("newest", "older", "rules"), [("mark-not-ready", "mark-ready", {6}), ("mark-ready", "mark-not-ready", set())]
)
def test_the_list_of_tasks_shows_somebodys_intent(log: Log, newest: str, older: str, rules: set[int]) -> None:
    listed = [{"id": kind, "type": kind, "status": "completed"} for kind in (newest, older)]
    log.call("a", "GET", listed, status=200)
    log.mark_ready("a", "a-pod-1", "task-1")
    assert settled(log) == rules
