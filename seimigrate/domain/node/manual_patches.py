"""The way back for people who have kubectl alone: the exact JSON Patches that put a node's objects back.

They are those that ``unpatch`` would send, made from the same changes, but for the fencing token: by hand there is no
run. The StatefulSet's freezes it as well, so that no controller replaces the pod by itself.
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
    """A JSON Patch for each object, with a test on all that it replaces; ``left`` are fields that others changed."""

    statefulset: tuple[Operation, ...]
    service: tuple[Operation, ...]
    skipped: tuple[str, ...] = ()


NOTHING = Patches((), ())


def rollback_patches(record: Record, observed: NodeObservation) -> Patches:
    """Give the patches for a node as it is now; raises ``LookupError`` without its StatefulSet.

    A write that was intended and may have been carried out counts where the objects show that it was.
    """
    pending = record.intent.changes if record.intent is not None else ()
    fields = tuple(change for change in pending if not change.path.startswith("metadata."))
    known = {(change.kind, change.path) for change in record.changes}
    changes = (*record.changes, *(change for change in fields if (change.kind, change.path) not in known))
    return _patches(changes, observed.statefulset, observed.service)


def planned_rollback_patches(
    stage: StageName, record: Record | None, observed: NodeObservation, plan: Plan, strategy: Strategy
) -> Patches:
    """Give the patches for a node as it will be at the end of a stage, made before its cutover begins.

    Raises ``LookupError`` without its StatefulSet, ``shapes.NotWired`` for another kind of pod.
    """
    if observed.statefulset is None:
        raise LookupError("it has no StatefulSet")
    ahead = preflight.pending_changes(observed, plan).changes
    writes = transforms.batches(observed.statefulset, ahead, plan.parameters, merged=strategy is Strategy.MERGED)
    due = [change for last, batch in writes for change in batch if last.position <= stage.position]
    of = {kind: [c for c in due if c.kind == kind] for kind in (transforms.STATEFUL_SET, transforms.SERVICE)}
    statefulset = changing.apply(observed.statefulset, of[transforms.STATEFUL_SET])
    service = changing.apply(observed.service, of[transforms.SERVICE]) if observed.service else None
    done = record.changes if record is not None else ()
    return _patches((*done, *due), statefulset, service)


def _patches(changes: Sequence[Change], statefulset: Object | None, service: Object | None) -> Patches:
    if statefulset is None:
        raise LookupError("it has no StatefulSet")
    frozen = observation.is_frozen(statefulset)
    freeze = Change(StageName.HOLD, transforms.STATEFUL_SET, FREEZE_PATH, None, "moving")
    back = _revert_changes(changes, transforms.STATEFUL_SET, statefulset)
    return Patches(
        statefulset=_patch(statefulset, back if frozen or not back else [freeze, *back]),
        service=_patch(service, _revert_changes(changes, transforms.SERVICE, service)) if service is not None else (),
        skipped=tuple(
            f"{c.kind} {c.path}" for c in changes if c.state(_patches_of(c, statefulset, service)) is State.OTHER
        ),
    )


def _patches_of(change: Change, statefulset: Object, service: Object | None) -> Object:
    return statefulset if change.kind == transforms.STATEFUL_SET else (service or {})


def _revert_changes(changes: Sequence[Change], kind: str, obj: Object | None) -> list[Change]:
    mine = (change for change in reversed(changes) if change.kind == kind and obj is not None)
    return [change.inverse for change in mine if change.state(obj or {}) is State.AFTER]


def _patch(obj: Object, changes: Sequence[Change]) -> tuple[Operation, ...]:
    operations = changing.to_patch(obj, changes)
    uid: Operation = {"op": "test", "path": "/metadata/uid", "value": obj["metadata"]["uid"]}
    return (uid, *operations) if operations else ()
