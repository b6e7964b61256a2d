"""Handing a node back to its controller: on proof that it agrees, never on hope. Both ways end here.

The proof is asked for: one label of the StatefulSet that the controller writes is altered, under the hold. The
controller puts it right with an apply of the whole object, and the admission policy lets that pass only if it leaves
the template as it is. So a restored label says that the controller renders what runs. (Ownership in managedFields
would say less: it speaks only of the fields that our last write took.)
"""

from __future__ import annotations

import re
from dataclasses import replace

from seimigrate.domain.kube.changes import Change, State
from seimigrate.domain.kube.kinds import FREEZE_LABEL, FREEZE_PATH, HOLD_LABEL, HOLD_PATH, MANAGER, Object
from seimigrate.domain.node import observation, preflight, shapes, transforms
from seimigrate.domain.node.actions import Action, SaveRecord, Wait
from seimigrate.domain.node.record import Direction, Intent, IntentKind, Outcome, Record
from seimigrate.domain.node.rollout import RECHECK_INTERVAL, NodeContext, drifted_fields, wait_or_pause
from seimigrate.domain.plan.plan import StageName

PROBED_LABELS = ("sei.io/role", "sei.io/chain")
"""Labels that the controller puts on each StatefulSet and that select no pod there (upstream facts)."""
_FIELD = re.compile(r"ontainers\[name=(?P<container>[^]]+)]\.(?P<field>\w+)")


def release(ctx: NodeContext) -> Action:
    """Hand the node back if the controller agrees; else leave it held and say why."""
    record = ctx.record
    if record.removing_hold:
        return remove_hold(ctx)
    if (action := unfreeze(ctx)) is not None:
        return action
    if not record.holds:
        return SaveRecord(replace(record, removing_hold=True))
    if record.direction is Direction.FORWARD and (edited := _template_drift(ctx)):
        return edited
    if record.disagreement:
        return stay_held(ctx, record.disagreement)
    if ctx.plan.release.agreement_timeout == 0:
        return stay_held(ctx, "the plan says to stay held")
    try:
        if wants := _image_mismatch(ctx):
            return stay_held(ctx, wants)
        return _probe_agreement(ctx) if record.agreed_at is None else _stabilize(ctx, record.agreed_at)
    except shapes.NotASeiNodePod as error:
        return stay_held(ctx, f"the template is not what it was: {error}")


def _template_drift(ctx: NodeContext) -> Action | None:
    """Stay held if somebody else changed the template after the last gate: nobody is asked to agree with that."""
    if not observation.is_rollout_observed(ctx.statefulset):
        return wait_or_pause(ctx, "the StatefulSet controller to see the template")
    if changed := drifted_fields(ctx):
        return stay_held(ctx, f"somebody else changed {', '.join(changed)}: seimigrate apply puts that right")
    if ctx.observed.pod is not None and not observation.is_at_update_revision(ctx.observed.pod, ctx.statefulset):
        return stay_held(
            ctx, "somebody else changed the template, and the pod was made before that: seimigrate apply again"
        )
    return None


def unfreeze(ctx: NodeContext) -> Action | None:
    """Let the controller see to the node again, under the hold; ``None`` if it is not frozen."""
    value = observation.labels(ctx.statefulset).get(FREEZE_LABEL)
    if value is None:
        return None
    label = Change(StageName.HOLD, transforms.STATEFUL_SET, FREEZE_PATH, value, None)
    return ctx.intend(Intent(IntentKind.PATCH, object_kind=transforms.STATEFUL_SET, changes=(label,)))


def stay_held(ctx: NodeContext, reason: str) -> Action:
    """End with the node held."""
    back = ctx.record.direction is Direction.ROLLBACK
    return SaveRecord(ctx.record.finished(Outcome.ROLLED_BACK_HELD if back else Outcome.DONE_HELD, reason))


def _image_mismatch(ctx: NodeContext) -> str:
    assert ctx.observed.seinode is not None
    runs = shapes.read(ctx.statefulset["spec"]["template"]["spec"], ctx.plan.parameters).image
    wanted = ctx.observed.seinode.get("spec", {}).get("sidecar", {}).get("image")
    if wanted and wanted != runs:
        network = observation.network_of(ctx.observed.seinode)
        where = f" in SeiNetwork {network}, whose controller writes it," if network else ""
        return f"the SeiNode's spec.sidecar.image is {wanted}, and {runs} runs: change it to that{where} then release"
    return ""


def _probe_agreement(ctx: NodeContext) -> Action:
    asked = ctx.record.agreement_probe
    if asked is None:
        return _change_label(ctx)
    state = asked.state(ctx.statefulset)
    if state is State.BEFORE:
        return SaveRecord(replace(ctx.record, agreed_at=ctx.now, agreement_probe=None, since=ctx.now))
    if state is State.AFTER and not ctx.deadline_passed(ctx.plan.release.agreement_timeout):
        return Wait("a sign that the controller agrees", ctx.plan.release.agreement_timeout)
    declined = "the controller gave no sign that it renders this shape; it stays held until it does"
    if otherwise := _disagreement_fields(ctx.record):
        declined += f"; before us it had otherwise {otherwise}"
    record = replace(ctx.record, agreement_probe=None, disagreement=declined, since=ctx.now)
    restore = () if state is State.OTHER else (asked.inverse,)
    return SaveRecord(
        record.intending(Intent(IntentKind.PATCH, object_kind=transforms.STATEFUL_SET, changes=restore), ctx.now)
    )


