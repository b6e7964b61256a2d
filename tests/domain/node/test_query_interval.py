"""The interval of repeated pod queries: short after a step, then longer and longer."""

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


def context(now: float, status: int | None, replied_at: float) -> NodeContext:
    replies = {PodQuery.HEALTH: PodReply("p-1", replied_at, status)}
    pod = {"metadata": {"uid": "p-1"}}
    return NodeContext(RECORD, NodeObservation(None, None, None, pod=pod, replies=replies), PLAN, now)


def query_times(status: int | None, until: float) -> list[float]:
    """Return the seconds after the step at which health is queried, where each reply has this status."""
    now = replied_at = NOW + 0.001
    times = [replied_at]
    while now < NOW + until:
        now += 0.05
        if context(now, status, replied_at).query(PodQuery.HEALTH) is not None:
            replied_at = now
            times.append(now)
    return [each - NOW for each in times]


@pytest.mark.parametrize("status", [503, None, 404])
def test_query_interval_grows_after_unexpected_reply(status: int | None) -> None:
    times = query_times(status, 60)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps[0] == pytest.approx(SHORT_INTERVAL, abs=0.06)
    assert gaps[-1] == pytest.approx(RECHECK_INTERVAL, abs=0.06)
    assert all(later >= earlier - 0.06 for earlier, later in itertools.pairwise(gaps))
    assert sum(each < 10 for each in times) <= 10, "queries of a pod that stays unready become less frequent"


@pytest.mark.parametrize("status", [200, 401])
def test_expected_reply_lasts_for_recheck_interval(status: int) -> None:
    assert context(NOW + RECHECK_INTERVAL - 0.01, status, NOW).query(PodQuery.HEALTH) is None
    assert context(NOW + RECHECK_INTERVAL, status, NOW).query(PodQuery.HEALTH) is not None


def test_reply_before_step_start_is_ignored() -> None:
    assert context(NOW + 1, 200, NOW - 0.1).query(PodQuery.HEALTH) is not None
