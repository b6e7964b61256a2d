"""Tells everybody who watches a run what happens in it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from seimigrate.domain.fleet.actions import FleetAction
from seimigrate.domain.fleet.campaign import Campaign
from seimigrate.domain.fleet.events import EventDeduplicator, RunEvent
from seimigrate.domain.fleet.observation import FleetObservation
from seimigrate.domain.fleet.progress import Progress
from seimigrate.domain.node.actions import Action
from seimigrate.domain.node.record import Record
from seimigrate.engine.ports import Clock

EventListener = Callable[[RunEvent], None]


class EventDispatcher:
    """The engine's ``Report``: each watcher is told of one thing after the other, whichever thread it comes from.

    ``progress`` is how far the run is, a value that may be read at any time.
    """

    def __init__(self, clock: Clock, *watchers: EventListener) -> None:
        self._clock = clock
        self._watchers = watchers
        self._story = EventDeduplicator()
        self._lock = threading.RLock()
        self.progress = Progress()

    def __call__(self, record: Record, action: Action) -> None:
        """Tell of an action that is about to be done for a node."""
        with self._lock:
            self.progress = self.progress.after(record, action, self._clock.now())
            self._dispatch(self._story.node_events(record, action))

    def on_fleet_action(self, campaign: Campaign, step: FleetAction, fleet: FleetObservation) -> None:
        """Tell of the run as a whole: its campaign, and the step that was decided."""
        with self._lock:
            self.progress = self.progress.at(campaign, step)
            self._dispatch(self._story.fleet_events(campaign, step))

    def _dispatch(self, happenings: list[RunEvent]) -> None:
        for event in happenings:
            for watcher in self._watchers:
                watcher(event)
