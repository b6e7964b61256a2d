"""Nodes that follow each other without a campaign: to the hold, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from seimigrate.domain.record import Record
from seimigrate.engine.books import Books
from seimigrate.engine.brake import Brake, without_campaign
from seimigrate.engine.convoy import Convoy
from seimigrate.engine.crew import HANDS
from seimigrate.engine.drive import PACE
from seimigrate.engine.results import Key, Result
from seimigrate.engine.runner import Ports

Begin = Callable[[Key], Result | Record]
"""Gives the record with which a node sets out, or how it came out without setting out."""
Room = Callable[[], Callable[[Key], bool]]
"""Looks at what there is room for now; what it gives tells of a node whether it may be the next one."""


@dataclass
class Turns:
    """Carries nodes in order; ``room`` is asked at each look, and after each node that set out.

    ``settle`` waits for the steps that are being done, and ``left`` tells whether the run is to leave.
    """

    ports: Ports
    convoy: Convoy
    brake: Brake
    books: Books
    settle: Callable[[], None]
    meanwhile: Callable[[], None]
    left: Callable[[], bool]
    room: Room | None = None

    def __post_init__(self) -> None:
        """Start with nobody on the way."""
        self._waiting: list[Key] = []
        self._results: dict[str, Result] = {}

    def carry(self, keys: Sequence[Key], begin: Begin, last: Callable[[Result], bool]) -> list[Result]:
        """Carry nodes until ``last`` says of a result that no other one follows; give the results in order."""
        self._waiting, due = [*keys], 0.0
        while self._waiting or self.convoy.moving:
            if self._waiting and self.ports.clock.now() >= due:
                self._set_out(begin, last)
                due = self.ports.clock.now() + PACE
            self._step()
            if self._collect(last):
                due = 0.0
            if self.left():
                self.settle()
                break
        return [self._results[key] for key in ("/".join(each) for each in keys) if key in self._results]

    def _set_out(self, begin: Begin, last: Callable[[Result], bool]) -> None:
        """Let those set out for whom there is room."""
        may = self._room()
        for key in tuple(self._waiting):
            if self.left() or not self._waiting:
                return
            if not may(key):
                continue
            self._waiting.remove(key)
            begun = begin(key)
            if isinstance(begun, Record):
                self.books.set_out(begun.key)
                self.convoy.add(begun)
                may = self._room()
            else:
                self._came_out("/".join(key), begun, last)

    def _room(self) -> Callable[[Key], bool]:
        if self.room is not None:
            return self.room()
        free = len(self.convoy.moving) < HANDS
        return lambda _: free

    def _collect(self, last: Callable[[Result], bool]) -> bool:
        """Take in who came to an end; tell whether anybody did."""
        ended = self.convoy.collect()
        for record in ended:
            self._came_out(record.key, Result(record.namespace, record.name, record=record), last)
            self.books.ended(record.key, record)
        return bool(ended)

    def _came_out(self, key: str, result: Result, last: Callable[[Result], bool]) -> None:
        self._results[key] = result
        if last(result):
            self._waiting.clear()

    def _step(self) -> None:
        """Let each node do its next step; answer wishes, that there is no campaign; wait if nothing is to be done."""
        if asked := self.brake.heard():
            self.brake.answer(without_campaign(asked))
        self.meanwhile()
        self.convoy.go_on()
        if self.convoy.moving and (seconds := min(self.convoy.rests_until() - self.ports.clock.now(), 1.0)) > 0:
            self.ports.view.wait(seconds)
