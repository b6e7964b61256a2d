"""Drives a fleet: look, let the decision about the fleet be made, do that one thing, let each node do its next step.

One loop writes the run's record; the nodes' steps and everybody's questions are done by the crew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import assert_never

from seimigrate.domain import beginning
from seimigrate.domain.beginning import Options
from seimigrate.domain.fleet import decision, wishes
from seimigrate.domain.fleet.campaign import Campaign, Signing
from seimigrate.domain.fleet.picture import Picture
from seimigrate.domain.fleet.steps import Back, End, Judge, Keep, Look, Rest, Sight, Start, Step, Turn
from seimigrate.domain.fleet.wishes import Word
from seimigrate.domain.plan import Mode, Plan, StageName
from seimigrate.domain.record import Record
from seimigrate.engine.books import Books
from seimigrate.engine.brake import Brake
from seimigrate.engine.convoy import Convoy
from seimigrate.engine.journal import Journal
from seimigrate.engine.observer import Observer
from seimigrate.engine.runner import Ports
from seimigrate.engine.scouting import Scouts

PACE = 1.0
"""Seconds between two looks at the whole fleet when nothing of ours has happened; a look at thousands costs."""

Told = Callable[[Campaign, Step, Picture], None]
"""Is told of each step of the fleet before it is done."""
Begin = Callable[[str, Campaign], Record | str]
"""Gives the record with which a node sets out, or how it ended without setting out."""


@dataclass
class Drive:
    """One campaign from where it is to its end, or until somebody leaves."""

    ports: Ports
    plan: Plan
    options: Options
    journal: Journal
    observer: Observer
    convoy: Convoy
    scouts: Scouts
    brake: Brake
    books: Books
    begin: Begin
    came_out: Callable[[Record], None]
    told: Told
    meanwhile: Callable[[], None]
    left: Callable[[], bool]
    _due: float = 0.0
    _idle: float = 0.0

    def run(self, campaign: Campaign) -> Campaign:
        """Drive until the end, or until ``left`` says so: then each step that is being done is finished."""
        self._idle = self.ports.clock.now()
        while not self.left():
            campaign = self._take_in(campaign)
            now = self.ports.clock.now()
            if now >= self._due:
                at = self.scouts.picture(self.convoy.moving, self._idle)
                step = decision.next_step(campaign, self.plan, at)
                self.told(campaign, step, at)
                if isinstance(step, End):
                    return campaign
                campaign = self._do(step, campaign, at)
            self.meanwhile()
            self.convoy.go_on()
            until = min(self.convoy.rests_until(), self._due)
            if (seconds := min(until - self.ports.clock.now(), PACE)) > 0:
                self.ports.view.wait(seconds)
        return campaign

    def _take_in(self, campaign: Campaign) -> Campaign:
        """Take in what has happened meanwhile: nodes that ended, answers, wishes."""
        before = campaign
        for record in self.convoy.collect():
            self.came_out(record)
            campaign = campaign.after(record, self.ports.clock.now())
        answered = self.scouts.collect()
        asked = self.brake.heard()
        answers = {}
        for wish in asked:
            campaign, answers[wish.id] = wishes.grant(campaign, wish, self.convoy.moving, self.ports.clock.now())
            if wish.word in (Word.RESUME, Word.PROMOTE) and answers[wish.id].granted:
                self.scouts.forget()
        if campaign != before:
            self._idle = self.ports.clock.now()
            self._keep(campaign)
        if answers:
            self.brake.answer(answers)
        if campaign != before or answered or answers:
            self._due = 0.0
        return campaign

    def _do(self, step: Step, campaign: Campaign, at: Picture) -> Campaign:
        self._due = 0.0
        match step:
            case Keep(campaign=new):
                self._idle = at.now
                self._keep(new)
                return new
            case Start(keys=keys):
                self._idle = at.now
                return self._start(keys, campaign, at)
            case Back(key=key, reason=reason):
                return self._back(key, reason, campaign)
            case Turn(keys=keys, reason=_):
                with contextlib.suppress(LookupError):  # one that was deleted comes to its end by itself
                    if not [key for key in keys if self.convoy.turn(key, self._turned)]:
                        self._due = at.now + PACE
            case Sight(keys=keys):
                self.scouts.sight(keys)
            case Look(keys=keys):
                self.scouts.look(keys)
            case Judge(gate=gate):
                self.scouts.judge(gate)
            case Rest(seconds=seconds):
                self._due = at.now + min(seconds, PACE)
                if self.convoy.moving:
                    self._idle = at.now
            case End():
                pass
            case _:
                assert_never(step)
        return campaign

    def _keep(self, campaign: Campaign, *starting: str) -> None:
        self.books.keep(campaign, (*self.convoy.moving, *starting))

    def _start(self, keys: tuple[str, ...], campaign: Campaign, at: Picture) -> Campaign:
        """Let nodes set out: the run's record first, then each node's journal, then its first step."""
        for key in keys:
            node = at.nodes.get(key)
            if node is not None and node.mode is Mode.VALIDATOR:
                sight = at.sights[key]
                campaign = campaign.sign(key, Signing(sight.address if sight.signs else "", at.now))
        self._keep(campaign, *keys)
        without: dict[str, str] = {}
        for key in keys:
            begun = self.begin(key, campaign)
            if isinstance(begun, Record):
                self.convoy.add(begun)
            else:
                without[key] = begun
        if without:
            campaign = campaign.come_out(without)
            for key in without:
                campaign = campaign.sign(key, None)
            self._keep(campaign)
        return campaign

    def _turned(self, record: Record) -> Record:
        """Give the record of a node that goes back to where it was; raises ``LookupError`` if it is gone."""
        view = self.observer.look(record.namespace, record.name)
        to = StageName.HOLD if record.held_before else None
        return beginning.go_back(record, view, self.options, to, self.ports.clock.now())

    def _back(self, key: str, reason: str, campaign: Campaign) -> Campaign:
        """Bring a node back that had moved; one that was deleted meanwhile has no way back."""
        self._keep(campaign, key)
        record = self.journal.load(*key.split("/", 1))
        try:
            assert record is not None
            failure = reason if key in campaign.failed else None
            self.convoy.add(replace(self._turned(record), failure=failure))
        except LookupError:
            campaign = replace(campaign, undo=tuple(other for other in campaign.undo if other != key))
        self._keep(campaign)
        return campaign
