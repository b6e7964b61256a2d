"""Manual rollback for operators with kubectl only: the exact JSON Patches that revert a node's objects.

The patches are those that the step ``revert`` would send, from the same changes, but without the test of the fencing
token, because a manual rollback has no run. The patch of the StatefulSet also freezes it, so that the controller does
not replace the pod.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seimigrate.domain.kube import changes as changing
from seimigrate.domain.kube.changes import Change, Operation, State
from seimigrate.domain.kube.kinds import FREEZE_PATH, Object
from seimigrate.domain.node import observation, preflight, transforms
from seimigrate.domain.node.observation import NodeObservation
from seimigrate.domain.node.record import Record
from seimigrate.domain.plan.plan import Plan, StageName, Strategy


@dataclass(frozen=True, slots=True)
class Patches:
    """A JSON Patch per object, with a test of every value it replaces; ``skipped`` are externally changed fields."""

    statefulset: tuple[Operation, ...]
    service: tuple[Operation, ...]
    skipped: tuple[str, ...] = ()


NOTHING = Patches((), ())


def rollback_patches(record: Record, observed: NodeObservation) -> Patches:
    """Return the patches that revert a node from its current state.

    An intended write that may have been executed counts if the objects show that it was. Raises ``LookupError`` if the
    node has no StatefulSet.
    """
    pending = record.intent.changes if record.intent is not None else ()
    intended = tuple(change for change in pending if not change.path.startswith("metadata."))
    recorded = {(change.kind, change.path) for change in record.changes}
    changes = (*record.changes, *(change for change in intended if (change.kind, change.path) not in recorded))
    return _patches(changes, observed.statefulset, observed.service)


def planned_rollback_patches(
    stage: StageName, record: Record | None, observed: NodeObservation, plan: Plan, strategy: Strategy
) -> Patches:
    """Return the patches that would revert a node from the end of a stage, before its cutover starts.

    Raises ``LookupError`` if the node has no StatefulSet, ``shapes.NotASeiNodePod`` if its pod is not a SeiNode's.
    """
    if observed.statefulset is None:
        raise LookupError("the node has no StatefulSet")
    ahead = preflight.pending_changes(observed, plan).changes
    writes = transforms.batches(observed.statefulset, ahead, plan.parameters, merged=strategy is Strategy.MERGED)
    due = [change for last, batch in writes for change in batch if last.position <= stage.position]
    by_kind = {kind: [c for c in due if c.kind == kind] for kind in (transforms.STATEFUL_SET, transforms.SERVICE)}
    statefulset = changing.apply(observed.statefulset, by_kind[transforms.STATEFUL_SET])
    service = changing.apply(observed.service, by_kind[transforms.SERVICE]) if observed.service else None
    done = record.changes if record is not None else ()
    return _patches((*done, *due), statefulset, service)


def _patches(changes: Sequence[Change], statefulset: Object | None, service: Object | None) -> Patches:
    if statefulset is None:
        raise LookupError("the node has no StatefulSet")
    frozen = observation.is_frozen(statefulset)
    freeze = Change(StageName.HOLD, transforms.STATEFUL_SET, FREEZE_PATH, None, "moving")
    reverts = _revert_changes(changes, transforms.STATEFUL_SET, statefulset)
    return Patches(
        statefulset=_patch(statefulset, reverts if frozen or not reverts else [freeze, *reverts]),
        service=_patch(service, _revert_changes(changes, transforms.SERVICE, service)) if service is not None else (),
        skipped=tuple(
            f"{c.kind} {c.path}" for c in changes if c.state(_target(c, statefulset, service)) is State.OTHER
        ),
    )


def _target(change: Change, statefulset: Object, service: Object | None) -> Object:
    return statefulset if change.kind == transforms.STATEFUL_SET else (service or {})


def _revert_changes(changes: Sequence[Change], kind: str, obj: Object | None) -> list[Change]:
    newest_first = (change for change in reversed(changes) if change.kind == kind and obj is not None)
    return [change.inverse for change in newest_first if change.state(obj or {}) is State.AFTER]


def _patch(obj: Object, changes: Sequence[Change]) -> tuple[Operation, ...]:
    operations = changing.to_patch(obj, changes)
    uid: Operation = {"op": "test", "path": "/metadata/uid", "value": obj["metadata"]["uid"]}
    return (uid, *operations) if operations else ()