def _disagreement_fields(record: Record) -> str:
    """Name what the controller wrote otherwise before we did: as far as is known, it still wants that.

    Where a node goes back to what the controller wrote last, nothing is known of what it wants now.
    """
    if record.direction is Direction.ROLLBACK:
        return ""
    fields: dict[str, set[str]] = {}
    for change in record.changes:
        if change.before is not None and (found := _FIELD.search(change.path)):
            fields.setdefault(found["container"], set()).add(found["field"])
    return "; ".join(f"{container}: {', '.join(sorted(names))}" for container, names in sorted(fields.items()))


def _change_label(ctx: NodeContext) -> Action:
    found = observation.labels(ctx.statefulset)
    for name in PROBED_LABELS:
        if name in found:
            altered = f"{found[name][:48]}-seimigrate-asks"
            asked = Change(StageName.RELEASE, transforms.STATEFUL_SET, f"metadata.labels[{name}]", found[name], altered)
            record = replace(ctx.record, agreement_probe=asked)
            return SaveRecord(
                record.intending(
                    Intent(IntentKind.PATCH, object_kind=transforms.STATEFUL_SET, changes=(asked,)), ctx.now
                )
            )
    return stay_held(ctx, "the StatefulSet has no label that the controller could be asked with")


def _stabilize(ctx: NodeContext, agreed: float) -> Action:
    """Wait for two of the controller's polls: only they show a controller that cannot reach the pod's health."""
    settle = ctx.plan.release.stabilization
    if not ctx.deadline_passed(settle, agreed):
        return Wait("two polls of the controller", RECHECK_INTERVAL)
    if not (doubt := _release_blocker(ctx)):
        return SaveRecord(replace(ctx.record, removing_hold=True))
    if not ctx.deadline_passed(settle + ctx.plan.deadlines.response, agreed):
        return Wait(doubt, RECHECK_INTERVAL)
    return stay_held(ctx, doubt)


def _release_blocker(ctx: NodeContext) -> str:
    node = ctx.observed.seinode
    assert node is not None
    ready = observation.condition(node, "SidecarReady")
    if ready.get("status") != "True":
        told = ready.get("message") or ready.get("reason") or "unknown"
        return f"the controller agrees, but says that the sidecar is not ready ({told}): can it reach its health?"
    if observation.condition(node, "NodeUpdateInProgress").get("status") == "True":
        return "the controller's NodeUpdate to end"
    runs = shapes.read(ctx.statefulset["spec"]["template"]["spec"], ctx.plan.parameters).image
    reported = node.get("status", {}).get("currentSidecarImage")
    if reported != runs:
        return f"the controller reports sidecar {reported}, and {runs} runs"
    if not observation.is_ready(ctx.observed.pod) or not observation.is_at_update_revision(
        ctx.observed.pod or {}, ctx.statefulset
    ):
        return "the pod to be Ready, of the present template"
    return ""


def remove_hold(ctx: NodeContext) -> Action:
    """Take our labels and our managedFields entries off, the Service first: its controller writes it in plans only."""
    for kind, obj in ((transforms.SERVICE, ctx.observed.service), (transforms.STATEFUL_SET, ctx.statefulset)):
        if obj is not None and (intent := _hold_removal(kind, obj)) is not None:
            return ctx.intend(intent)
    return SaveRecord(_finish(ctx))


def _hold_removal(kind: str, obj: Object) -> Intent | None:
    found = observation.labels(obj)
    changes = tuple(
        Change(StageName.HOLD, kind, path, found[name], None)
        for name, path in ((FREEZE_LABEL, FREEZE_PATH), (HOLD_LABEL, HOLD_PATH))
        if name in found
    )
    owned = any(entry.get("manager") == MANAGER for entry in obj["metadata"].get("managedFields", []))
    return Intent(IntentKind.PATCH, object_kind=kind, changes=changes, disown=True) if changes or owned else None


def _finish(ctx: NodeContext) -> Record:
    record = ctx.record
    if record.blocked:
        return record.finished(Outcome.BLOCKED, "; ".join(record.blocked))
    if record.direction is Direction.ROLLBACK:
        return record.finished(Outcome.ROLLED_BACK, record.failure or "")
    try:
        left = preflight.pending_changes(ctx.observed, ctx.plan).changes
    except shapes.NotASeiNodePod as error:
        return record.finished(Outcome.FAILED, str(error))
    if left:
        return record.finished(
            Outcome.FAILED, f"after the release the controller took back {left[0].kind} {left[0].path}"
        )
    return record.finished(Outcome.DONE)
