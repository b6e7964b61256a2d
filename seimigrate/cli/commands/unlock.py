"""``unlock``: release the lock of a dead run."""

from __future__ import annotations

import sys
import time

import typer

from seimigrate.adapters.clock import SystemClock
from seimigrate.adapters.lease import LeaseLock
from seimigrate.app.execute import holder
from seimigrate.app.options import ConfirmationOptions, ConnectionOptions
from seimigrate.cli.invocation import invocation_of
from seimigrate.cli.options import OutputOptions
from seimigrate.domain.kube import leases
from seimigrate.domain.kube.kinds import LEASE_NAME
from seimigrate.engine.errors import Conflict, SeimigrateError
from seimigrate.engine.lease_monitor import DEFAULT_DURATION, LeaseMonitor
from seimigrate.render import json_output

MAX_ATTEMPTS = 5
"""A living holder renews the Lease now and then, between our reading and our writing it."""


def unlock(
    ctx: typer.Context, confirmation: ConfirmationOptions, connection: ConnectionOptions, output: OutputOptions
) -> None:
    """Release the lock of a dead run."""
    invocation = invocation_of(ctx)
    invocation.configure_output(output)
    invocation.require_confirmation(confirmation.yes)
    session = invocation.open_session(connection)
    lock = LeaseLock(session.cluster, session.clock, holder())
    held_by = lock.peek()
    if held_by is not None:
        monitor = LeaseMonitor(session.cluster, SystemClock(), LEASE_NAME)
        monitor.is_alive()
        _watching(held_by, leases.duration(monitor.lease, DEFAULT_DURATION))
        if monitor.wait_for_renewal(time.sleep):
            raise SeimigrateError(
                f"{held_by} lives: it renewed the lock under our eyes",
                hint="stop it where it runs, with ^C, or let it end",
            )
        rows = [("cluster", session.server), ("holder", held_by), ("state", "no sign of life within its lease")]
        invocation.confirm(confirmation.yes, "break the lock:", rows)
        invocation.may_have_written = True
        held_by = _break(lock)
    told = f"the lock of {held_by} is broken" if held_by else "nobody holds the lock"
    invocation.show(lambda: json_output.unlock_result(held_by), lambda _: _say(f"{told}\n\nnext: seimigrate status"))


def _watching(holder: str, seconds: float) -> None:
    sys.stderr.write(f"watching for {seconds:.0f} s whether {holder} lives\n")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _break(lock: LeaseLock) -> str | None:
    for _ in range(MAX_ATTEMPTS):
        try:
            return lock.break_lock()
        except Conflict:
            continue
    raise SeimigrateError("the lock changes all the time: its holder lives", hint="seimigrate status")
