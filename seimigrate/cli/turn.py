"""A Job's pods take turns: one is at work, and the other one waits for the lock before it reads anything."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from seimigrate.cli.carrying import holder
from seimigrate.cli.options import Acting
from seimigrate.cli.session import Session
from seimigrate.cli.shell import leave
from seimigrate.engine.errors import LockedByAnother, Unreachable
from seimigrate.engine.journal import RunJournal
from seimigrate.engine.ports import Lock
from seimigrate.render.lines import Log

RETRY = 5.0
"""Seconds between two tries to take the lock."""


@dataclass(frozen=True)
class Turn:
    """The lock, where it is held already, and whether an earlier pod of the Job has begun its run."""

    lock: Lock | None = None
    goes_on: bool = False


@contextmanager
def turn(session: Session, acting: Acting, job: str) -> Iterator[Turn]:
    """Hold the lock for a pod of a Job, once it is free, however long that takes; who is of no Job takes it later.

    Where the Job's run has come to its end meanwhile, it leaves with the exit code of that.
    """
    if not job:
        yield Turn()
        return
    import structlog

    log = structlog.get_logger()
    with ExitStack() as stack:
        lock = _wait_for(stack, session, acting, log)
        last = RunJournal(session.cluster).load()
        goes_on = last is not None and last.is_of(job)
        if last is not None and goes_on and last.code is not None:
            log.info(f"{last.holder} has brought this Job's run to its end, with exit code {last.code}")
            leave(last.code)
        yield Turn(lock, goes_on)


def _wait_for(stack: ExitStack, session: Session, acting: Acting, log: Log) -> Lock:
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
            return stack.enter_context(session.lock(holder(), acting.lease_seconds, waits))
        except LockedByAnother:
            pass
        except Unreachable as error:
            told = ""
            log.warning(f"tries again: {error.message}")
        time.sleep(RETRY)
