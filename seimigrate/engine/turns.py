"""Nodes that follow each other without a campaign: to the hold, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from seimigrate.domain.node.record import Record
from seimigrate.engine.executor import MAX_WORKERS
from seimigrate.engine.fleet_loop import POLL_INTERVAL
from seimigrate.engine.in_flight import InFlightNodes
from seimigrate.engine.node_worker import Ports
from seimigrate.engine.results import Key, Result
from seimigrate.engine.run_control import ControlServer, reject_unsupported
from seimigrate.engine.run_store import RunStore

StartNode = Callable[[Key], Result | Record]
"""Gives the record with which a node sets out, or how it came out without setting out."""
Room = Callable[[], Callable[[Key], bool]]
"""Looks at what there is room for now; what it gives tells of a node whether it may be the next one."""


@dataclass
class Turns:
    """Carries nodes in order; ``room`` is asked at each look, and after each node that set out.

    ``settle`` waits for the steps that are being done, and ``left`` tells whether the run is to leave.
    """

    ports: Ports
    in_flight: InFlightNodes
    control: ControlServer
    store: RunStore
    settle: Callable[[], None]
    meanwhile: Callable[[], None]
    left: Callable[[], bool]
    room: Room | None = None

    def __post_init__(self) -> None:
        """Start with nobody on the way."""
        self._waiting: list[Key] = []
        self._results: dict[str, Result] = {}

    def carry(self, keys: Sequence[Key], begin: StartNode, last: Callable[[Result], bool]) -> list[Result]:
        """Carry nodes until ``last`` says of a result that no other one follows; give the results in order."""
        self._waiting, due = [*keys], 0.0
        while self._waiting or self.in_flight.in_progress:
            if self._waiting and self.ports.clock.now() >= due:
                self._set_out(begin, last)
                due = self.ports.clock.now() + POLL_INTERVAL
            self._step()
            if self._collect(last):
                due = 0.0
            if self.left():
                self.settle()
                break
        return [self._results[key] for key in ("/".join(each) for each in keys) if key in self._results]

    def _set_out(self, begin: StartNode, last: Callable[[Result], bool]) -> None:
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
                self.store.mark_in_progress(begun.key)
                self.in_flight.add(begun)
                may = self._room()
            else:
                self._came_out("/".join(key), begun, last)

    def _room(self) -> Callable[[Key], bool]:
        if self.room is not None:
            return self.room()
        free = len(self.in_flight.in_progress) < MAX_WORKERS
        return lambda _: free

    def _collect(self, last: Callable[[Result], bool]) -> bool:
        """Take in who came to an end; tell whether anybody did."""
        ended = self.in_flight.collect_finished()
        for record in ended:
            self._came_out(record.key, Result(record.namespace, record.name, record=record), last)
            self.store.mark_finished(record.key, record)
        return bool(ended)

    def _came_out(self, key: str, result: Result, last: Callable[[Result], bool]) -> None:
        self._results[key] = result
        if last(result):
            self._waiting.clear()

    def _step(self) -> None:
        """Let each node do its next step; answer wishes, that there is no campaign; wait if nothing is to be done."""
        if asked := self.control.pending_requests():
            self.control.reply(reject_unsupported(asked))
        self.meanwhile()
        self.in_flight.start_due_steps()
        if (
            self.in_flight.in_progress
            and (seconds := min(self.in_flight.idle_until() - self.ports.clock.now(), 1.0)) > 0
        ):
            self.ports.cache.wait_for_change(seconds)
