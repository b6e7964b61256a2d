"""The run's record while the run lives: what moves, and how far its campaign is. Only the lock's holder writes it."""

from __future__ import annotations

from dataclasses import replace

from seimigrate.domain.fleet.campaign import Campaign
from seimigrate.domain.node.record import Record
from seimigrate.engine.journal import IN_PROGRESS, RunJournal, RunRecord
from seimigrate.engine.ports import Cluster, Lock


class RunStore:
    """Keeps the record of one run."""

    def __init__(self, cluster: Cluster, lock: Lock) -> None:
        self._journal = RunJournal(cluster)
        self._lock = lock
        self._about: RunRecord | None = None

    @property
    def record(self) -> RunRecord:
        """Give the record as it is kept now."""
        assert self._about is not None
        return self._about

    def load(self, about: RunRecord) -> None:
        """Begin, with what an earlier run left on its way and with its campaign."""
        last = self._journal.load()
        self._about = replace(about, nodes=dict(last.nodes), campaign=last.campaign) if last is not None else about
        self._save()

    def save_campaign(self, campaign: Campaign, moving: tuple[str, ...]) -> None:
        """Write how far the campaign is; ``moving`` are the nodes on their way or about to be."""
        others = {key: state for key, state in self.record.nodes.items() if state != IN_PROGRESS and key not in moving}
        self._about = replace(self.record, nodes={**others, **dict.fromkeys(moving, IN_PROGRESS)}, campaign=campaign)
        self._save()

    def mark_in_progress(self, key: str) -> None:
        """Write that a node is on its way."""
        self._mark(key, IN_PROGRESS)
        self._save()

    def mark_finished(self, key: str, record: Record | None, campaign: Campaign | None = None) -> None:
        """Write that a node has come to an end, and what that makes of the campaign."""
        self.set_finished(key, record)
        self._about = replace(self.record, campaign=campaign or self.record.campaign)
        self._save()

    def save_exit_code(self, code: int) -> None:
        """Write with what exit code the run came to its end."""
        self._about = replace(self.record, exit_code=code)
        self._save()

    def set_finished(self, key: str, record: Record | None) -> None:
        """Take in how a node came out; what is written next says so."""
        self._mark(key, record.outcome.value if record is not None and record.unfinished and record.outcome else None)

    def _mark(self, key: str, state: str | None) -> None:
        nodes = {other: how for other, how in self.record.nodes.items() if other != key}
        self._about = replace(self.record, nodes=nodes if state is None else {**nodes, key: state})

    def _save(self) -> None:
        self._lock.check()
        self._journal.save(self.record)
