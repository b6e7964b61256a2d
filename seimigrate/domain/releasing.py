"""Handing a node back to its controller: on proof that it agrees, never on hope. Both ways end here.

The proof is asked for: one label of the StatefulSet that the controller writes is altered, under the hold. The
controller puts it right with an apply of the whole object, and the admission policy lets that pass only if it leaves
the template as it is. So a restored label says that the controller renders what runs. (Ownership in managedFields
would say less: it speaks only of the fields that our last write took.)
"""

from __future__ import annotations

import re
from dataclasses import replace

from seimigrate.domain import checks, seen, shapes, transforms
from seimigrate.domain.actions import Action, Note, Wait
from seimigrate.domain.changes import Change, State
from seimigrate.domain.kinds import FREEZE_LABEL, FREEZE_PATH, HOLD_LABEL, HOLD_PATH, MANAGER, Object
from seimigrate.domain.plan import StageName
from seimigrate.domain.record import Direction, Do, Intent, Outcome, Record
from seimigrate.domain.rollout import RECHECK, Situation, disturbed, slow

ASKED_LABELS = ("sei.io/role", "sei.io/chain")
"""Labels that the controller puts on each StatefulSet and that select no pod there (upstream facts)."""
_FIELD = re.compile(r"ontainers\[name=(?P<container>[^]]+)]\.(?P<field>\w+)")


def release(at: Situation) -> Action:
    """Hand the node back if the controller agrees; else leave it held and say why."""
    record = at.record
    if record.lifting:
        return lift(at)
    if (action := unfreeze(at)) is not None:
        return action
    if not record.holds:
        return Note(replace(record, lifting=True))
    if record.direction is Direction.FORWARD and (edited := _edited(at)):
        return edited
    if record.declined:
        return stay(at, record.declined)
    if at.plan.release.agreement == 0:
        return stay(at, "the plan says to stay held")
    try:
        if wants := _wants_another_image(at):
            return stay(at, wants)
        return _ask(at) if record.agreed is None else _polls(at, record.agreed)
    except shapes.NotWired as error:
        return stay(at, f"the template is not what it was: {error}")


def _edited(at: Situation) -> Action | None:
    """Stay held if somebody else changed the template after the last gate: nobody is asked to agree with that."""
    if not seen.rollout_observed(at.statefulset):
        return slow(at, "the StatefulSet controller to see the template")
    if changed := disturbed(at):
        return stay(at, f"somebody else changed {', '.join(changed)}: seimigrate apply puts that right")
    if at.seen.pod is not None and not seen.at_update_revision(at.seen.pod, at.statefulset):
        return stay(at, "somebody else changed the template, and the pod was made before that: seimigrate apply again")
    return None


def unfreeze(at: Situation) -> Action | None:
    """Let the controller see to the node again, under the hold; ``None`` if it is not frozen."""
    value = seen.labels(at.statefulset).get(FREEZE_LABEL)
    if value is None:
        return None
    label = Change(StageName.HOLD, transforms.STATEFUL_SET, FREEZE_PATH, value, None)
    return at.intend(Intent(Do.PATCH, kind=transforms.STATEFUL_SET, changes=(label,)))


def stay(at: Situation, reason: str) -> Action:
    """End with the node held."""
    back = at.record.direction is Direction.BACK
    return Note(at.record.ended(Outcome.ROLLED_BACK_HELD if back else Outcome.DONE_HELD, reason))


def _wants_another_image(at: Situation) -> str:
    assert at.seen.seinode is not None
    runs = shapes.read(at.statefulset["spec"]["template"]["spec"], at.plan.parameters).image
    wanted = at.seen.seinode.get("spec", {}).get("sidecar", {}).get("image")
    if wanted and wanted != runs:
        network = seen.network_of(at.seen.seinode)
        where = f" in SeiNetwork {network}, whose controller writes it," if network else ""
        return f"the SeiNode's spec.sidecar.image is {wanted}, and {runs} runs: change it to that{where} then release"
    return ""


def _ask(at: Situation) -> Action:
    asked = at.record.asked
    if asked is None:
        return _alter_label(at)
    state = asked.state(at.statefulset)
    if state is State.BEFORE:
        return Note(replace(at.record, agreed=at.now, asked=None, since=at.now))
    if state is State.AFTER and not at.late(at.plan.release.agreement):
        return Wait("a sign that the controller agrees", at.plan.release.agreement)
    declined = "the controller gave no sign that it renders this shape; it stays held until it does"
    if otherwise := _otherwise(at.record):
        declined += f"; before us it had otherwise {otherwise}"
    record = replace(at.record, asked=None, declined=declined, since=at.now)
    restore = () if state is State.OTHER else (asked.inverse,)
    return Note(record.intending(Intent(Do.PATCH, kind=transforms.STATEFUL_SET, changes=restore), at.now))


