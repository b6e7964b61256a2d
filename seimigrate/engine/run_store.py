"""The record of the run: its spec, its nodes in progress and its campaign. Only the lock's holder writes it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace

from pydantic import TypeAdapter, ValidationError

from seimigrate.domain.fleet.campaign import Campaign
from seimigrate.domain.kube.kinds import RUN_NAME, SYSTEM_NAMESPACE, Kind, Object
from seimigrate.domain.node.record import Record, first_error
from seimigrate.domain.node.run_spec import RunSpec
from seimigrate.engine.errors import SeimigrateError
from seimigrate.engine.journal import KEY, config_map_of, write_config_map
from seimigrate.engine.ports import Cluster, Lock

IN_PROGRESS = "in-progress"
"""The state of a node in progress in the run's record."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The current run, or the last one; ``nodes`` are those in progress or without a final outcome.

    ``campaign`` is the cutover's, and outlives the run until it is finished. ``sweep`` is the campaign of a hold or a
    rollback, and belongs to this run alone. ``exit_code`` is the one with which a Job's run finished.
    """

    run: str
    holder: str
    migration: str
    plan: str
    started: float
    spec: RunSpec
    nodes: dict[str, str] = field(default_factory=dict)
    campaign: Campaign | None = None
    sweep: Campaign | None = None
    exit_code: int | None = None
    version: int = 1

    @property
    def current(self) -> Campaign | None:
        """Return the campaign that this run works on."""
        return self.sweep if self.sweep is not None else self.campaign

    @property
    def in_progress(self) -> list[str]:
        """Return the nodes in progress."""
        return [key for key, state in self.nodes.items() if state == IN_PROGRESS]

    def is_of(self, job: str) -> bool:
        """Return whether a pod of the Job of this saved plan (its digest) started the campaign."""
        return job != "" and self.campaign is not None and self.campaign.job == job

    @property
    def is_unfinished_job(self) -> bool:
        """Return whether this is the run of a Job, and its next pod has something to continue."""
        return self.campaign is not None and self.campaign.job != "" and self.campaign.unfinished(self.in_progress)


_READER = TypeAdapter(RunRecord)


class RunJournal:
    """Stores the record of the run."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._known: Object | None = None

    def load(self) -> RunRecord | None:
        """Return the record of the last run, ``None`` if there never was one."""
        self._known = self._cluster.get(Kind.CONFIG_MAP, SYSTEM_NAMESPACE, RUN_NAME)
        if self._known is None:
            return None
        try:
            record = _READER.validate_json(self._known.get("data", {}).get(KEY, ""))
        except ValidationError as error:
            raise _damaged(first_error(error)) from None
        if record.version != 1:
            raise _damaged(f"version {record.version!r}")
        return record

    def save(self, record: RunRecord) -> None:
        """Write the record; raises ``LockHeld`` if another client wrote it since it was read."""
        text = json.dumps(asdict(record), sort_keys=True, separators=(",", ":"))
        body = config_map_of(SYSTEM_NAMESPACE, RUN_NAME, record.migration, text)
        self._known = write_config_map(self._cluster, self._known, body)


def _damaged(what: str) -> SeimigrateError:
    return SeimigrateError(
        f"ConfigMap {SYSTEM_NAMESPACE}/{RUN_NAME}, the run's record, is damaged: {what}",
        hint=f"review it: kubectl -n {SYSTEM_NAMESPACE} get cm {RUN_NAME} -o yaml",
    )


class RunStore:
    """Keeps the record of one live run."""

    def __init__(self, cluster: Cluster, lock: Lock) -> None:
        self._journal = RunJournal(cluster)
        self._lock = lock
        self._record: RunRecord | None = None

    @property
    def record(self) -> RunRecord:
        """Return the record as it was last written, with the changes that the next write includes."""
        assert self._record is not None
        return self._record

    def load(self, record: RunRecord) -> None:
        """Write a new run's record; it keeps the nodes in progress and the campaigns of the last run."""
        last = self._journal.load()
        kept = record if last is None else replace(record, nodes=last.nodes, campaign=last.campaign, sweep=last.sweep)
        self._record = kept
        self._save()

    def save_campaign(self, campaign: Campaign, in_progress: tuple[str, ...]) -> None:
        """Write the cutover's campaign; ``in_progress`` are all nodes in progress, or about to start."""
        others = {k: state for k, state in self.record.nodes.items() if state != IN_PROGRESS and k not in in_progress}
        nodes = {**others, **dict.fromkeys(in_progress, IN_PROGRESS)}
        self._record = replace(self.record, nodes=nodes, campaign=campaign, sweep=None)
        self._save()

    def save_sweep(self, sweep: Campaign, in_progress: tuple[str, ...]) -> None:
        """Write a sweep's campaign; nodes that an earlier run left in progress stay so until their turn comes."""
        nodes = {**self.record.nodes, **dict.fromkeys(in_progress, IN_PROGRESS)}
        self._record = replace(self.record, nodes=nodes, sweep=sweep)
        self._save()

    def mark_finished(self, key: str, record: Record | None, campaign: Campaign | None = None) -> None:
        """Write that a node finished, and the campaign after that."""
        self.set_finished(key, record)
        self._record = replace(self.record, campaign=campaign or self.record.campaign)
        self._save()

    def save_exit_code(self, code: int) -> None:
        """Write the exit code with which the run finished."""
        self._record = replace(self.record, exit_code=code)
        self._save()

    def set_finished(self, key: str, record: Record | None) -> None:
        """Take in how a node finished; the next write includes it."""
        nodes = {other: state for other, state in self.record.nodes.items() if other != key}
        if record is not None and record.unfinished and record.outcome:
            nodes[key] = record.outcome.value
        self._record = replace(self.record, nodes=nodes)

    def _save(self) -> None:
        self._lock.check()
        self._journal.save(self.record)
