"""The lock: one holder, a takeover that compares no clocks, and a loss that is noticed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from seimigrate.adapters.api import ApiCluster
from seimigrate.adapters.clock import SystemClock
from seimigrate.adapters.lease import LeaseLock
from seimigrate.domain.kube.kinds import LEASE_NAME, SYSTEM_NAMESPACE, Kind, Object
from seimigrate.engine.errors import LockHeld, Unauthorized, Unreachable
from tests.adapters.helpers import wait_until

SECONDS = 1.5


class FixedClock:
    """A clock that went wrong: always the same time of day."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def now(self) -> float:
        return self.seconds


class Faulty:
    """A cluster whose writes may fail before (``down``) or after (``deaf``) they are done."""

    def __init__(self, cluster: ApiCluster) -> None:
        self._cluster = cluster
        self.down = self.expired = False
        self.deaf = 0
        self.writes = 0

    def replace(self, kind: Kind, body: Object) -> Object:
        if self.down:
            raise Unreachable("down")
        if self.expired:
            raise Unauthorized("the API server does not accept our credentials")
        answer = self._cluster.replace(kind, body)
        self.writes += 1
        if self.deaf:
            self.deaf -= 1
            raise Unreachable("the answer got lost")
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)


Locking = Callable[..., LeaseLock]


@pytest.fixture
def locking(cluster: ApiCluster) -> Iterator[Locking]:
    """Give a function that makes locks on a Lease that is not there yet; all are released after the test."""
    lease = cluster.get(Kind.LEASE, SYSTEM_NAMESPACE, LEASE_NAME)
    if lease:
        cluster.delete(Kind.LEASE, SYSTEM_NAMESPACE, LEASE_NAME, uid=lease["metadata"]["uid"])
    made: list[LeaseLock] = []

    def make(holder: str, on: Any = cluster, clock: Any = None) -> LeaseLock:
        lock = LeaseLock(on, clock or SystemClock(), holder, SECONDS)
        made.append(lock)
        return lock

    yield make
    for lock in made:
        lock.release()


def is_lost(lock: LeaseLock) -> bool:
    try:
        lock.check()
    except LockHeld:
        return True
    return False


def test_a_free_lock_is_taken_at_once_with_a_token_that_is_a_label_value(locking: Locking) -> None:
    lock = locking("one")
    assert lock.peek() is None
    waits: list[str] = []
    lock.acquire(on_wait=lambda holder, seconds: waits.append(holder))
    assert lock.check() > 0
    assert re.fullmatch(r"r1-[0-9a-f]{6}", lock.token)
    assert (lock.took_over, waits, lock.peek()) == (False, [], "one")


def test_a_living_holder_is_named_with_since_when_and_what_to_do(locking: Locking) -> None:
    first, second = locking("one"), locking("two")
    first.acquire()
    waits: list[str] = []
    with pytest.raises(LockHeld, match=r"one holds the lock since 20\d\d-") as caught:
        second.acquire(on_wait=lambda holder, seconds: waits.append(holder))
    assert "seimigrate unlock" in caught.value.hint
    assert waits == ["one"]
    assert first.check() > 0


@pytest.mark.parametrize("time_of_day", [0.0, 4_000_000_000.0])
def test_a_dead_holder_is_taken_over_whatever_its_clock_said(
    cluster: ApiCluster, locking: Locking, time_of_day: float
) -> None:
    faulty = Faulty(cluster)
    first, second = locking("one", on=faulty, clock=FixedClock(time_of_day)), locking("two")
    first.acquire()
    faulty.down = True
    second.acquire()
    assert second.took_over
    assert second.token.startswith("r2-")
    assert is_lost(first)
    faulty.down = False
    assert is_lost(first)
    assert second.check() > 0


def test_a_holder_whose_clock_stands_still_is_still_seen_to_live(locking: Locking) -> None:
    """Its renewals carry the same time of day: the moving count of renewals must not be taken from a clock alone."""
    first, second = locking("one", clock=FixedClock(1_000_000_000.0)), locking("two")
    first.acquire()
    with pytest.raises(LockHeld):
        second.acquire()
    assert first.check() > 0


