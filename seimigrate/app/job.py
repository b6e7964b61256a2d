"""A Job's pods take turns: one is at work, and the other one waits for the lock before it reads anything."""

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
"""Seconds between two tries to take the lock."""


class AlreadyFinished(Exception):  # noqa: N818 - not an error
    """Another pod of the Job finished the run; ``code`` is the exit code of that run."""

    def __init__(self, code: int) -> None:
        super().__init__(f"finished with exit code {code}")
        self.code = code


@dataclass(frozen=True)
class JobLock:
    """The lock, where it is held already, and whether an earlier pod of the Job has begun its run."""

    lock: Lock | None = None
    resuming: bool = False


@contextmanager
def job_lock(session: Session, lease_duration: float, job: str) -> Iterator[JobLock]:
    """Hold the lock for a pod of a Job, once it is free, however long that takes; who is of no Job takes it later.

    Where the Job's run has come to its end meanwhile, it leaves with the exit code of that.
    """
    if not job:
        yield JobLock()
        return
    import structlog

    log = structlog.get_logger()
    with ExitStack() as stack:
        lock = _wait_for(stack, session, lease_duration, log)
        last = RunJournal(session.cluster).load()
        goes_on = last is not None and last.is_of(job)
        if last is not None and goes_on and last.exit_code is not None:
            log.info(f"{last.holder} has brought this Job's run to its end, with exit code {last.exit_code}")
            raise AlreadyFinished(last.exit_code)
        yield JobLock(lock, goes_on)


def _wait_for(stack: ExitStack, session: Session, lease_duration: float, log: Log) -> Lock:
    """Take the lock; say once whom it waits for, and outlast an API server that does not answer."""
    told = ""

    def waits(other: str, seconds: float) -> None:
        nonlocal told
        del seconds
        if other != told:
            log.info(f"{other} holds the lock: stands by until it is free")
        told = other

    while True:
        try:
            return stack.enter_context(session.lock(holder(), lease_duration, waits))
        except LockHeld:
            pass
        except Unreachable as error:
            told = ""
            log.warning(f"tries again: {error.message}")
        time.sleep(RETRY_INTERVAL)
