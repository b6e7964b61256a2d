"""The control loop of a run: observe the fleet, let a pure function decide, do that one thing, advance each node.

One loop serves ``apply``, ``hold`` and ``rollback``; they differ in the function that decides. The loop alone writes
the run's record; the nodes' steps and all queries run in the executor.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import assert_never

from seimigrate.domain.fleet import control
from seimigrate.domain.fleet.actions import (
    CheckCanaryHealth,
    CheckSigning,
    Done,
    FleetAction,
    FleetWait,
    QueryGate,
    RollBackInFlight,
    RollBackNode,
    SaveCampaign,
    StartNodes,
)
from seimigrate.domain.fleet.campaign import Campaign, SigningBaseline
from seimigrate.domain.fleet.control import ControlCommand
from seimigrate.domain.fleet.observation import FleetObservation
from seimigrate.domain.node import start
from seimigrate.domain.node.record import Record
from seimigrate.domain.node.run_spec import RunSpec
from seimigrate.domain.plan.plan import Mode, StageName
from seimigrate.engine.fleet_observer import FleetObserver
from seimigrate.engine.in_flight import InFlightNodes
from seimigrate.engine.journal import Journal
from seimigrate.engine.node_observer import Observer
from seimigrate.engine.node_worker import Ports
from seimigrate.engine.run_control import ControlServer

POLL_INTERVAL = 1.0
"""Seconds between two observations of an unchanged fleet; one observation of thousands of nodes is expensive."""

FleetListener = Callable[[Campaign, FleetAction, FleetObservation], None]
"""Is called with each action of the fleet before it is done."""
AdmitNode = Callable[[str, Campaign], Record | str]
"""Returns the record with which a node starts, or the outcome of a node that does not start."""


@dataclass(frozen=True)
class LoopPolicy:
    """What differs between a cutover and a sweep.

    ``decide`` returns the next action, ``admit`` the record of a node that is about to start. ``save`` writes a
    campaign with the nodes in progress. ``commands`` are the control commands that the run accepts.
    """

    decide: Callable[[Campaign, FleetObservation], FleetAction]
    admit: AdmitNode
    save: Callable[[Campaign, tuple[str, ...]], None]
    commands: frozenset[ControlCommand] = frozenset(ControlCommand)


@dataclass
class FleetLoop:
    """One campaign, from its recorded state until it is finished or the run is asked to stop."""

    ports: Ports
    run: str
    spec: RunSpec
    policy: LoopPolicy
    journal: Journal
    observer: Observer
    in_flight: InFlightNodes
    fleet_observer: FleetObserver
    control: ControlServer
    on_finished: Callable[[Record], None]
    on_action: FleetListener
    on_tick: Callable[[], None]
    should_stop: Callable[[], bool]
    _due: float = 0.0
    _idle_since: float = 0.0

    def process(self, campaign: Campaign) -> Campaign:
        """Process the campaign until it is done, or until ``should_stop``; running steps are left running."""
        self._idle_since = self.ports.clock.now()
        while not self.should_stop():
            campaign = self._collect_results(campaign)
            now = self.ports.clock.now()
            if now >= self._due:
                fleet = self.fleet_observer.observe(self.in_flight.in_progress, self._idle_since)
                action = self.policy.decide(campaign, fleet)
                self.on_action(campaign, action, fleet)
                if isinstance(action, Done):
                    return campaign
                campaign = self._execute(action, campaign, fleet)
            self.on_tick()
            self.in_flight.start_due_steps()
            until = min(self.in_flight.idle_until(), self._due)
            if (seconds := min(until - self.ports.clock.now(), POLL_INTERVAL)) > 0:
                self.ports.cache.wait_for_change(seconds)
        return campaign

    def _collect_results(self, campaign: Campaign) -> Campaign:
        """Take in what happened since: finished nodes, replies to queries, control requests."""
        before = campaign
        for record in self.in_flight.collect_finished():
            self.on_finished(record)
            campaign = campaign.after(record, self.ports.clock.now())
        replied = self.fleet_observer.collect()
        replies = {}
        for request in self.control.pending_requests():
            campaign, reply = control.apply_request(
                campaign, request, self.in_flight.in_progress, self.ports.clock.now(), commands=self.policy.commands
            )
            replies[request.id] = reply
            if request.command in (ControlCommand.RESUME, ControlCommand.PROMOTE) and reply.accepted:
                self.fleet_observer.reset()
        if campaign != before:
            self._idle_since = self.ports.clock.now()
            self._save(campaign)
        if replies:
            self.control.reply(replies)
        if campaign != before or replied or replies:
            self._due = 0.0
        return campaign

    def _execute(self, action: FleetAction, campaign: Campaign, fleet: FleetObservation) -> Campaign:
        self._due = 0.0
        match action:
            case SaveCampaign(campaign=new):
                self._idle_since = fleet.now
                self._save(new)
                return new
            case StartNodes(keys=keys):
                self._idle_since = fleet.now
                return self._start(keys, campaign, fleet)
            case RollBackNode(key=key, reason=reason):
                return self._start_rollback(key, reason, campaign)
            case RollBackInFlight(keys=keys, reason=_):
                with contextlib.suppress(LookupError):  # the step of a deleted node finishes without this
                    if not [key for key in keys if self.in_flight.redirect(key, self._rollback_record)]:
                        self._due = fleet.now + POLL_INTERVAL
            case CheckSigning(keys=keys):
                self.fleet_observer.check_signing(keys)
            case CheckCanaryHealth(keys=keys):
                self.fleet_observer.check_health(keys)
            case QueryGate(gate=gate):
                self.fleet_observer.query_gate(gate)
            case FleetWait(seconds=seconds):
                self._due = fleet.now + min(seconds, POLL_INTERVAL)
                if self.in_flight.in_progress:
                    self._idle_since = fleet.now
            case Done():
                pass
            case _:
                assert_never(action)
        return campaign

    def _save(self, campaign: Campaign, *starting: str) -> None:
        self.policy.save(campaign, (*self.in_flight.in_progress, *starting))

    def _start(self, keys: tuple[str, ...], campaign: Campaign, fleet: FleetObservation) -> Campaign:
        """Start nodes: the run's record is written first, then each node's journal, then its first step."""
        admitted = {key: self.policy.admit(key, campaign) for key in keys}
        starting = {key: record for key, record in admitted.items() if isinstance(record, Record)}
        finished = {key: outcome for key, outcome in admitted.items() if isinstance(outcome, str)}
        for key in starting:
            node, status = fleet.nodes.get(key), fleet.signing.get(key)
            if node is not None and node.mode is Mode.VALIDATOR and status is not None:
                address = status.address if status.signs else ""
                campaign = campaign.expect_signature(key, SigningBaseline(address, fleet.now))
        for key in finished:
            campaign = campaign.expect_signature(key, None)
        campaign = campaign.with_finished(finished)
        self._save(campaign, *starting)
        for record in starting.values():
            self.in_flight.add(record)
        return campaign

    def _rollback_record(self, record: Record) -> Record:
        """Return the record with which a node rolls back; raises ``LookupError`` if the node was deleted."""
        observed = self.observer.observe(record.namespace, record.name)
        to = StageName.HOLD if record.held_before else None
        return start.start_rollback(record, observed, self.spec, self.run, to, self.ports.clock.now())

    def _start_rollback(self, key: str, reason: str, campaign: Campaign) -> Campaign:
        """Roll back a node that was cut over; a node that was deleted since is dropped."""
        self._save(campaign, key)
        record = self.journal.load(*key.split("/", 1))
        try:
            assert record is not None
            failure = reason if key in campaign.failed else None
            self.in_flight.add(replace(self._rollback_record(record), failure=failure))
        except LookupError:
            pending = tuple(other for other in campaign.pending_rollbacks if other != key)
            campaign = replace(campaign, pending_rollbacks=pending)
        self._save(campaign)
        return campaign
