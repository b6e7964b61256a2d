"""The nodes that are on their way: each has at most one step being done, and rests until something of it changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from seimigrate.domain.record import Direction, Record
from seimigrate.engine.journal import Journal
from seimigrate.engine.observer import Observer
from seimigrate.engine.runner import Ports, Runner, Stepped


@dataclass
class _Traveller:
    record: Record
    doing: Future[Stepped] | None = None
    rests_until: float = 0.0
    versions: tuple[str, ...] = ()


class Convoy:
    """Gets the nodes on their way further, all of them side by side; the journal is written with each step."""

    def __init__(self, ports: Ports, runner: Runner, journal: Journal, observer: Observer, crew: Executor) -> None:
        self._ports = ports
        self._runner = runner
        self._journal = journal
        self._observer = observer
        self._crew = crew
        self._travellers: dict[str, _Traveller] = {}

    @property
    def moving(self) -> Mapping[str, Direction]:
        """Give the nodes on their way, and in which direction."""
        return {key: traveller.record.direction for key, traveller in self._travellers.items()}

    def add(self, record: Record) -> None:
        """Let a node set out, or go on."""
        self._travellers[record.key] = _Traveller(self._journal.save(record))

    def turn(self, key: str, turned: Callable[[Record], Record]) -> bool:
        """Let a node go on with another record, once its present step is done; tell whether that is so."""
        traveller = self._travellers.get(key)
        if traveller is None or traveller.doing is not None:
            return False
        self.add(turned(traveller.record))
        return True

    def collect(self) -> list[Record]:
        """Take in the steps that are done; give the records of the nodes that have come to an end.

        Raises what a step raised.
        """
        ended = []
        for key, traveller in list(self._travellers.items()):
            if traveller.doing is None or not traveller.doing.done():
                continue
            stepped, traveller.doing = traveller.doing.result(), None
            traveller.record = stepped.record
            traveller.rests_until = self._ports.clock.now() + stepped.wait if stepped.wait else 0.0
            if stepped.ended:
                del self._travellers[key]
                ended.append(stepped.record)
        return ended

    def go_on(self) -> None:
        """Begin a step of each node that has something to do."""
        for traveller in list(self._travellers.values()):
            if traveller.doing is None and not self._rests(traveller):
                record = traveller.record
                traveller.versions = self._observer.versions(record.namespace, record.name)
                traveller.doing = self._crew.submit(self._runner.step, record)
                traveller.doing.add_done_callback(lambda _: self._ports.view.wake())

    def _rests(self, traveller: _Traveller) -> bool:
        if self._ports.clock.now() >= traveller.rests_until:
            return False
        record = traveller.record
        return self._observer.versions(record.namespace, record.name) == traveller.versions

    def busy(self) -> bool:
        """Tell whether a step is being done."""
        return any(each.doing is not None for each in self._travellers.values())

    def rests_until(self) -> float:
        """Give the time until which no node has anything to do unless something changes; 0 if one has."""
        idle = [each.rests_until for each in self._travellers.values() if each.doing is None]
        done = any(each.doing is not None and each.doing.done() for each in self._travellers.values())
        return 0.0 if done else min(idle, default=float("inf"))
