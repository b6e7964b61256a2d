"""The journal: one ConfigMap per node, in the node's namespace. A rollback needs nothing else.

Each write replaces exactly the version that was read, so two runs can never both write a journal.
"""

from __future__ import annotations

from collections.abc import Iterable

from seimigrate.domain.kube.kinds import JOURNAL_PREFIX, MIGRATION_LABEL, Kind, Object
from seimigrate.domain.node import record as records
from seimigrate.domain.node.record import InvalidRecord, Record
from seimigrate.engine.errors import Conflict, LockHeld, SeimigrateError, Unreachable
from seimigrate.engine.ports import Cluster

MANAGED_BY = "app.kubernetes.io/managed-by"
KEY = "record"


def is_journal(config_map: Object) -> bool:
    """Return whether a ConfigMap is a journal of seimigrate."""
    labels = config_map["metadata"].get("labels") or {}
    return labels.get(MANAGED_BY) == "seimigrate" and MIGRATION_LABEL in labels


def read(config_map: Object) -> Record:
    """Read a node's record; raises ``SeimigrateError`` for a foreign or damaged journal."""
    meta = config_map["metadata"]
    where = f"ConfigMap {meta['namespace']}/{meta['name']}"
    show = f"kubectl -n {meta['namespace']} get cm {meta['name']}"
    if not is_journal(config_map):
        raise SeimigrateError(
            f"{where} has the name of a journal but was not written by seimigrate",
            hint=f"review it ({show} -o yaml), then rename or delete it",
        )
    try:
        record = records.parse(config_map.get("data", {}).get(KEY, ""))
    except InvalidRecord as error:
        raise SeimigrateError(
            f"{where}, the journal of a node, is damaged: {error}",
            hint=f"review it ({show} -o yaml) and restore it; without it the node cannot be rolled back",
        ) from error
    if (record.namespace, JOURNAL_PREFIX + record.name) != (meta["namespace"], meta["name"]):
        raise SeimigrateError(
            f"{where} is the journal of another node, {record.key}",
            hint=f"review it ({show} -o yaml): another client copied it",
        )
    return record


class Journal:
    """Stores the records of nodes, as this run last read or wrote them."""

    def __init__(self, cluster: Cluster, migration: str) -> None:
        self._cluster = cluster
        self._migration = migration
        self._known: dict[tuple[str, str], Object] = {}
        self._read: set[str] = set()

    def read_all(self, namespaces: Iterable[str]) -> None:
        """Read all records in some namespaces (``""``: all); a damaged one is reported when it is used.

        Nothing is read again afterwards: after a write by another client, the next write of that record fails.
        """
        for namespace in namespaces:
            self._read.add(namespace)
            for found in self._cluster.list(Kind.CONFIG_MAP, namespace, f"{MANAGED_BY}=seimigrate"):
                meta = found["metadata"]
                self._known[meta["namespace"], meta["name"].removeprefix(JOURNAL_PREFIX)] = found

    def load(self, namespace: str, name: str, *, fresh: bool = False) -> Record | None:
        """Return a node's record, ``None`` if it has none; ``fresh`` always reads from the API server."""
        key = (namespace, name)
        if fresh or not {"", namespace} & self._read:
            found = self._cluster.get(Kind.CONFIG_MAP, namespace, JOURNAL_PREFIX + name)
            self._known.pop(key, None)
            if found is not None:
                self._known[key] = found
        return read(self._known[key]) if key in self._known else None

    def save(self, record: Record) -> Record:
        """Write a node's record; raises ``LockHeld`` if another client wrote it since it was read."""
        key = (record.namespace, record.name)
        body = config_map_of(record.namespace, JOURNAL_PREFIX + record.name, self._migration, record.to_json())
        self._known[key] = write_config_map(self._cluster, self._known.get(key), body)
        return record


def config_map_of(namespace: str, name: str, migration: str, text: str) -> Object:
    """Return the ConfigMap of a journal with this text."""
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


def write_config_map(cluster: Cluster, known: Object | None, body: Object) -> Object:
    """Write a journal over exactly the version that was read; raises ``LockHeld`` if another client wrote it since."""
    try:
        if known is None:
            return cluster.create(Kind.CONFIG_MAP, body)
        body["metadata"]["resourceVersion"] = known["metadata"]["resourceVersion"]
        return cluster.replace(Kind.CONFIG_MAP, body)
    except (Conflict, Unreachable) as error:
        meta = body["metadata"]
        found = cluster.get(Kind.CONFIG_MAP, meta["namespace"], meta["name"])
        if found is not None and found.get("data") == body["data"]:
            return found  # it was written: only the response was lost
        if isinstance(error, Unreachable):
            raise
        if found is not None and not is_journal(found):
            read(found)  # raises with the owner
        where = f"{body['metadata']['namespace']}/{body['metadata']['name']}"
        raise LockHeld(
            f"journal {where} was written by another client",
            hint="check which run is live: seimigrate status",
        ) from error
