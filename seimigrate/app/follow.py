"""``status --watch``: a live run, followed from any terminal by what it writes down and by what the cluster shows.

The reason for which a node waits is in no journal: the machine is pure, so it gives the same one here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from seimigrate.app import reporters
from seimigrate.app.process import CommandProcess
from seimigrate.app.selection import Selection
from seimigrate.app.session import Session
from seimigrate.domain.fleet.actions import FleetWait
from seimigrate.domain.fleet.campaign import Campaign
from seimigrate.domain.fleet.observation import FleetObservation
from seimigrate.domain.fleet.reconcile import wait_reason
from seimigrate.domain.kube import leases
from seimigrate.domain.kube.kinds import LEASE_NAME
from seimigrate.domain.node.actions import SaveRecord, Wait
from seimigrate.domain.node.reconcile import next_action
from seimigrate.domain.node.record import Record
from seimigrate.domain.plan.plan import Plan
from seimigrate.engine import readers
from seimigrate.engine.event_dispatcher import EventDispatcher
from seimigrate.engine.journal import Journal
from seimigrate.engine.lease_monitor import LeaseMonitor
from seimigrate.engine.ports import ObjectCache
from seimigrate.engine.results import Key
from seimigrate.engine.run_store import RunJournal, RunRecord

POLL_INTERVAL = 1.0
"""Seconds between two looks at the journals."""


def follow(process: CommandProcess, session: Session, selection: Selection, plan: Plan) -> None:
    """Show the live run until it ends; where none lives, there is nothing to follow.

    Where a Job's run ends with nodes left to move, its pod was lost: the next pod's run is waited for, and followed.
    """
    import structlog

    log = structlog.get_logger()
    monitor = LeaseMonitor(session.cluster, session.clock, LEASE_NAME)
    run = _live(session, monitor)
    if run is None:
        log.info("no run lives")
    while run is not None:
        _show(process, session, selection, plan, monitor, run)
        run = _wait_for_next_run(session, monitor, log.info)


def _show(
    process: CommandProcess, session: Session, selection: Selection, plan: Plan, monitor: LeaseMonitor, run: RunRecord
) -> None:
    import structlog

    tell = reporters.make_dispatcher(process, session.clock, structlog.get_logger(), run.run)
    title = f"{run.spec.command} {run.run} of {run.holder}"
    with (
        session.cache(selection.namespaces) as cache,
        reporters.live_view(process, lambda: tell.progress, session.clock, title),
    ):
        follower = Follower(session, cache, selection, plan, tell)
        while monitor.is_alive() and leases.token(monitor.lease) == run.run:
            follower.update()
            cache.wait_for_change(POLL_INTERVAL)
        follower.update()


def _live(session: Session, monitor: LeaseMonitor) -> RunRecord | None:
    """Give the run that holds the lock, once it has written its record; ``None`` if none lives."""
    while monitor.is_alive():
        run = RunJournal(session.cluster).load()
        if run is not None and run.run == leases.token(monitor.lease):
            return run
        time.sleep(POLL_INTERVAL)
    return None


def _wait_for_next_run(session: Session, monitor: LeaseMonitor, say: Callable[[str], object]) -> RunRecord | None:
    """Wait for the run that goes on where a Job's pod was lost; ``None`` if there is nothing to go on with."""
    waits = False
    while (last := RunJournal(session.cluster).load()) is not None and last.is_unfinished_job:
        if (run := _live(session, monitor)) is not None:
            return run
        if not waits:
            say(f"{last.holder} is gone: waits for the next pod of its Job (^C stops watching, and nothing else)")
        waits = True
        time.sleep(POLL_INTERVAL)
    return None


class Follower:
    """Makes of what a run writes down what it would have told itself."""

    def __init__(
        self, session: Session, cache: ObjectCache, selection: Selection, plan: Plan, tell: EventDispatcher
    ) -> None:
        self._session = session
        self._view = cache
        self._found = selection
        self._plan = plan
        self._tell = tell
        self._known: dict[Key, Record] = {}

    def update(self) -> None:
        """Look at the run's record and the nodes' journals, and tell what is new."""
        run = RunJournal(self._session.cluster).load()
        if run is not None and run.current is not None:
            self._fleet(run.current)
        for key, record in self._records(run).items():
            self._node(key, record)

    def _records(self, run: RunRecord | None) -> Mapping[Key, Record]:
        """Read the journals of the nodes that this very run has begun with."""
        journal = Journal(self._session.cluster, self._plan.migration)
        journal.read_all(self._found.namespaces)
        found = {key: journal.load(*key) for key in self._found.keys}
        return {key: record for key, record in found.items() if record is not None and run and record.run == run.run}

    def _fleet(self, campaign: Campaign) -> None:
        now = self._session.clock.now()
        reason = wait_reason(campaign, self._plan, now)
        self._tell.on_fleet_action(
            campaign, FleetWait((reason,) if reason else (), POLL_INTERVAL), FleetObservation(now, {})
        )

    def _node(self, key: Key, record: Record) -> None:
        known = self._known.get(key)
        self._known[key] = record
        if known is not None and known != record:
            self._tell(known, SaveRecord(record))
        if record.outcome is None and record.plan == self._plan.digest:
            action = next_action(record, readers.observe(self._view, *key), self._plan, self._session.clock.now())
            self._tell(record, action if isinstance(action, Wait) else SaveRecord(record))
        elif known is None:
            self._tell(record, SaveRecord(record))