def _otherwise(record: Record) -> str:
    """Name what the controller wrote otherwise before we did: as far as is known, it still wants that.

    Where a node goes back to what the controller wrote last, nothing is known of what it wants now.
    """
    if record.direction is Direction.BACK:
        return ""
    fields: dict[str, set[str]] = {}
    for change in record.changes:
        if change.before is not None and (found := _FIELD.search(change.path)):
            fields.setdefault(found["container"], set()).add(found["field"])
    return "; ".join(f"{container}: {', '.join(sorted(names))}" for container, names in sorted(fields.items()))


def _alter_label(at: Situation) -> Action:
    found = seen.labels(at.statefulset)
    for name in ASKED_LABELS:
        if name in found:
            altered = f"{found[name][:48]}-seimigrate-asks"
            asked = Change(StageName.RELEASE, transforms.STATEFUL_SET, f"metadata.labels[{name}]", found[name], altered)
            record = replace(at.record, asked=asked)
            return Note(record.intending(Intent(Do.PATCH, kind=transforms.STATEFUL_SET, changes=(asked,)), at.now))
    return stay(at, "the StatefulSet has no label that the controller could be asked with")


def _polls(at: Situation, agreed: float) -> Action:
    """Wait for two of the controller's polls: only they show a controller that cannot reach the pod's health."""
    settle = at.plan.release.settle
    if not at.late(settle, agreed):
        return Wait("two polls of the controller", RECHECK)
    if not (doubt := _doubt(at)):
        return Note(replace(at.record, lifting=True))
    if not at.late(settle + at.plan.deadlines.gate, agreed):
        return Wait(doubt, RECHECK)
    return stay(at, doubt)


def _doubt(at: Situation) -> str:
    node = at.seen.seinode
    assert node is not None
    ready = seen.condition(node, "SidecarReady")
    if ready.get("status") != "True":
        told = ready.get("message") or ready.get("reason") or "unknown"
        return f"the controller agrees, but says that the sidecar is not ready ({told}): can it reach its health?"
    if seen.condition(node, "NodeUpdateInProgress").get("status") == "True":
        return "the controller's NodeUpdate to end"
    runs = shapes.read(at.statefulset["spec"]["template"]["spec"], at.plan.parameters).image
    reported = node.get("status", {}).get("currentSidecarImage")
    if reported != runs:
        return f"the controller reports sidecar {reported}, and {runs} runs"
    if not seen.pod_ready(at.seen.pod) or not seen.at_update_revision(at.seen.pod or {}, at.statefulset):
        return "the pod to be Ready, of the present template"
    return ""


def lift(at: Situation) -> Action:
    """Take our labels and our managedFields entries off, the Service first: its controller writes it in plans only."""
    for kind, obj in ((transforms.SERVICE, at.seen.service), (transforms.STATEFUL_SET, at.statefulset)):
        if obj is not None and (intent := _lifting(kind, obj)) is not None:
            return at.intend(intent)
    return Note(_end(at))


def _lifting(kind: str, obj: Object) -> Intent | None:
    found = seen.labels(obj)
    changes = tuple(
        Change(StageName.HOLD, kind, path, found[name], None)
        for name, path in ((FREEZE_LABEL, FREEZE_PATH), (HOLD_LABEL, HOLD_PATH))
        if name in found
    )
    owned = any(entry.get("manager") == MANAGER for entry in obj["metadata"].get("managedFields", []))
    return Intent(Do.PATCH, kind=kind, changes=changes, disown=True) if changes or owned else None


def _end(at: Situation) -> Record:
    record = at.record
    if record.blocked:
        return record.ended(Outcome.BLOCKED, "; ".join(record.blocked))
    if record.direction is Direction.BACK:
        return record.ended(Outcome.ROLLED_BACK, record.failure or "")
    try:
        left = checks.outlook(at.seen, at.plan).changes
    except shapes.NotWired as error:
        return record.ended(Outcome.FAILED, str(error))
    if left:
        return record.ended(Outcome.FAILED, f"after the release the controller took back {left[0].kind} {left[0].path}")
    return record.ended(Outcome.DONE)
