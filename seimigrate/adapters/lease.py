"""The one lock of a cluster, on a Lease: taken when free, taken over when its holder is gone, lost in time.

No two machines' clocks are ever compared. Whether another holder lives is seen by watching its ``renewTime`` move, and
how long the lock is ours is counted from when our own renewal was sent, both by our own monotonic clock.
"""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from seimigrate.domain.kube import leases
from seimigrate.domain.kube.kinds import LEASE_NAME, MANAGER, SYSTEM_NAMESPACE, Kind, Object
from seimigrate.engine.errors import ApiError, Conflict, LockHeld, NotFound, SeimigrateError, Unauthorized
from seimigrate.engine.ports import Clock, Cluster

MAX_STEPS = 20
"""So many looks at another holder's renewTime within its lease's duration."""


class LeaseLock:
    """The lock of a run; ``holder`` names it to people, ``seconds`` is for how long a renewal makes it ours.

    ``name`` is the Lease's: the runs' unless another is given.
    Its cluster's requests should wait no longer than ``seconds`` / 3 for an answer.
    """

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        holder: str,
        seconds: float = 15.0,
        *,
        name: str = LEASE_NAME,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._cluster = cluster
        self._clock = clock
        self._holder = holder
        self._seconds = seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._lease: Object = {}
        self._token = ""
        self._until = -math.inf
        self._stamp = 0.0
        self._lost: LockHeld | None = None
        self._unauthorized: Unauthorized | None = None
        self.took_over = False
        """Whether the holder before us had not released the lock: its run died, or lost the lock to us."""

    @property
    def token(self) -> str:
        """Give the fencing token: a label value that no earlier holder ever had."""
        if not self._token:
            raise SeimigrateError("the lock was never acquired")
        return self._token

    def acquire(self, on_wait: Callable[[str, float], None] | None = None) -> LeaseLock:
        """Take the lock and keep it renewed; raises ``LockedByAnother`` if somebody alive holds it.

        Where somebody holds it, ``on_wait`` gets the holder and the seconds for which it will be watched.
        """
        self._stopped = threading.Event()
        watched: Object | None = None
        deadline = math.inf
        while True:
            lease = self._read_or_create()
            if (
                watched is not None
                and leases.holder(lease)
                and leases.renewal_marker(lease) != leases.renewal_marker(watched)
            ):
                raise _locked(lease)
            if not leases.holder(lease) or self._monotonic() >= deadline:
                if self._try_take(lease):
                    return self
                continue
            if watched is None:
                watched = lease
                seconds = leases.duration(lease, self._seconds)
                deadline = self._monotonic() + seconds
                if on_wait:
                    on_wait(leases.holder(lease), seconds)
            self._stopped.wait(leases.duration(lease, self._seconds) / MAX_STEPS)

    def check(self) -> float:
        """Give the seconds for which the lock is surely ours; raises ``LockedByAnother`` if it is not.

        Raises ``Unauthorized`` if it ran out because our credentials did.
        """
        with self._lock:
            if self._lost:
                raise self._lost
            left = self._until - self._monotonic()
        if left <= 0 and self._unauthorized is not None:
            raise self._unauthorized
        if left <= 0:
            raise LockHeld(
                f"the lock of {self._holder} ran out {-left:.0f} s ago: no renewal got through",
                hint="run the same command again: it goes on from what is done",
            )
        return left

    def release(self) -> None:
        """Let the lock go; the count of its holders stays, so that no token comes twice."""
        self._stopped.set()
        if self._thread:
            self._thread.join()
            self._thread = None
        with self._lock:
            lease, self._until, self._lost = self._lease, -math.inf, self._lost or _released(self._holder)
        try:
            if leases.token(lease) == self._token and self._token:
                self._cluster.replace(Kind.LEASE, _with(lease, holderIdentity=""))
        except ApiError:
            pass  # taken over, or no answer: the next run sees that nobody renews it

    def peek(self) -> str | None:
        """Give who holds the lock, ``None`` if nobody does; whether that process lives, this does not tell."""
        lease = self._cluster.get(Kind.LEASE, SYSTEM_NAMESPACE, self._name)
        return (leases.holder(lease) or None) if lease else None

    def break_lock(self) -> str | None:
        """Take the lock from whoever holds it and leave it free; give who that was, ``None`` if nobody.

        A run that lives after all finds its lock lost at its next renewal, and its fencing token refused after that.
        """
        lease = self._cluster.get(Kind.LEASE, SYSTEM_NAMESPACE, self._name)
        if lease is None or not leases.holder(lease):
            return None
        self._cluster.replace(Kind.LEASE, _with(lease, holderIdentity=""))
        return leases.holder(lease)

    def __enter__(self) -> LeaseLock:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _read_or_create(self) -> Object:
        lease = self._cluster.get(Kind.LEASE, SYSTEM_NAMESPACE, self._name)
        if lease is not None:
            return lease
        labels = {"app.kubernetes.io/managed-by": MANAGER}
        lease = {
            "apiVersion": Kind.LEASE.resource.api_version,
            "kind": "Lease",
            "metadata": {"namespace": SYSTEM_NAMESPACE, "name": self._name, "labels": labels},
            "spec": {"holderIdentity": "", "leaseTransitions": 0, "leaseDurationSeconds": self._whole_seconds()},
        }
        try:
            return self._create(Kind.LEASE, lease) or self._read_or_create()
        except NotFound:
            metadata = {"name": SYSTEM_NAMESPACE, "labels": labels}
            self._create(Kind.NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        return self._read_or_create()

    def _create(self, kind: Kind, body: Object) -> Object | None:
        try:
            return self._cluster.create(kind, body)
        except Conflict:
            return None  # somebody was faster

    def _try_take(self, lease: Object) -> bool:
        """Take the lease as it was read; ``False`` if it has changed since, the token then being spent."""
        transitions = int(lease["spec"].get("leaseTransitions") or 0) + 1
        token = f"r{transitions}-{secrets.token_hex(3)}"
        now = self._now()
        taken = _with(
            lease,
            holderIdentity=self._holder,
            leaseDurationSeconds=self._whole_seconds(),
            leaseTransitions=transitions,
            acquireTime=now,
            renewTime=now,
        )
        annotations = lease["metadata"].get("annotations") or {}
        taken["metadata"]["annotations"] = {**annotations, leases.RUN_ANNOTATION: token}
        sent = self._monotonic()
        try:
            answer = self._cluster.replace(Kind.LEASE, taken)
        except Conflict:
            return False
        self._token, self._lease, self._until, self._lost = token, answer, sent + self._seconds, None
        self.took_over = bool(leases.holder(lease))
        self._thread = threading.Thread(target=self._renew_loop, args=(self._stopped,), name="lock", daemon=True)
        self._thread.start()
        return True

    def _renew_loop(self, stopped: threading.Event) -> None:
        """Renew every third of the lock's seconds, sooner after a failure, until released or lost."""
        pause = self._seconds / 3
        while not stopped.wait(pause):
            try:
                self._renew()
                pause, self._unauthorized = self._seconds / 3, None
            except LockHeld as error:
                with self._lock:
                    self._lost = error
                return
            except Unauthorized as error:
                pause, self._unauthorized = self._seconds / 12, error
            except Exception:  # whatever kept one renewal from getting through: the next may, and the time runs out
                pause = self._seconds / 12

    def _renew(self) -> None:
        """Renew once; raises ``LockedByAnother`` if the lease has another token, else ``ApiError``: try again."""
        sent = self._monotonic()
        try:
            answer = self._cluster.replace(Kind.LEASE, _with(self._lease, renewTime=self._now()))
        except Conflict:
            self._lease = self._resolve_conflict()
            raise
        with self._lock:
            self._lease, self._until = answer, sent + self._seconds

    def _resolve_conflict(self) -> Object:
        """Read the lease after a conflict: still ours if an unanswered renewal of ours or a mere edit changed it."""
        lease = self._cluster.get(Kind.LEASE, SYSTEM_NAMESPACE, self._name)
        if lease is None:
            raise LockHeld("the lock's Lease was deleted", hint="run the same command again")
        if not leases.holder(lease):
            raise LockHeld("the lock was broken by `unlock`", hint="run the same command again")
        if leases.token(lease) != self._token:
            raise _locked(lease)
        return lease

    def _whole_seconds(self) -> int:
        return max(1, math.ceil(self._seconds))

    def _now(self) -> str:
        """Give the time of day, later than the last one: a clock that stands still must not make us look dead."""
        self._stamp = max(self._clock.now(), self._stamp + 0.001)
        return datetime.fromtimestamp(self._stamp, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _with(lease: Object, **spec: object) -> Object:
    """Give the lease with other fields in its spec, and the resourceVersion that it was read with."""
    return {**lease, "metadata": {**lease["metadata"]}, "spec": {**lease["spec"], **spec}}


def _locked(lease: Object) -> LockHeld:
    since = lease["spec"].get("acquireTime") or "an unknown time"
    return LockHeld(
        f"{leases.holder(lease)} holds the lock since {since}",
        hint="wait for it, or, if that process is surely gone: seimigrate unlock",
    )


def _released(holder: str) -> LockHeld:
    return LockHeld(f"the lock of {holder} was released")
