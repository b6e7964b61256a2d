"""``unlock``: break the lock of a run that is surely gone."""

from __future__ import annotations

import sys
import time

import typer

from seimigrate.adapters.clock import SystemClock
from seimigrate.adapters.lease import LeaseLock
from seimigrate.cli.carrying import holder
from seimigrate.cli.options import Acting, Connect, Output
from seimigrate.cli.shell import shell_of
from seimigrate.domain import leases
from seimigrate.domain.kinds import LEASE_NAME
from seimigrate.engine.errors import Conflict, SeimigrateError
from seimigrate.engine.pulse import OTHERWISE, Pulse
from seimigrate.render import jsonout

ATTEMPTS = 5
"""A living holder renews the Lease now and then, between our reading and our writing it."""


def unlock(ctx: typer.Context, acting: Acting, connect: Connect, output: Output) -> None:
    """Break the lock of a run that is surely gone."""
    shell = shell_of(ctx)
    shell.begin(output)
    shell.must_be_able_to_ask(acting.yes)
    session = shell.open_session(connect)
    lock = LeaseLock(session.cluster, session.clock, holder())
    held_by = lock.peek()
    if held_by is not None:
        pulse = Pulse(session.cluster, SystemClock(), LEASE_NAME)
        pulse.beats()
        _watching(held_by, leases.duration(pulse.lease, OTHERWISE))
        if pulse.proven(time.sleep):
            raise SeimigrateError(
                f"{held_by} lives: it renewed the lock under our eyes",
                hint="stop it where it runs, with ^C, or let it end",
            )
        rows = [("cluster", session.server), ("holder", held_by), ("state", "no sign of life within its lease")]
        shell.ask(acting.yes, "break the lock:", rows)
        shell.acting = True
        held_by = _break(lock)
    told = f"the lock of {held_by} is broken" if held_by else "nobody holds the lock"
    shell.show(lambda: jsonout.unlocked(held_by), lambda _: _say(f"{told}\n\nnext: seimigrate status"))


def _watching(holder: str, seconds: float) -> None:
    sys.stderr.write(f"watching for {seconds:.0f} s whether {holder} lives\n")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _break(lock: LeaseLock) -> str | None:
    for _ in range(ATTEMPTS):
        try:
            return lock.break_lock()
        except Conflict:
            continue
    raise SeimigrateError("the lock changes all the time: its holder lives", hint="seimigrate status")
