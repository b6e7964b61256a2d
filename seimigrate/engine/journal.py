"""The journal: one ConfigMap a node, in its namespace, and one for the run. A way back needs nothing else.

Each write replaces exactly the version that was read, so two runs can never both write one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from pydantic import TypeAdapter, ValidationError

from seimigrate.domain.fleet.campaign import Campaign
from seimigrate.domain.kube.kinds import JOURNAL_PREFIX, MIGRATION_LABEL, RUN_NAME, SYSTEM_NAMESPACE, Kind, Object
from seimigrate.domain.node import record as records
from seimigrate.domain.node.record import InvalidRecord, Record, first_error
from seimigrate.engine.errors import Conflict, LockHeld, SeimigrateError, Unreachable
from seimigrate.engine.ports import Cluster

MANAGED_BY = "app.kubernetes.io/managed-by"
KEY = "record"


def is_journal(config_map: Object) -> bool:
    """Tell whether a ConfigMap is one of ours."""
    labels = config_map["metadata"].get("labels") or {}
    return labels.get(MANAGED_BY) == "seimigrate" and MIGRATION_LABEL in labels


def read(config_map: Object) -> Record:
    """Read a node's record; raises ``SeimigrateError`` for a foreign or damaged journal."""
    meta = config_map["metadata"]
    where = f"ConfigMap {meta['namespace']}/{meta['name']}"
    look = f"kubectl -n {meta['namespace']} get cm {meta['name']}"
    if not is_journal(config_map):
        raise SeimigrateError(
            f"{where} has the name of a journal, but is not seimigrate's",
            hint=f"look at it ({look} -o yaml), and rename or delete it",
        )
    try:
        record = records.parse(config_map.get("data", {}).get(KEY, ""))
    except InvalidRecord as error:
        raise SeimigrateError(
            f"{where}, the journal of a node, is damaged: {error}",
            hint=f"look at it ({look} -o yaml) and restore it; without it the node's way back is unknown",
        ) from error
    if (record.namespace, JOURNAL_PREFIX + record.name) != (meta["namespace"], meta["name"]):
        raise SeimigrateError(
            f"{where} is the journal of another node, {record.key}",
            hint=f"look at it ({look} -o yaml): somebody copied it",
        )
    return record


class Journal:
    """The nodes' records, as this run last read or wrote them."""

    def __init__(self, cluster: Cluster, migration: str) -> None:
        self._cluster = cluster
        self._migration = migration
        self._known: dict[tuple[str, str], Object] = {}
        self._read: set[str] = set()

    def read_all(self, namespaces: Iterable[str]) -> None:
        """Read all records in some namespaces (``""``: all) at once; what is damaged is told when it is needed.

        From then on nothing is read again: whoever else wrote one would make the next write of it fail.
        """
        for namespace in namespaces:
            self._read.add(namespace)
            for found in self._cluster.list(Kind.CONFIG_MAP, namespace, f"{MANAGED_BY}=seimigrate"):
                meta = found["metadata"]
                self._known[meta["namespace"], meta["name"].removeprefix(JOURNAL_PREFIX)] = found

    def load(self, namespace: str, name: str, *, fresh: bool = False) -> Record | None:
        """Read a node's record, ``None`` if it has none yet; ``fresh`` asks the API server in any case."""
        key = (namespace, name)
        if fresh or not {"", namespace} & self._read:
            found = self._cluster.get(Kind.CONFIG_MAP, namespace, JOURNAL_PREFIX + name)
            self._known.pop(key, None)
            if found is not None:
                self._known[key] = found
        return read(self._known[key]) if key in self._known else None

    def save(self, record: Record) -> Record:
        """Write a node's record; raises ``LockedByAnother`` if somebody else wrote it meanwhile."""
        key = (record.namespace, record.name)
        body = _config_map(record.namespace, JOURNAL_PREFIX + record.name, self._migration, record.to_json())
        self._known[key] = _write(self._cluster, self._known.get(key), body)
        return record


IN_PROGRESS = "in-progress"
"""What the run's record says of a node that is on its way."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What the present run, or the last one, is about; ``nodes`` are those that are not at an end.

    While it lives, it looks after the held nodes in ``namespaces`` (``""``: all). ``code`` is the exit code with
    which a Job's run came to its end.
    """

    run: str
    holder: str
    command: str
    migration: str
    plan: str
    started: float
    nodes: dict[str, str] = field(default_factory=dict)
    namespaces: tuple[str, ...] = ("",)
    campaign: Campaign | None = None
    exit_code: int | None = None
    version: int = 1

    @property
    def in_progress(self) -> list[str]:
        """Give the nodes on their way."""
        return [key for key, state in self.nodes.items() if state == IN_PROGRESS]

    def is_of(self, job: str) -> bool:
        """Tell whether the campaign was begun by a Job's pod, from the saved plan with this digest."""
        return job != "" and self.campaign is not None and self.campaign.job == job

    @property
    def is_unfinished_job(self) -> bool:
        """Tell whether this is a Job's, which leaves something for its next pod to go on with."""
        return self.campaign is not None and self.campaign.job != "" and self.campaign.unfinished(self.in_progress)


_READER = TypeAdapter(RunRecord)


class RunJournal:
    """The run's own record."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._known: Object | None = None

    def load(self) -> RunRecord | None:
        """Read the last run's record, ``None`` if there never was one."""
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
        """Write the run's record; raises ``LockedByAnother`` if somebody else wrote it meanwhile."""
        text = json.dumps(asdict(record), sort_keys=True, separators=(",", ":"))
        body = _config_map(SYSTEM_NAMESPACE, RUN_NAME, record.migration, text)
        self._known = _write(self._cluster, self._known, body)


def _damaged(what: str) -> SeimigrateError:
    return SeimigrateError(
        f"ConfigMap {SYSTEM_NAMESPACE}/{RUN_NAME}, the run's record, is damaged: {what}",
        hint=f"look at it: kubectl -n {SYSTEM_NAMESPACE} get cm {RUN_NAME} -o yaml",
    )


def _config_map(namespace: str, name: str, migration: str, text: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "namespace": namespace,
            "name": name,
            "labels": {MANAGED_BY: "seimigrate", MIGRATION_LABEL: migration},
        },
        "data": {KEY: text},
    }


def _write(cluster: Cluster, known: Object | None, body: Object) -> Object:
    try:
        if known is None:
            return cluster.create(Kind.CONFIG_MAP, body)
        body["metadata"]["resourceVersion"] = known["metadata"]["resourceVersion"]
        return cluster.replace(Kind.CONFIG_MAP, body)
    except (Conflict, Unreachable) as error:
        meta = body["metadata"]
        found = cluster.get(Kind.CONFIG_MAP, meta["namespace"], meta["name"])
        if found is not None and found.get("data") == body["data"]:
            return found  # it was written: only the answer was lost
        if isinstance(error, Unreachable):
            raise
        if found is not None and not is_journal(found):
            read(found)  # tells whose it is
        where = f"{body['metadata']['namespace']}/{body['metadata']['name']}"
        raise LockHeld(
            f"journal {where} was written by somebody else meanwhile",
            hint="see who runs: seimigrate status",
        ) from error
