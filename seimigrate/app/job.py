"""The lock of a Job's pods: one pod is active, the other is on standby and reads nothing before it has the lock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from seimigrate.app.execute import holder
from seimigrate.app.session import Session
from seimigrate.engine.errors import LockHeld, Unreachable
from seimigrate.engine.ports import Lock
from seimigrate.engine.run_store import RunJournal
from seimigrate.render.event_log import Log

RETRY_INTERVAL = 5.0
"""Seconds between two attempts to take the lock."""


class AlreadyFinished(Exception):  # noqa: N818 - not an error
    """Another pod of the Job finished the run; ``code`` is the exit code of that run."""

    def __init__(self, code: int) -> None:
        super().__init__(f"finished with exit code {code}")
        self.code = code


@dataclass(frozen=True)
class JobLock:
    """The lock, if it is already held, and whether an earlier pod of the Job has started its run."""

    lock: Lock | None = None
    resuming: bool = False


@contextmanager
def job_lock(session: Session, lease_duration: float, job: str) -> Iterator[JobLock]:
    """Wait without limit for the lock of a Job's pod, and hold it; without a Job, leave the lock to the run.

    Raises ``AlreadyFinished`` if another pod has finished the Job's run.
    """
    if not job:
        yield JobLock()
        return
    import structlog

    log = structlog.get_logger()
    with ExitStack() as stack:
        lock = _wait_for(stack, session, lease_duration, log)
        last = RunJournal(session.cluster).load()
        resuming = last is not None and last.is_of(job)
        if last is not None and resuming and last.exit_code is not None:
            log.info(f"this Job's run already finished on {last.holder} with exit code {last.exit_code}")
            raise AlreadyFinished(last.exit_code)
        yield JobLock(lock, resuming)


def _wait_for(stack: ExitStack, session: Session, lease_duration: float, log: Log) -> Lock:
    """Take the lock; report each holder once, and retry if the API server is unreachable."""
    reported = ""

    def on_wait(other: str, seconds: float) -> None:
        nonlocal reported
        del seconds
        if other != reported:
            log.info(f"lock held by {other}; on standby until it is released")
        reported = other

    while True:
        try:
            return stack.enter_context(session.lock(holder(), lease_duration, on_wait))
        except LockHeld:
            pass
        except Unreachable as error:
            reported = ""
            log.warning(f"retrying: {error.message}")
        time.sleep(RETRY_INTERVAL)
