"""The way back for people who have kubectl alone: the exact JSON Patches that put a node's objects back.

They are those that ``unpatch`` would send, made from the same changes, but for the fencing token: by hand there is no
run. The StatefulSet's freezes it as well, so that no controller replaces the pod by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seimigrate.domain import changes as changing
from seimigrate.domain import checks, seen, transforms
from seimigrate.domain.changes import Change, Operation, State
from seimigrate.domain.kinds import FREEZE_PATH, Object
from seimigrate.domain.plan import Plan, StageName, Strategy
from seimigrate.domain.record import Record
from seimigrate.domain.seen import Seen


@dataclass(frozen=True, slots=True)
class Patches:
    """A JSON Patch for each object, with a test on all that it replaces; ``left`` are fields that others changed."""

    statefulset: tuple[Operation, ...]
    service: tuple[Operation, ...]
    left: tuple[str, ...] = ()


NOTHING = Patches((), ())


def of_record(record: Record, view: Seen) -> Patches:
    """Give the patches for a node as it is now; raises ``LookupError`` without its StatefulSet.

    A write that was intended and may have been carried out counts where the objects show that it was.
    """
    pending = record.intent.changes if record.intent is not None else ()
    fields = tuple(change for change in pending if not change.path.startswith("metadata."))
    known = {(change.kind, change.path) for change in record.changes}
    changes = (*record.changes, *(change for change in fields if (change.kind, change.path) not in known))
    return _patches(changes, view.statefulset, view.service)


def of_stage(stage: StageName, record: Record | None, view: Seen, plan: Plan, strategy: Strategy) -> Patches:
    """Give the patches for a node as it will be at the end of a stage, made before its cutover begins.

    Raises ``LookupError`` without its StatefulSet, ``shapes.NotWired`` for another kind of pod.
    """
    if view.statefulset is None:
        raise LookupError("it has no StatefulSet")
    ahead = checks.outlook(view, plan).changes
    writes = transforms.batches(view.statefulset, ahead, plan.parameters, merged=strategy is Strategy.MERGED)
    due = [change for last, batch in writes for change in batch if last.position <= stage.position]
    of = {kind: [c for c in due if c.kind == kind] for kind in (transforms.STATEFUL_SET, transforms.SERVICE)}
    statefulset = changing.apply(view.statefulset, of[transforms.STATEFUL_SET])
    service = changing.apply(view.service, of[transforms.SERVICE]) if view.service else None
    done = record.changes if record is not None else ()
    return _patches((*done, *due), statefulset, service)


def _patches(changes: Sequence[Change], statefulset: Object | None, service: Object | None) -> Patches:
    if statefulset is None:
        raise LookupError("it has no StatefulSet")
    frozen = seen.frozen(statefulset)
    freeze = Change(StageName.HOLD, transforms.STATEFUL_SET, FREEZE_PATH, None, "moving")
    back = _back(changes, transforms.STATEFUL_SET, statefulset)
    return Patches(
        statefulset=_patch(statefulset, back if frozen or not back else [freeze, *back]),
        service=_patch(service, _back(changes, transforms.SERVICE, service)) if service is not None else (),
        left=tuple(f"{c.kind} {c.path}" for c in changes if c.state(_of(c, statefulset, service)) is State.OTHER),
    )


def _of(change: Change, statefulset: Object, service: Object | None) -> Object:
    return statefulset if change.kind == transforms.STATEFUL_SET else (service or {})


def _back(changes: Sequence[Change], kind: str, obj: Object | None) -> list[Change]:
    mine = (change for change in reversed(changes) if change.kind == kind and obj is not None)
    return [change.inverse for change in mine if change.state(obj or {}) is State.AFTER]


def _patch(obj: Object, changes: Sequence[Change]) -> tuple[Operation, ...]:
    operations = changing.to_patch(obj, changes)
    uid: Operation = {"op": "test", "path": "/metadata/uid", "value": obj["metadata"]["uid"]}
    return (uid, *operations) if operations else ()
