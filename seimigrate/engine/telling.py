"""Tells everybody who watches a run what happens in it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from seimigrate.domain.actions import Action
from seimigrate.domain.fleet.campaign import Campaign
from seimigrate.domain.fleet.picture import Picture
from seimigrate.domain.fleet.steps import Step
from seimigrate.domain.happenings import Happening, Story
from seimigrate.domain.progress import Progress
from seimigrate.domain.record import Record
from seimigrate.engine.ports import Clock

Watcher = Callable[[Happening], None]


class Teller:
    """The engine's ``Report``: each watcher is told of one thing after the other, whichever thread it comes from.

    ``progress`` is how far the run is, a value that may be read at any time.
    """

    def __init__(self, clock: Clock, *watchers: Watcher) -> None:
        self._clock = clock
        self._watchers = watchers
        self._story = Story()
        self._lock = threading.RLock()
        self.progress = Progress()

    def __call__(self, record: Record, action: Action) -> None:
        """Tell of an action that is about to be done for a node."""
        with self._lock:
            self.progress = self.progress.after(record, action, self._clock.now())
            self._tell(self._story.of(record, action))

    def fleet(self, campaign: Campaign, step: Step, at: Picture) -> None:
        """Tell of the run as a whole: its campaign, and the step that was decided."""
        with self._lock:
            self.progress = self.progress.at(campaign, step)
            self._tell(self._story.of_fleet(campaign, step))

    def _tell(self, happenings: list[Happening]) -> None:
        for happening in happenings:
            for watcher in self._watchers:
                watcher(happening)
