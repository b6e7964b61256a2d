"""``status --watch``: a live run, followed from any terminal by what it writes down and by what the cluster shows.

The reason for which a node waits is in no journal: the machine is pure, so it gives the same one here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from seimigrate.cli import watching
from seimigrate.cli.selection import Selection
from seimigrate.cli.session import Session
from seimigrate.cli.shell import Shell
from seimigrate.domain import leases, machine
from seimigrate.domain.actions import Note, Wait
from seimigrate.domain.fleet import decision
from seimigrate.domain.fleet.campaign import Campaign
from seimigrate.domain.fleet.picture import Picture
from seimigrate.domain.fleet.steps import Rest
from seimigrate.domain.kinds import LEASE_NAME
from seimigrate.domain.plan import Plan
from seimigrate.domain.record import Record
from seimigrate.engine import reading
from seimigrate.engine.journal import Journal, RunJournal, RunRecord
from seimigrate.engine.ports import View
from seimigrate.engine.pulse import Pulse
from seimigrate.engine.results import Key
from seimigrate.engine.telling import Teller

PACE = 1.0
"""Seconds between two looks at the journals."""


def follow(shell: Shell, session: Session, found: Selection, plan: Plan) -> None:
    """Show the live run until it ends; where none lives, there is nothing to follow.

    Where a Job's run ends with nodes left to move, its pod was lost: the next pod's run is waited for, and followed.
    """
    import structlog

    log = structlog.get_logger()
    pulse = Pulse(session.cluster, session.clock, LEASE_NAME)
    run = _live(session, pulse)
    if run is None:
        log.info("no run lives")
    while run is not None:
        _show(shell, session, found, plan, pulse, run)
        run = _next(session, pulse, log.info)


def _show(shell: Shell, session: Session, found: Selection, plan: Plan, pulse: Pulse, run: RunRecord) -> None:
    import structlog

    tell = watching.teller(shell, session.clock, structlog.get_logger(), run.run)
    title = f"{run.command} {run.run} of {run.holder}"
    with (
        session.view(found.namespaces) as view,
        watching.shown(shell, lambda: tell.progress, session.clock, title),
    ):
        follower = Follower(session, view, found, plan, tell)
        while pulse.beats() and leases.token(pulse.lease) == run.run:
            follower.look()
            view.wait(PACE)
        follower.look()


def _live(session: Session, pulse: Pulse) -> RunRecord | None:
    """Give the run that holds the lock, once it has written its record; ``None`` if none lives."""
    while pulse.beats():
        run = RunJournal(session.cluster).load()
        if run is not None and run.run == leases.token(pulse.lease):
            return run
        time.sleep(PACE)
    return None


def _next(session: Session, pulse: Pulse, say: Callable[[str], object]) -> RunRecord | None:
    """Wait for the run that goes on where a Job's pod was lost; ``None`` if there is nothing to go on with."""
    waits = False
    while (last := RunJournal(session.cluster).load()) is not None and last.is_unfinished_job:
        if (run := _live(session, pulse)) is not None:
            return run
        if not waits:
            say(f"{last.holder} is gone: waits for the next pod of its Job (^C stops watching, and nothing else)")
        waits = True
        time.sleep(PACE)
    return None


class Follower:
    """Makes of what a run writes down what it would have told itself."""

    def __init__(self, session: Session, view: View, found: Selection, plan: Plan, tell: Teller) -> None:
        self._session = session
        self._view = view
        self._found = found
        self._plan = plan
        self._tell = tell
        self._known: dict[Key, Record] = {}

    def look(self) -> None:
        """Look at the run's record and the nodes' journals, and tell what is new."""
        run = RunJournal(self._session.cluster).load()
        if run is not None and run.campaign is not None:
            self._fleet(run.campaign)
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
        reason = decision.standing(campaign, self._plan, now)
        self._tell.fleet(campaign, Rest((reason,) if reason else (), PACE), Picture(now, {}))

    def _node(self, key: Key, record: Record) -> None:
        known = self._known.get(key)
        self._known[key] = record
        if known is not None and known != record:
            self._tell(known, Note(record))
        if record.outcome is None and record.plan == self._plan.digest:
            action = machine.next_action(record, reading.look(self._view, *key), self._plan, self._session.clock.now())
            self._tell(record, action if isinstance(action, Wait) else Note(record))
        elif known is None:
            self._tell(record, Note(record))
