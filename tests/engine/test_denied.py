"""Somebody else's admission policy does not let a run write: the node fails, is let be, or stays where it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from seimigrate.domain.kube.kinds import Kind
from seimigrate.domain.node.actions import Wait
from seimigrate.domain.node.record import IntentKind, Outcome, Record
from seimigrate.domain.plan.plan import Failure, StageName
from seimigrate.engine.errors import Denied, Unreachable
from seimigrate.simulation.cluster import Request
from tests.engine.harness import Scene, make_plan, reaching
from tests.engine.watchdog import DENIAL


def template(request: Request) -> bool:
    return request.kind is Kind.STATEFUL_SET and "/spec/template" in str(request.body) and not request.dry_run


def service(request: Request) -> bool:
    return request.kind is Kind.SERVICE and "/spec/ports" in str(request.body)


def eviction(request: Request) -> bool:
    return request.verb == "evict"


Denies = Callable[[Request], bool]


@pytest.mark.parametrize("denies", [service, template, eviction])
def test_a_node_whose_change_is_denied_fails_and_goes_back(denies: Denies) -> None:
    scene = Scene()
    scene.watchdog.denies = denies
    result = scene.apply()
    assert result.outcome is Outcome.ROLLED_BACK
    assert result.record is not None
    assert DENIAL in (result.record.failure or "")
    assert [r.outcome for r in scene.ours()].count("Denied") == 1, "what was denied is not sent again and again"
    scene.assert_as_before()


def test_with_failure_pause_it_waits_for_a_person_and_goes_on_when_it_may() -> None:
    scene = Scene(plan=make_plan(failure=Failure(on_node_failure="pause")))
    scene.watchdog.denies = template
    result = scene.apply()
    assert result.outcome is Outcome.PAUSED
    assert DENIAL in scene.record.reason
    scene.watchdog.denies = lambda request: False
    assert scene.apply().outcome is Outcome.DONE_HELD


@pytest.mark.parametrize("kind", [Kind.STATEFUL_SET, Kind.SERVICE])
def test_a_node_that_may_not_be_held_is_blocked_and_nothing_is_left_on_it(kind: Kind) -> None:
    scene = Scene()
    scene.watchdog.denies = lambda request: request.kind is kind and "add" in str(request.body)
    for result in (scene.hold(), scene.apply()):
        assert result.outcome is Outcome.BLOCKED
        assert result.record is not None
        assert DENIAL in result.record.reason
        scene.assert_as_before()


def test_where_the_trial_of_the_hold_is_denied_by_another_policy_the_node_is_blocked() -> None:
    scene = Scene()
    scene.watchdog.denies = lambda request: request.dry_run and request.kind is Kind.STATEFUL_SET
    result = scene.apply()
    assert result.outcome is Outcome.BLOCKED
    assert result.record is not None
    assert f"the dry run of the hold was denied by an admission policy: {DENIAL}" in result.record.reason
    scene.assert_as_before()


@pytest.mark.parametrize("denies", [template, service, eviction])
def test_a_way_back_that_is_denied_is_left_to_a_person_and_goes_on_when_it_may(denies: Denies) -> None:
    scene = Scene()
    scene.apply()
    scene.watchdog.denies = denies
    result = scene.rollback()
    assert result.outcome is Outcome.FAILED
    assert DENIAL in scene.record.reason
    assert scene.held
    scene.watchdog.denies = lambda request: False
    assert scene.rollback().outcome is Outcome.ROLLED_BACK
    scene.assert_as_before()


def test_a_way_there_and_the_way_back_may_both_be_denied() -> None:
    scene = Scene()
    scene.interrupt(reaching(StageName.PROBES))
    scene.watchdog.denies = lambda request: template(request) or service(request)
    result = scene.apply()
    assert result.outcome is Outcome.FAILED
    assert result.record is not None
    assert DENIAL in (result.record.failure or "")
    assert "the patch of the" in result.record.reason
    scene.watchdog.denies = lambda request: False
    assert scene.rollback().outcome is Outcome.ROLLED_BACK
    scene.assert_as_before()


def test_a_node_that_is_done_and_whose_release_is_denied_stays_as_it_is() -> None:
    scene = Scene()
    scene.hold()
    scene.world.replace_controller("new")

    def forbid(record: Record, _: object) -> bool:
        if record.stage is StageName.RELEASE:
            scene.watchdog.denies = lambda request: request.kind is Kind.STATEFUL_SET and request.verb == "patch"
        return False

    result = scene.apply(until=forbid)
    assert result.outcome is Outcome.DONE_HELD
    assert DENIAL in scene.record.reason
    assert scene.held
    scene.watchdog.denies = lambda request: False
    assert scene.apply().outcome is Outcome.DONE
    scene.assert_done()


def test_a_controller_that_could_not_be_asked_has_not_agreed() -> None:
    scene = Scene()
    scene.watchdog.denies = lambda request: request.verb == "patch" and "seimigrate-asks" in str(request.body)
    result = scene.apply()
    assert result.outcome is Outcome.DONE_HELD
    assert scene.record.agreement_probe is None
    assert scene.record.agreed_at is None
    scene.watchdog.denies = lambda request: False
    assert scene.apply().outcome is Outcome.DONE_HELD, "the old controller does not agree"
    assert scene.rollback().outcome is Outcome.ROLLED_BACK


def test_a_denial_of_our_own_policies_ends_the_run_and_leaves_the_node_to_the_next_one() -> None:
    scene = Scene()
    before = scene.world.cluster.before_request
    assert before is not None

    def own(request: Request) -> None:
        if template(request) and request.user == scene.world.cluster.user:
            raise Denied("held by seimigrate: this write would change the pod template of sei/node-0")
        before(request)

    scene.world.cluster.before_request = own
    with pytest.raises(Denied, match="sei/node-0: held by seimigrate"):
        scene.apply()
    assert scene.record.outcome is None
    assert scene.record.intent is not None
    assert scene.record.intent.kind is IntentKind.PATCH
    scene.world.cluster.before_request = before
    assert scene.apply().outcome is Outcome.DONE_HELD


def test_a_webhook_that_does_not_answer_is_told_and_waited_for() -> None:
    scene = Scene()
    before = scene.world.cluster.before_request
    assert before is not None
    failures = [Unreachable('the API server could not answer: failed calling webhook "fridays.example"')] * 3

    def fail(request: Request) -> None:
        before(request)
        if template(request) and request.user == scene.world.cluster.user and failures:
            raise failures.pop()

    scene.world.cluster.before_request = fail
    assert scene.apply().outcome is Outcome.DONE_HELD
    told = {action.reason for _, action in scene.seen if isinstance(action, Wait)}
    assert any('failed calling webhook "fridays.example"' in reason for reason in told)


def test_a_takeover_that_is_denied_is_an_error_that_names_the_node() -> None:
    scene = Scene()
    scene.interrupt(reaching(StageName.PROBES))
    scene.watchdog.denies = lambda request: request.kind is Kind.STATEFUL_SET and request.verb == "patch"
    with pytest.raises(Denied, match=r"sei/node-0: .*not on Fridays"):
        scene.apply()
    scene.watchdog.denies = lambda request: False
    assert scene.apply().outcome is Outcome.DONE_HELD
