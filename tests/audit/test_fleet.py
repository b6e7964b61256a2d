"""Rules 2, 3 and 5: logs that break them, and neighbours that do not."""

from __future__ import annotations

import pytest

from tests.audit.logs import NEWER, Log, settled
from tests.audit.violations import CONTROLLER

# ---------------------------------------------------------------- rule 2


def test_a_second_pod_is_taken_only_when_the_first_node_is_ready_again(log: Log) -> None:
    log.replace("a", "a-pod-1")
    log.pod("a", "a-pod-2", ready=False)
    log.ready("a")
    log.replace("b", "b-pod-1")
    assert settled(log) == set()


@pytest.mark.parametrize("by", ["evict", "delete"])
def test_a_second_pod_taken_before_the_first_node_is_ready_breaks_the_budget(log: Log, by: str) -> None:
    log.replace("a", "a-pod-1", by=by)
    log.pod("a", "a-pod-2", ready=False)
    log.replace("b", "b-pod-1", by=by)
    assert settled(log) == {2}


def test_a_late_ready_of_the_pod_that_goes_does_not_count(log: Log) -> None:
    log.replace("a", "a-pod-1")
    log.ready("a")
    log.replace("b", "b-pod-1")
    assert settled(log) == {2}


def test_the_same_node_may_lose_its_next_pod_too(log: Log) -> None:
    log.replace("a", "a-pod-1")
    log.pod("a", "a-pod-2", ready=False)
    log.replace("a", "a-pod-2")
    assert settled(log) == set()


def test_a_refused_eviction_takes_nothing_away(log: Log) -> None:
    options = {"preconditions": {"uid": "a-pod-1"}, "gracePeriodSeconds": 300}
    log.ask("create", "pods", "a-0", sub="eviction", body={"deleteOptions": options}, code=429)
    log.replace("b", "b-pod-1")
    assert settled(log) == set()


def test_a_node_that_somebody_scaled_to_zero_is_not_waited_for(log: Log) -> None:
    log.replace("a", "a-pod-1")
    log.patch("statefulsets", "a", {"op": "replace", "path": "/spec/replicas", "value": 0}, user=CONTROLLER)
    log.replace("b", "b-pod-1")
    assert settled(log) == set()


@pytest.mark.parametrize(("roles", "told"), [(("validator", "validator"), 1), (("validator", "node"), 0)])
def test_two_validators_of_a_chain_are_never_down_whatever_the_budget(roles: tuple[str, str], told: int) -> None:
    log = Log()
    for node, role in zip("ab", roles, strict=True):
        log.node(node, role=role)
        log.replace(node, f"{node}-pod-1")
    assert [violation.rule for violation in log.judged(budget=2)] == [2] * told


# ---------------------------------------------------------------- rule 3


def test_no_other_node_starts_after_a_failure(log: Log) -> None:
    log.journal("a", stage="ready", failure="crashes", direction="rollback")
    log.journal("b", stage="check")
    assert settled(log) == {3}


def test_the_failures_that_a_run_may_go_on_after_are_counted_by_node(log: Log) -> None:
    for stage in ("ready", "probes"):
        log.journal("a", stage=stage, failure="crashes", direction="rollback")
    log.journal("b", stage="expose")
    for node in ("a", "b"):
        log.journal(node, outcome="done-held")
    assert log.broken(max_failed=1) == set()
    assert log.broken(max_failed=0) == {3}


def test_a_failed_node_goes_back_and_one_that_is_under_way_is_finished(log: Log) -> None:
    log.journal("b", stage="policy")
    log.journal("a", stage="ready", failure="crashes", direction="rollback")
    log.journal("a", stage="expose")
    log.journal("b", stage="release")
    assert settled(log) == set()


def test_a_later_run_may_start_after_a_failure_that_is_settled(log: Log) -> None:
    log.journal("a", stage="ready", failure="crashes", direction="rollback", outcome="rolled-back-held")
    log.run(NEWER)
    log.journal("b", run=NEWER)
    log.journal("b", stage="check", outcome="done-held")
    assert log.broken() == set()


def test_a_later_run_may_not_start_after_a_failure_that_is_still_open(log: Log) -> None:
    log.journal("a", stage="ready", failure="crashes", direction="rollback")
    log.run(NEWER)
    log.journal("b", run=NEWER, stage="check")
    log.journal("a", run=NEWER)
    assert settled(log) == {3}


# ---------------------------------------------------------------- rule 5


@pytest.mark.parametrize(("frozen", "user", "rules"), [(True, CONTROLLER, {5}), (False, CONTROLLER, set())])
def test_the_controller_ends_no_pod_of_a_frozen_node(log: Log, frozen: bool, user: str, rules: set[int]) -> None:
    log.freeze("a")
    if not frozen:
        log.thaw("a")
    log.ask("delete", "pods", "a-0", body={"gracePeriodSeconds": 30}, user=user)
    if frozen:
        log.thaw("a")
    assert settled(log) == rules


def test_the_controller_that_is_refused_ended_nothing(log: Log) -> None:
    log.freeze("a")
    log.ask("delete", "pods", "a-0", body={"gracePeriodSeconds": 30}, user=CONTROLLER, code=403)
    log.thaw("a")
    assert settled(log) == set()


def test_no_freeze_is_left_on_a_node_that_is_settled(log: Log) -> None:
    log.freeze("a")
    assert settled(log) == {5}


@pytest.mark.parametrize(
    ("outcome", "rules"),
    [("done-held", set()), ("paused", set()), ("failed", set()), ("done", {5}), ("failed and rolled back", {5})],
)
def test_a_hold_that_is_left_is_told(log: Log, outcome: str, rules: set[int]) -> None:
    log.journal("a", outcome=outcome)
    log.journal("b", outcome="held")
    assert log.broken() == rules


def test_a_hold_that_is_left_without_an_outcome_is_not_told(log: Log) -> None:
    log.journal("b", outcome="held")
    assert {violation.object for violation in log.judged()} == {"statefulsets sei/a", "services sei/a"}


def test_what_is_deleted_holds_nothing(log: Log) -> None:
    for resource in ("statefulsets", "services"):
        gone = {"items": [log.has(resource, name) for name in ("a", "b")]}
        log.ask("deletecollection", resource, "", answer=gone, user="namespace-controller")
    assert log.broken() == set()
