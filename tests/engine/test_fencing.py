"""A run that was suspended while it lost its lock: all its later writes fail."""

from __future__ import annotations

from typing import Any

import pytest

from seimigrate.domain.kube.kinds import HOLD_LABEL, Kind, Object
from seimigrate.domain.node.actions import Action, QueryPod, Stop, Wait
from seimigrate.domain.node.record import Outcome, Record
from seimigrate.domain.plan.plan import Release, Strategy
from seimigrate.engine.errors import SeimigrateError
from seimigrate.engine.run import Run
from seimigrate.simulation.cluster import Request
from tests.engine.harness import KEY, Harness, make_plan

# Each variant suspends the run before every third action; together they cover every kind of action.
QUICK = make_plan(release=Release(agreement_timeout=0))


class StaleLock:
    """A lock whose holder does not notice the takeover (``engine.ports.Lock``)."""

    def __init__(self, token: str) -> None:
        self.token = token

    def check(self) -> float:
        return 60.0


class StaleCache:
    """A cache with the objects from before the process was suspended (``engine.ports.ObjectCache``)."""

    def __init__(self, harness: Harness) -> None:
        self._cache = harness.world.cache
        self._old: dict[Kind, dict[tuple[str, str], Object]] | None = None
        self._harness = harness

    def suspend(self) -> None:
        self._old = {kind: dict(objects) for kind, objects in self._harness.world.cluster.objects.items()}

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return self._cache.get(kind, namespace, name) if self._old is None else self._old[kind].get((namespace, name))

    def list(self, kind: Kind, namespace: str = "") -> Any:
        if self._old is None:
            return self._cache.list(kind, namespace)
        return [body for (where, _), body in self._old[kind].items() if namespace in ("", where)]

    def observe(self, kind: Kind, body: Object) -> None:
        if self._old is not None:
            self._old[kind][body["metadata"].get("namespace", ""), body["metadata"]["name"]] = body

    def wait_for_change(self, seconds: float) -> None:
        self._cache.wait_for_change(seconds)

    def notify(self) -> None:
        """Do nothing: no thread waits."""


def _run_suspended_at(number: int, *, rollback: bool, finish: bool) -> tuple[Harness, bool, list[Request]]:
    """Suspend a run right before its ``number``-th action while another takes over; return its later writes."""
    harness = Harness(strategy=Strategy.MERGED, plan=QUICK)
    if rollback:
        harness.apply()
    actions = 0
    suspended: list[int] = []
    cache = StaleCache(harness)
    lock = StaleLock(harness.world.lock.take_over().token)

    def until(record: Record, action: Action) -> bool:
        nonlocal actions
        actions += not isinstance(action, (Wait, QueryPod, Stop))
        if actions == number and not suspended:
            cache.suspend()
            other = harness.new_run()
            other.start()
            if finish:
                _execute(other, rollback=rollback)
            suspended.append(len(harness.requests))
            harness.monitor.strict = False
        return False

    run = harness.new_run(lock=lock, cache=cache, until=until)
    run.start()
    try:
        _execute(run, rollback=rollback)
    except SeimigrateError:
        pass
    else:
        assert not suspended
    harness.monitor.strict = True
    after = harness.requests[suspended[0] :] if suspended else []
    user = harness.world.cluster.user
    writes = ("create", "update", "patch", "delete", "evict")
    return harness, bool(suspended), [r for r in after if r.user == user and r.verb in writes and not r.dry_run]


def _execute(run: Run, *, rollback: bool) -> None:
    if rollback:
        run.rollback([KEY])
    else:
        run.apply([KEY])


@pytest.mark.parametrize("finish", [False, True], ids=["taken-over", "taken-over-and-finished"])
@pytest.mark.parametrize("rollback", [False, True], ids=["forward", "rollback"])
def test_suspended_run_changes_nothing_after_a_takeover(rollback: bool, finish: bool) -> None:
    number, refused = -2 * finish, 0
    while True:
        number += 3
        harness, suspended, late = _run_suspended_at(number, rollback=rollback, finish=finish)
        if not suspended:
            break
        assert not [(r.verb, r.kind.name, r.name) for r in late if r.outcome == "ok"], number
        refused += len(late)
        outcome = _final_outcome(harness, rollback=rollback)
        assert outcome in (Outcome.DONE_HELD, Outcome.ROLLED_BACK_HELD, Outcome.ROLLED_BACK)
    assert number > 15
    assert refused > 3


def _final_outcome(harness: Harness, *, rollback: bool) -> Outcome | None:
    result = harness.rollback() if rollback else harness.apply()
    return harness.record.outcome if result.unchanged else result.outcome


def test_takeover_writes_both_records_first_then_the_hold_labels() -> None:
    harness = Harness(plan=QUICK)
    harness.interrupt(lambda record, _: len(record.replaced_pods) == 1)
    old = harness.statefulset["metadata"]["labels"][HOLD_LABEL]
    first = len(harness.our_writes())
    harness.new_run().start()
    new = harness.statefulset["metadata"]["labels"][HOLD_LABEL]
    assert new != old
    assert harness.service["metadata"]["labels"][HOLD_LABEL] == new
    kinds = [request.kind for request in harness.our_writes()[first:]]
    assert kinds[0] is kinds[1] is Kind.CONFIG_MAP
    assert harness.record.run == new
