"""``status --watch``: follow a live run from any terminal, by its record, the nodes' journals and the cluster's state.

Journals do not have the reason why a node waits. ``next_action`` is pure, so it returns the same reason here.
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
"""Seconds between two reads of the journals."""


def follow(process: CommandProcess, session: Session, selection: Selection, plan: Plan) -> None:
    """Show the live run until it finishes; without a live run, return immediately.

    If a Job's run stops with unfinished nodes, its pod was lost: wait for the run of the next pod, and follow that.
    """
    import structlog

    log = structlog.get_logger()
    monitor = LeaseMonitor(session.cluster, session.clock, LEASE_NAME)
    run = _live(session, monitor)
    if run is None:
        log.info("no live run")
    while run is not None:
        _show(process, session, selection, plan, monitor, run)
        run = _wait_for_next_run(session, monitor, log.info)


def _show(
    process: CommandProcess, session: Session, selection: Selection, plan: Plan, monitor: LeaseMonitor, run: RunRecord
) -> None:
    import structlog

    dispatcher = reporters.make_dispatcher(process, session.clock, structlog.get_logger(), run.run)
    title = f"{run.spec.command} {run.run} of {run.holder}"
    with (
        session.cache(selection.namespaces) as cache,
        reporters.live_view(process, lambda: dispatcher.progress, session.clock, title),
    ):
        follower = Follower(session, cache, selection, plan, dispatcher)
        while monitor.is_alive() and leases.token(monitor.lease) == run.run:
            follower.update()
            cache.wait_for_change(POLL_INTERVAL)
        follower.update()


def _live(session: Session, monitor: LeaseMonitor) -> RunRecord | None:
    """Return the run that holds the lock, once it has written its record; ``None`` if there is no live run."""
    while monitor.is_alive():
        run = RunJournal(session.cluster).load()
        if run is not None and run.run == leases.token(monitor.lease):
            return run
        time.sleep(POLL_INTERVAL)
    return None


def _wait_for_next_run(session: Session, monitor: LeaseMonitor, report: Callable[[str], object]) -> RunRecord | None:
    """Wait for the run that resumes that of a Job's lost pod; return ``None`` if there is no such run."""
    reported = False
    while (last := RunJournal(session.cluster).load()) is not None and last.is_unfinished_job:
        if (run := _live(session, monitor)) is not None:
            return run
        if not reported:
            report(f"{last.holder} is gone; waiting for the Job's next pod (Ctrl-C only stops watching)")
        reported = True
        time.sleep(POLL_INTERVAL)
    return None


class Follower:
    """Derives from a run's record and its nodes' journals the events that the run itself reports."""

    def __init__(
        self, session: Session, cache: ObjectCache, selection: Selection, plan: Plan, dispatcher: EventDispatcher
    ) -> None:
        self._session = session
        self._cache = cache
        self._selection = selection
        self._plan = plan
        self._dispatcher = dispatcher
        self._last: dict[Key, Record] = {}

    def update(self) -> None:
        """Read the run's record and the nodes' journals, and report what is new."""
        run = RunJournal(self._session.cluster).load()
        if run is not None and run.current is not None:
            self._fleet(run.current)
        for key, record in self._records(run).items():
            self._node(key, record)

    def _records(self, run: RunRecord | None) -> Mapping[Key, Record]:
        """Return the journals of the nodes that this run has started."""
        journal = Journal(self._session.cluster, self._plan.migration)
        journal.read_all(self._selection.namespaces)
        found = {key: journal.load(*key) for key in self._selection.keys}
        return {key: record for key, record in found.items() if record is not None and run and record.run == run.run}

    def _fleet(self, campaign: Campaign) -> None:
        now = self._session.clock.now()
        reason = wait_reason(campaign, self._plan, now)
        self._dispatcher.on_fleet_action(
            campaign, FleetWait((reason,) if reason else (), POLL_INTERVAL), FleetObservation(now, {})
        )

    def _node(self, key: Key, record: Record) -> None:
        last = self._last.get(key)
        self._last[key] = record
        if last is not None and last != record:
            self._dispatcher(last, SaveRecord(record))
        if record.outcome is None and record.plan == self._plan.digest:
            action = next_action(record, readers.observe(self._cache, *key), self._plan, self._session.clock.now())
            self._dispatcher(record, action if isinstance(action, Wait) else SaveRecord(record))
        elif last is None:
            self._dispatcher(record, SaveRecord(record))
