"""Kubernetes Events about the SeiNodes that a run moves, for whoever looks with ``kubectl describe seinode``.

They are for people: nothing depends on them, and one that could not be written is forgotten. Objects of
events.k8s.io/v1; the API server keeps them for an hour. The SeiNodes themselves are not written to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

from seimigrate.domain.fleet.events import EventType, RunEvent
from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.domain.node.record import Direction, Outcome, Record
from seimigrate.engine.errors import ApiError
from seimigrate.engine.ports import Clock, Cluster

CONTROLLER = "seimigrate.sei.io/run"
MAX_NOTE_LENGTH = 1024
"""Bytes that a note may have (events.k8s.io/v1)."""
MAX_NAME_LENGTH = 128
_REASONS = {
    Outcome.DONE: "CutoverSucceeded",
    Outcome.DONE_HELD: "CutoverSucceededHeld",
    Outcome.ROLLED_BACK: "RolledBack",
    Outcome.ROLLED_BACK_HELD: "RolledBackHeld",
    Outcome.HELD: "Held",
    Outcome.BLOCKED: "CutoverBlocked",
    Outcome.PAUSED: "CutoverPaused",
    Outcome.FAILED: "CutoverFailed",
}


class Recorder:
    """A watcher of a run that writes Events; ``who`` is the process, ``missed`` is told what could not be written."""

    def __init__(self, cluster: Cluster, clock: Clock, who: str, on_error: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._clock = clock
        self._who = who[:MAX_NAME_LENGTH]
        self._missed = on_error
        self._count = 0

    def __call__(self, event: RunEvent) -> None:
        """Write an Event, if this is something that people look for in a SeiNode's events."""
        if event.record is None or (reason := _reason(event, event.record)) is None:
            return
        self._count += 1
        try:
            self._cluster.create(Kind.EVENT, self._event(event, event.record, reason))
        except ApiError as error:
            self._missed(f"no Kubernetes Event was written: {error.message}")

    def _event(self, event: RunEvent, record: Record, reason: str) -> Object:
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        seed = f"{record.uid} {record.run} {now.isoformat()} {self._count}"
        note = event.message if event.type is not EventType.STAGE else f"stage {record.stage} started"
        return {
            "apiVersion": Kind.EVENT.resource.api_version,
            "kind": Kind.EVENT.resource.kind,
            "metadata": {
                "namespace": record.namespace,
                "name": f"{record.name[:200]}.{hashlib.sha256(seed.encode()).hexdigest()[:16]}",
            },
            "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "type": "Warning" if event.is_warning else "Normal",
            "reason": reason,
            "action": "Rollback" if record.direction is Direction.ROLLBACK else "Cutover",
            "note": note.encode()[:MAX_NOTE_LENGTH].decode(errors="ignore"),
            "reportingController": CONTROLLER,
            "reportingInstance": self._who,
            "regarding": {
                "apiVersion": Kind.SEI_NODE.resource.api_version,
                "kind": Kind.SEI_NODE.resource.kind,
                "namespace": record.namespace,
                "name": record.name,
                "uid": record.uid,
            },
        }


def _reason(event: RunEvent, record: Record) -> str | None:
    match event.type:
        case EventType.STAGE:
            return "RollbackStarted" if record.direction is Direction.ROLLBACK else "StageStarted"
        case EventType.FAILED:
            return "StageFailed"
        case EventType.OUTCOME:
            return _REASONS[record.outcome] if record.outcome else None
        case _:
            return None
