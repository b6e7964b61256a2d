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
"""Attempts to write the Lease: a live holder may renew it between the read and the write."""


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
        _announce_watch(held_by, leases.duration(monitor.lease, DEFAULT_DURATION))
        if monitor.wait_for_renewal(time.sleep):
            raise SeimigrateError(
                f"{held_by} is still running: it renewed the Lease while unlock was watching",
                hint="stop that process with Ctrl-C, or wait for it to finish",
            )
        rows = [("cluster", session.server), ("holder", held_by), ("state", "has not renewed the Lease")]
        invocation.confirm(confirmation.yes, "Release the lock:", rows)
        invocation.may_have_written = True
        held_by = _release(lock)
    text = f"the lock of {held_by} was released" if held_by else "the lock is not held"
    invocation.show(lambda: json_output.unlock_result(held_by), lambda _: _print(f"{text}\n\nnext: seimigrate status"))


def _announce_watch(holder: str, seconds: float) -> None:
    sys.stderr.write(f"watching for {seconds:.0f} s to see if {holder} renews the Lease\n")


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


def _release(lock: LeaseLock) -> str | None:
    for _ in range(MAX_ATTEMPTS):
        try:
            return lock.break_lock()
        except Conflict:
            continue
    raise SeimigrateError("the lock keeps changing: its holder is alive", hint="seimigrate status")
