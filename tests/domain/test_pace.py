"""How soon a pod is asked again: at once after something was done to it, and ever later."""

from __future__ import annotations

import itertools

import pytest

from seimigrate.domain.node.observation import NodeObservation, PodQuery, PodReply
from seimigrate.domain.node.record import Record
from seimigrate.domain.node.rollout import RECHECK_INTERVAL, SHORT_INTERVAL, NodeContext
from seimigrate.domain.plan.plan import Strategy
from tests.engine.harness import make_plan

NOW = 1_800_000_000.0
PLAN = make_plan()
RECORD = Record("sei", "node-0", "n-1", "s-1", "sei:v6", "r1-aaaaaa", "", Strategy.STAGED, NOW)


def situation(now: float, status: int | None, answered: float) -> NodeContext:
    answers = {PodQuery.HEALTH: PodReply("p-1", answered, status)}
    pod = {"metadata": {"uid": "p-1"}}
    return NodeContext(RECORD, NodeObservation(None, None, None, pod=pod, replies=answers), PLAN, now)


def asked_at(status: int | None, until: float) -> list[float]:
    """Give the seconds after the step at which health is asked, where each answer has this status."""
    now = answered = NOW + 0.001
    asked = [answered]
    while now < NOW + until:
        now += 0.05
        if situation(now, status, answered).query(PodQuery.HEALTH) is not None:
            answered = now
            asked.append(now)
    return [each - NOW for each in asked]


@pytest.mark.parametrize("status", [503, None, 404])
def test_an_answer_that_is_not_as_it_should_be_is_asked_for_soon_and_then_ever_later(status: int | None) -> None:
    asked = asked_at(status, 60)
    gaps = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert gaps[0] == pytest.approx(SHORT_INTERVAL, abs=0.06)
    assert gaps[-1] == pytest.approx(RECHECK_INTERVAL, abs=0.06)
    assert all(later >= earlier - 0.06 for earlier, later in itertools.pairwise(gaps))
    assert sum(each < 10 for each in asked) <= 10, "a pod that stays unwell is not asked for ever as often"


@pytest.mark.parametrize("status", [200, 401])
def test_an_answer_that_is_welcome_lasts(status: int) -> None:
    assert situation(NOW + RECHECK_INTERVAL - 0.01, status, NOW).query(PodQuery.HEALTH) is None
    assert situation(NOW + RECHECK_INTERVAL, status, NOW).query(PodQuery.HEALTH) is not None


def test_an_answer_from_before_the_step_counts_for_nothing() -> None:
    assert situation(NOW + 1, 200, NOW - 0.1).query(PodQuery.HEALTH) is not None
