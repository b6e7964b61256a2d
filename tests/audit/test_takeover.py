"""Rule 4 where one run takes over from another: the tokens."""

from __future__ import annotations

import pytest

from tests.audit.logs import NEWER, TOKEN, Log
from tests.audit.shapes import (
    FREEZE_PATH,
    HOLD_PATH,
    add_label,
    change,
    expect_hold,
    pointer,
)
from tests.audit.violations import CONTROLLER, FREEZE, HOLD


@pytest.mark.parametrize(("namer", "rules"), [("run", set()), ("journal", set()), ("nobody", {4})])
def test_a_takeover_relabels_once_it_is_written_down(log: Log, namer: str, rules: set[int]) -> None:
    if namer == "run":
        log.run(NEWER)
    if namer == "journal":
        log.journal("a", run=NEWER)
    log.patch("statefulsets", "a", expect_hold(TOKEN), {"op": "replace", "path": pointer(HOLD), "value": NEWER})
    for node in ("a", "b"):
        log.journal(node, run=NEWER, outcome="done-held")
    assert log.broken() == rules


def test_an_apply_that_was_held_up_and_changed_nothing_is_not_taken_for_the_relabelling(log: Log) -> None:
    log.run(NEWER)
    relabel = [expect_hold(TOKEN), {"op": "replace", "path": pointer(HOLD), "value": NEWER}]
    log.patch("statefulsets", "a", *relabel)
    _arrived_before(log)
    for node in ("a", "b"):
        log.journal(node, run=NEWER, outcome="done-held")
    assert log.broken() == set()


def test_an_apply_that_was_held_up_and_changed_nothing_is_not_taken_for_the_first_hold(log: Log) -> None:
    log.node("c")
    log.intend("statefulsets", "c", change(HOLD_PATH, None, TOKEN))
    read = log.has("statefulsets", "c")["metadata"]["resourceVersion"]
    tested = {"op": "test", "path": "/metadata/resourceVersion", "value": read}
    log.patch("statefulsets", "c", tested, add_label(HOLD, TOKEN))
    _arrived_before(log, "c")
    log.journal("c", outcome="held")
    assert not [violation for violation in log.judged() if violation.object.endswith("/c")]


def _arrived_before(log: Log, node: str = "a") -> None:
    """Let an apply of the controller arrive before the last write, take effect after it, and change nothing."""
    log.ask("patch", "statefulsets", node, answer=log.has("statefulsets", node), user=CONTROLLER)
    held_up, ours = log.audit[-1], log.audit[-2]
    ours["requestReceivedTimestamp"], held_up["requestReceivedTimestamp"] = (
        held_up["requestReceivedTimestamp"],
        ours["requestReceivedTimestamp"],
    )


def test_nothing_is_written_with_an_older_token_after_a_newer_run_has_begun(log: Log) -> None:
    log.freeze("a")
    log.intend("statefulsets", "a", change(FREEZE_PATH, TOKEN, None))
    log.run(NEWER)
    log.patch("statefulsets", "a", expect_hold(TOKEN), {"op": "remove", "path": pointer(FREEZE)})
    for node in ("a", "b"):
        log.journal(node, run=NEWER, outcome="done-held")
    assert ["token" in violation.what for violation in log.judged()] == [True]


def test_an_older_journal_write_or_delete_after_a_newer_run_has_begun_is_told(log: Log) -> None:
    log.run(NEWER)
    log.replace("a", "a-pod-1")
    for node in ("a", "b"):
        log.journal(node, run=NEWER, outcome="done-held")
    assert {violation.object for violation in log.judged()} == {"configmaps sei/seimigrate-a", "pods/eviction sei/a-0"}


def test_the_hold_label_may_have_got_the_token_of_the_run_that_took_over(log: Log) -> None:
    log.node("c")
    log.intend("statefulsets", "c", change(HOLD_PATH, None, TOKEN))
    log.run(NEWER)
    log.intend("statefulsets", "c", change(HOLD_PATH, None, TOKEN), run=NEWER)
    log.patch("statefulsets", "c", add_label(HOLD, NEWER))
    log.journal("c", outcome="held")
    assert not [violation for violation in log.judged() if violation.object.endswith("/c")]
