"""The nodes in progress: each has at most one step running, and is idle until something about it changes."""

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
    """Advances the nodes in progress concurrently; each step writes the node's journal."""

    def __init__(
        self, ports: Ports, worker: NodeWorker, journal: Journal, observer: Observer, executor: Executor
    ) -> None:
        self._ports = ports
        self._worker = worker
        self._journal = journal
        self._observer = observer
        self._executor = executor
        self._entries: dict[str, _InFlight] = {}

    @property
    def in_progress(self) -> Mapping[str, Direction]:
        """Return the nodes in progress, each with its direction."""
        return {key: entry.record.direction for key, entry in self._entries.items()}

    def add(self, record: Record) -> None:
        """Start a node, or resume it, with this record."""
        self._entries[record.key] = _InFlight(self._journal.save(record))

    def redirect(self, key: str, redirected: Callable[[Record], Record]) -> bool:
        """Give a node another record between two of its steps; return whether that was possible now."""
        entry = self._entries.get(key)
        if entry is None or entry.step is not None:
            return False
        self.add(redirected(entry.record))
        return True

    def collect_finished(self) -> list[Record]:
        """Take in the steps that are done; return the records of the nodes that finished. Raises what a step raised."""
        finished = []
        for key, entry in list(self._entries.items()):
            if entry.step is None or not entry.step.done():
                continue
            result, entry.step = entry.step.result(), None
            entry.record = result.record
            entry.idle_until = self._ports.clock.now() + result.requeue_after if result.requeue_after else 0.0
            if result.finished:
                del self._entries[key]
                finished.append(result.record)
        return finished

    def start_due_steps(self) -> None:
        """Start a step of each node that is not idle."""
        for entry in list(self._entries.values()):
            if entry.step is None and not self._is_idle(entry):
                record = entry.record
                entry.versions = self._observer.versions(record.namespace, record.name)
                entry.step = self._executor.submit(self._worker.step, record)
                entry.step.add_done_callback(lambda _: self._ports.cache.notify())

    def _is_idle(self, entry: _InFlight) -> bool:
        if self._ports.clock.now() >= entry.idle_until:
            return False
        record = entry.record
        return self._observer.versions(record.namespace, record.name) == entry.versions

    def has_running_steps(self) -> bool:
        """Return whether a step is running."""
        return any(entry.step is not None for entry in self._entries.values())

    def idle_until(self) -> float:
        """Return the time until which every node is idle unless something changes; 0 if a step is done."""
        idle = [entry.idle_until for entry in self._entries.values() if entry.step is None]
        done = any(entry.step is not None and entry.step.done() for entry in self._entries.values())
        return 0.0 if done else min(idle, default=float("inf"))
