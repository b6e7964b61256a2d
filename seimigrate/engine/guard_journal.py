"""The guard's journal: one ConfigMap beside the runs', so that a guard never writes into the journal of a run.

It has what is about to be sent to which sidecar, and the held nodes that the guard says it looks after. It is replaced
with its resourceVersion; whoever finds it changed looks again, and decides again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace

from pydantic import TypeAdapter, ValidationError

from seimigrate.domain.kube import leases
from seimigrate.domain.kube.kinds import MIGRATION_LABEL, SYSTEM_NAMESPACE, Kind, Object
from seimigrate.domain.node.guard_decision import MarkReadyState
from seimigrate.engine.errors import SeimigrateError
from seimigrate.engine.journal import KEY, MANAGED_BY
from seimigrate.engine.ports import Cluster

NAME = "seimigrate-guard"


@dataclass(frozen=True, slots=True)
class GuardRecord:
    """What the guards know; ``guard`` is the token of the one that looks after the nodes ``looks_after``."""

    guard: str = ""
    guarded_nodes: tuple[str, ...] = ()
    nodes: dict[str, MarkReadyState] = field(default_factory=dict)
    version: int = 1


_READER = TypeAdapter(GuardRecord)


def read(config_map: Object | None) -> GuardRecord:
    """Read the guard's journal, an empty one if there is none; raises ``SeimigrateError`` for a damaged one."""
    if config_map is None:
        return GuardRecord()
    try:
        record = _READER.validate_json(config_map.get("data", {}).get(KEY, ""))
    except ValidationError as error:
        raise SeimigrateError(
            f"ConfigMap {SYSTEM_NAMESPACE}/{NAME}, the guard's journal, is damaged: {error.errors()[0]['msg']}",
            hint=f"look at it, then delete it: kubectl -n {SYSTEM_NAMESPACE} get cm {NAME} -o yaml",
        ) from None
    return record


def guarded_nodes(config_map: Object | None, lease: Object) -> frozenset[str]:
    """Give the nodes that the guard which holds this Lease says it looks after; a guard before it does not count."""
    record = read(config_map)
    return frozenset(record.guarded_nodes) if record.guard == leases.token(lease) else frozenset()


class GuardJournal:
    """The guard's journal as it was last read or written here."""

    def __init__(self, cluster: Cluster, migration: str) -> None:
        self._cluster = cluster
        self._migration = migration
        self._found: Object | None = None
        self._record: GuardRecord | None = None

    @property
    def record(self) -> GuardRecord:
        """Give what it says, read if need be."""
        if self._record is None:
            self._found = self._cluster.get(Kind.CONFIG_MAP, SYSTEM_NAMESPACE, NAME)
            self._record = read(self._found)
        return self._record

    def invalidate(self) -> None:
        """Read it anew the next time."""
        self._record = None

    def load(self, key: str) -> MarkReadyState:
        """Give what is known of a node."""
        return self.record.nodes.get(key, MarkReadyState())

    def save(self, key: str, state: MarkReadyState) -> None:
        """Write what is known of a node; raises ``Conflict`` if somebody else wrote meanwhile."""
        nodes = {k: m for k, m in self.record.nodes.items() if k != key}
        self._write(replace(self.record, nodes=nodes if state == MarkReadyState() else {**nodes, key: state}))

    def set_guarded_nodes(self, token: str, keys: Iterable[str]) -> None:
        """Say which nodes the guard with this token looks after; what is known of nodes that it leaves is dropped."""
        now = tuple(sorted(keys))
        if (self.record.guard, self.record.guarded_nodes) == (token, now):
            return
        left = set(self.record.guarded_nodes) - set(now)
        nodes = {k: m for k, m in self.record.nodes.items() if k not in left}
        self._write(replace(self.record, guard=token, guarded_nodes=now, nodes=nodes))

    def _write(self, record: GuardRecord) -> None:
        labels = {MANAGED_BY: "seimigrate", MIGRATION_LABEL: self._migration}
        metadata = {"namespace": SYSTEM_NAMESPACE, "name": NAME, "labels": labels}
        text = json.dumps(asdict(record), sort_keys=True, indent=1)
        body: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {KEY: text}}
        found, self._record = self._found, None
        if found is None:
            self._found = self._cluster.create(Kind.CONFIG_MAP, body)
        else:
            metadata["resourceVersion"] = found["metadata"]["resourceVersion"]
            self._found = self._cluster.replace(Kind.CONFIG_MAP, body)
        self._record = record
