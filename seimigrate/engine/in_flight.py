"""The nodes that are on their way: each has at most one step being done, and rests until something of it changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from seimigrate.domain.node.record import Direction, Record
from seimigrate.engine.journal import Journal
from seimigrate.engine.node_observer import Observer
from seimigrate.engine.node_worker import NodeWorker, Ports, StepResult


@dataclass
class _InFlight:
    record: Record
    step: Future[StepResult] | None = None
    idle_until: float = 0.0
    versions: tuple[str, ...] = ()


class InFlightNodes:
    """Gets the nodes on their way further, all of them side by side; the journal is written with each step."""

    def __init__(
        self, ports: Ports, runner: NodeWorker, journal: Journal, observer: Observer, executor: Executor
    ) -> None:
        self._ports = ports
        self._runner = runner
        self._journal = journal
        self._observer = observer
        self._crew = executor
        self._travellers: dict[str, _InFlight] = {}

    @property
    def in_progress(self) -> Mapping[str, Direction]:
        """Give the nodes on their way, and in which direction."""
        return {key: entry.record.direction for key, entry in self._travellers.items()}

    def add(self, record: Record) -> None:
        """Let a node set out, or go on."""
        self._travellers[record.key] = _InFlight(self._journal.save(record))

    def redirect(self, key: str, turned: Callable[[Record], Record]) -> bool:
        """Let a node go on with another record, once its present step is done; tell whether that is so."""
        entry = self._travellers.get(key)
        if entry is None or entry.step is not None:
            return False
        self.add(turned(entry.record))
        return True

    def collect_finished(self) -> list[Record]:
        """Take in the steps that are done; give the records of the nodes that have come to an end.

        Raises what a step raised.
        """
        ended = []
        for key, entry in list(self._travellers.items()):
            if entry.step is None or not entry.step.done():
                continue
            stepped, entry.step = entry.step.result(), None
            entry.record = stepped.record
            entry.idle_until = self._ports.clock.now() + stepped.requeue_after if stepped.requeue_after else 0.0
            if stepped.finished:
                del self._travellers[key]
                ended.append(stepped.record)
        return ended

    def start_due_steps(self) -> None:
        """Begin a step of each node that has something to do."""
        for entry in list(self._travellers.values()):
            if entry.step is None and not self._is_idle(entry):
                record = entry.record
                entry.versions = self._observer.versions(record.namespace, record.name)
                entry.step = self._crew.submit(self._runner.step, record)
                entry.step.add_done_callback(lambda _: self._ports.cache.notify())

    def _is_idle(self, entry: _InFlight) -> bool:
        if self._ports.clock.now() >= entry.idle_until:
            return False
        record = entry.record
        return self._observer.versions(record.namespace, record.name) == entry.versions

    def has_running_steps(self) -> bool:
        """Tell whether a step is being done."""
        return any(each.step is not None for each in self._travellers.values())

    def idle_until(self) -> float:
        """Give the time until which no node has anything to do unless something changes; 0 if one has."""
        idle = [each.idle_until for each in self._travellers.values() if each.step is None]
        done = any(each.step is not None and each.step.done() for each in self._travellers.values())
        return 0.0 if done else min(idle, default=float("inf"))
