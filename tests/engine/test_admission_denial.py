"""An external admission policy denies writes of a run: the node is rolled back, blocked, or stays unchanged."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from seimigrate.domain.kube.kinds import Kind
from seimigrate.domain.node.actions import Wait
from seimigrate.domain.node.record import IntentKind, Outcome, Record
from seimigrate.domain.plan.plan import Failure, StageName
from seimigrate.engine.errors import Denied, Unreachable
from seimigrate.simulation.cluster import Request
from tests.engine.harness import Harness, make_plan, reaching
from tests.engine.invariant_monitor import DENIAL


def template(request: Request) -> bool:
    return request.kind is Kind.STATEFUL_SET and "/spec/template" in str(request.body) and not request.dry_run


def service(request: Request) -> bool:
    return request.kind is Kind.SERVICE and "/spec/ports" in str(request.body)


def eviction(request: Request) -> bool:
    return request.verb == "evict"


Denies = Callable[[Request], bool]


@pytest.mark.parametrize("denies", [service, template, eviction])
def test_node_whose_change_is_denied_is_rolled_back(denies: Denies) -> None:
    harness = Harness()
    harness.monitor.denies = denies
    result = harness.apply()
    assert result.outcome is Outcome.ROLLED_BACK
    assert result.record is not None
    assert DENIAL in (result.record.failure or "")
    assert [r.outcome for r in harness.our_writes()].count("Denied") == 1, "a denied write is not repeated"
    harness.assert_restored()


def test_denied_change_with_on_node_failure_pause_resumes_once_allowed() -> None:
    harness = Harness(plan=make_plan(failure=Failure(on_node_failure="pause")))
    harness.monitor.denies = template
    result = harness.apply()
    assert result.outcome is Outcome.PAUSED
    assert DENIAL in harness.record.reason
    harness.monitor.denies = lambda request: False
    assert harness.apply().outcome is Outcome.DONE_HELD


@pytest.mark.parametrize("kind", [Kind.STATEFUL_SET, Kind.SERVICE])
def test_node_whose_hold_is_denied_is_blocked_without_leftovers(kind: Kind) -> None:
    harness = Harness()
    harness.monitor.denies = lambda request: request.kind is kind and "add" in str(request.body)
    for result in (harness.hold(), harness.apply()):
        assert result.outcome is Outcome.BLOCKED
        assert result.record is not None
        assert DENIAL in result.record.reason
        harness.assert_restored()


def test_node_whose_hold_dry_run_is_denied_is_blocked() -> None:
    harness = Harness()
    harness.monitor.denies = lambda request: request.dry_run and request.kind is Kind.STATEFUL_SET
    result = harness.apply()
    assert result.outcome is Outcome.BLOCKED
    assert result.record is not None
    assert f"the dry run of the hold was denied by an admission policy: {DENIAL}" in result.record.reason
    harness.assert_restored()


@pytest.mark.parametrize("denies", [template, service, eviction])
def test_denied_rollback_fails_and_succeeds_once_allowed(denies: Denies) -> None:
    harness = Harness()
    harness.apply()
    harness.monitor.denies = denies
    result = harness.rollback()
    assert result.outcome is Outcome.FAILED
    assert DENIAL in harness.record.reason
    assert harness.held
    harness.monitor.denies = lambda request: False
    assert harness.rollback().outcome is Outcome.ROLLED_BACK
    harness.assert_restored()


def test_denied_cutover_and_denied_rollback_succeed_once_allowed() -> None:
    harness = Harness()
    harness.interrupt(reaching(StageName.PROBES))
    harness.monitor.denies = lambda request: template(request) or service(request)
    result = harness.apply()
    assert result.outcome is Outcome.FAILED
    assert result.record is not None
    assert DENIAL in (result.record.failure or "")
    assert "the patch of the" in result.record.reason
    harness.monitor.denies = lambda request: False
    assert harness.rollback().outcome is Outcome.ROLLED_BACK
    harness.assert_restored()


def test_node_whose_release_is_denied_stays_done_held() -> None:
    harness = Harness()
    harness.hold()
    harness.world.replace_controller("new")

    def forbid(record: Record, _: object) -> bool:
        if record.stage is StageName.RELEASE:
            harness.monitor.denies = lambda request: request.kind is Kind.STATEFUL_SET and request.verb == "patch"
        return False

    result = harness.apply(until=forbid)
    assert result.outcome is Outcome.DONE_HELD
    assert DENIAL in harness.record.reason
    assert harness.held
    harness.monitor.denies = lambda request: False
    assert harness.apply().outcome is Outcome.DONE
    harness.assert_done()


def test_denied_agreement_probe_is_not_an_agreement() -> None:
    harness = Harness()
    harness.monitor.denies = lambda request: request.verb == "patch" and "seimigrate-asks" in str(request.body)
    result = harness.apply()
    assert result.outcome is Outcome.DONE_HELD
    assert harness.record.agreement_probe is None
    assert harness.record.agreed_at is None
    harness.monitor.denies = lambda request: False
    assert harness.apply().outcome is Outcome.DONE_HELD, "the old controller does not confirm the template"
    assert harness.rollback().outcome is Outcome.ROLLED_BACK


def test_denial_by_the_hold_policy_ends_the_run_and_the_next_resumes() -> None:
    harness = Harness()
    before = harness.world.cluster.before_request
    assert before is not None

    def own(request: Request) -> None:
        if template(request) and request.user == harness.world.cluster.user:
            raise Denied("held by seimigrate: this write would change the pod template of sei/node-0")
        before(request)

    harness.world.cluster.before_request = own
    with pytest.raises(Denied, match="sei/node-0: held by seimigrate"):
        harness.apply()
    assert harness.record.outcome is None
    assert harness.record.intent is not None
    assert harness.record.intent.kind is IntentKind.PATCH
    harness.world.cluster.before_request = before
    assert harness.apply().outcome is Outcome.DONE_HELD


def test_unreachable_webhook_is_reported_and_retried() -> None:
    harness = Harness()
    before = harness.world.cluster.before_request
    assert before is not None
    failures = [Unreachable('the API server could not answer: failed calling webhook "fridays.example"')] * 3

    def fail(request: Request) -> None:
        before(request)
        if template(request) and request.user == harness.world.cluster.user and failures:
            raise failures.pop()

    harness.world.cluster.before_request = fail
    assert harness.apply().outcome is Outcome.DONE_HELD
    reasons = {action.reason for _, action in harness.reported if isinstance(action, Wait)}
    assert any('failed calling webhook "fridays.example"' in reason for reason in reasons)


def test_denied_takeover_is_an_error_that_names_the_node() -> None:
    harness = Harness()
    harness.interrupt(reaching(StageName.PROBES))
    harness.monitor.denies = lambda request: request.kind is Kind.STATEFUL_SET and request.verb == "patch"
    with pytest.raises(Denied, match=r"sei/node-0: .*not on Fridays"):
        harness.apply()
    harness.monitor.denies = lambda request: False
    assert harness.apply().outcome is Outcome.DONE_HELD