def test_a_released_lock_is_free_and_the_next_token_is_another(locking: Locking) -> None:
    first, second = locking("one"), locking("two")
    first.acquire()
    first.release()
    assert second.peek() is None
    assert is_lost(first)
    second.acquire()
    assert (second.took_over, second.token[:3]) == (False, "r2-")


def test_a_lock_may_be_taken_again_by_the_same_object(locking: Locking) -> None:
    lock = locking("one")
    lock.acquire()
    lock.release()
    lock.acquire()
    assert lock.check() > 0
    assert lock.token.startswith("r2-")


def test_a_broken_lock_is_free_and_its_holder_learns_it(locking: Locking) -> None:
    first, breaker = locking("one"), locking("breaker")
    first.acquire()
    assert breaker.break_lock() == "one"
    assert breaker.break_lock() is None
    wait_until(lambda: is_lost(first), "the loss")
    assert breaker.peek() is None


def test_a_holder_that_was_cut_off_does_not_disturb_its_successor(cluster: ApiCluster, locking: Locking) -> None:
    faulty = Faulty(cluster)
    first, second = locking("one", on=faulty), locking("two")
    first.acquire()
    faulty.down = True
    second.acquire()
    faulty.down = False
    wait_until(lambda: is_lost(first), "the loss")
    first.release()
    assert second.peek() == "two"
    assert second.check() > 0


def test_without_renewals_the_lock_runs_out_by_itself(cluster: ApiCluster, locking: Locking) -> None:
    faulty = Faulty(cluster)
    lock = locking("one", on=faulty)
    lock.acquire()
    faulty.down = True
    wait_until(lambda: is_lost(lock), "the end of the lock's time")
    with pytest.raises(LockHeld, match="ran out"):
        lock.check()


def test_where_the_credentials_run_out_before_the_lock_does_that_is_what_is_said(
    cluster: ApiCluster, locking: Locking
) -> None:
    faulty = Faulty(cluster)
    lock = locking("one", on=faulty)
    lock.acquire()
    faulty.expired = True

    def told() -> bool:
        try:
            lock.check()
        except Unauthorized:
            return True
        return False

    wait_until(told, "the end of the lock's time")
    faulty.expired = False
    wait_until(lambda: not told(), "a renewal with good credentials")


def test_a_renewal_whose_answer_got_lost_is_known_again(cluster: ApiCluster, locking: Locking) -> None:
    faulty = Faulty(cluster)
    lock = locking("one", on=faulty)
    lock.acquire()
    faulty.deaf = 1
    seen = faulty.writes
    wait_until(lambda: faulty.writes >= seen + 3, "renewals after the lost one")
    assert lock.check() > 0


def test_an_edit_of_the_lease_by_a_person_is_no_loss(cluster: ApiCluster, locking: Locking) -> None:
    faulty = Faulty(cluster)
    lock = locking("one", on=faulty)
    lock.acquire()
    seen = faulty.writes
    change = [{"op": "add", "path": "/metadata/labels/edited", "value": "yes"}]
    cluster.patch(Kind.LEASE, SYSTEM_NAMESPACE, LEASE_NAME, change)
    wait_until(lambda: faulty.writes >= seen + 2, "renewals after the edit")
    assert lock.check() > 0


def test_a_deleted_lease_is_a_lost_lock(cluster: ApiCluster, locking: Locking) -> None:
    lock = locking("one")
    lock.acquire()

    def delete() -> None:
        lease = cluster.get(Kind.LEASE, SYSTEM_NAMESPACE, LEASE_NAME)
        assert lease is not None
        cluster.delete(Kind.LEASE, SYSTEM_NAMESPACE, LEASE_NAME, uid=lease["metadata"]["uid"])

    delete()
    wait_until(lambda: is_lost(lock), "the loss")
