"""Drives a fleet: look, let the decision about the fleet be made, do that one thing, let each node do its next step.

One loop writes the run's record; the nodes' steps and everybody's questions are done by the crew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import assert_never

from seimigrate.domain.fleet import control, reconcile
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
from seimigrate.domain.node.start import StartOptions
from seimigrate.domain.plan.plan import Mode, Plan, StageName
from seimigrate.engine.fleet_observer import FleetObserver
from seimigrate.engine.in_flight import InFlightNodes
from seimigrate.engine.journal import Journal
from seimigrate.engine.node_observer import Observer
from seimigrate.engine.node_worker import Ports
from seimigrate.engine.run_control import ControlServer
from seimigrate.engine.run_store import RunStore

POLL_INTERVAL = 1.0
"""Seconds between two looks at the whole fleet when nothing of ours has happened; a look at thousands costs."""

FleetListener = Callable[[Campaign, FleetAction, FleetObservation], None]
"""Is told of each step of the fleet before it is done."""
AdmitNode = Callable[[str, Campaign], Record | str]
"""Gives the record with which a node sets out, or how it ended without setting out."""


@dataclass
class FleetLoop:
    """One campaign from where it is to its end, or until somebody leaves."""

    ports: Ports
    plan: Plan
    options: StartOptions
    journal: Journal
    observer: Observer
    in_flight: InFlightNodes
    fleet_observer: FleetObserver
    control: ControlServer
    store: RunStore
    admit: AdmitNode
    on_finished: Callable[[Record], None]
    on_action: FleetListener
    on_tick: Callable[[], None]
    should_stop: Callable[[], bool]
    _due: float = 0.0
    _idle: float = 0.0

    def run(self, campaign: Campaign) -> Campaign:
        """Drive until the end, or until ``left`` says so: then each step that is being done is finished."""
        self._idle = self.ports.clock.now()
        while not self.should_stop():
            campaign = self._collect_results(campaign)
            now = self.ports.clock.now()
            if now >= self._due:
                fleet = self.fleet_observer.observe(self.in_flight.in_progress, self._idle)
                step = reconcile.next_action(campaign, self.plan, fleet)
                self.on_action(campaign, step, fleet)
                if isinstance(step, Done):
                    return campaign
                campaign = self._do(step, campaign, fleet)
            self.on_tick()
            self.in_flight.start_due_steps()
            until = min(self.in_flight.idle_until(), self._due)
            if (seconds := min(until - self.ports.clock.now(), POLL_INTERVAL)) > 0:
                self.ports.cache.wait_for_change(seconds)
        return campaign

    def _collect_results(self, campaign: Campaign) -> Campaign:
        """Take in what has happened meanwhile: nodes that ended, answers, wishes."""
        before = campaign
        for record in self.in_flight.collect_finished():
            self.on_finished(record)
            campaign = campaign.after(record, self.ports.clock.now())
        answered = self.fleet_observer.collect()
        asked = self.control.pending_requests()
        answers = {}
        for request in asked:
            campaign, answers[request.id] = control.apply_request(
                campaign, request, self.in_flight.in_progress, self.ports.clock.now()
            )
            if request.command in (ControlCommand.RESUME, ControlCommand.PROMOTE) and answers[request.id].accepted:
                self.fleet_observer.reset()
        if campaign != before:
            self._idle = self.ports.clock.now()
            self._save(campaign)
        if answers:
            self.control.reply(answers)
        if campaign != before or answered or answers:
            self._due = 0.0
        return campaign

    def _do(self, step: FleetAction, campaign: Campaign, fleet: FleetObservation) -> Campaign:
        self._due = 0.0
        match step:
            case SaveCampaign(campaign=new):
                self._idle = fleet.now
                self._save(new)
                return new
            case StartNodes(keys=keys):
                self._idle = fleet.now
                return self._start(keys, campaign, fleet)
            case RollBackNode(key=key, reason=reason):
                return self._start_rollback(key, reason, campaign)
            case RollBackInFlight(keys=keys, reason=_):
                with contextlib.suppress(LookupError):  # one that was deleted comes to its end by itself
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
                    self._idle = fleet.now
            case Done():
                pass
            case _:
                assert_never(step)
        return campaign

    def _save(self, campaign: Campaign, *starting: str) -> None:
        self.store.save_campaign(campaign, (*self.in_flight.in_progress, *starting))

    def _start(self, keys: tuple[str, ...], campaign: Campaign, fleet: FleetObservation) -> Campaign:
        """Let nodes set out: the run's record first, then each node's journal, then its first step."""
        for key in keys:
            node = fleet.nodes.get(key)
            if node is not None and node.mode is Mode.VALIDATOR:
                status = fleet.signing[key]
                campaign = campaign.expect_signature(
                    key, SigningBaseline(status.address if status.signs else "", fleet.now)
                )
        self._save(campaign, *keys)
        without: dict[str, str] = {}
        for key in keys:
            begun = self.admit(key, campaign)
            if isinstance(begun, Record):
                self.in_flight.add(begun)
            else:
                without[key] = begun
        if without:
            campaign = campaign.with_finished(without)
            for key in without:
                campaign = campaign.expect_signature(key, None)
            self._save(campaign)
        return campaign

    def _rollback_record(self, record: Record) -> Record:
        """Give the record of a node that goes back to where it was; raises ``LookupError`` if it is gone."""
        observed = self.observer.observe(record.namespace, record.name)
        to = StageName.HOLD if record.held_before else None
        return start.start_rollback(record, observed, self.options, to, self.ports.clock.now())

    def _start_rollback(self, key: str, reason: str, campaign: Campaign) -> Campaign:
        """Bring a node back that had moved; one that was deleted meanwhile has no way back."""
        self._save(campaign, key)
        record = self.journal.load(*key.split("/", 1))
        try:
            assert record is not None
            failure = reason if key in campaign.failed else None
            self.in_flight.add(replace(self._rollback_record(record), failure=failure))
        except LookupError:
            campaign = replace(
                campaign, pending_rollbacks=tuple(other for other in campaign.pending_rollbacks if other != key)
            )
        self._save(campaign)
        return campaign
