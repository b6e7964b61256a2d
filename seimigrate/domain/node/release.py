"""Release of a node to its controller, only after proof that the controller agrees; cutover and rollback end here.

The agreement probe alters one label of the StatefulSet that the controller writes, while the node is held. The
controller restores the label by applying the whole object, and the admission policy admits that only if the template
stays unchanged. A restored label therefore proves that the controller renders the current template. Ownership in
managedFields would prove less, because it covers only the fields of seimigrate's last write.
"""

from __future__ import annotations

import re
from dataclasses import replace

from seimigrate.domain.kube.changes import Change, State
from seimigrate.domain.kube.kinds import FREEZE_LABEL, FREEZE_PATH, HOLD_LABEL, HOLD_PATH, MANAGER, Object
from seimigrate.domain.node import observation, preflight, shapes, transforms
from seimigrate.domain.node.actions import Action, SaveRecord, Wait
from seimigrate.domain.node.record import Direction, Intent, IntentKind, Outcome, Record
from seimigrate.domain.node.rollout import RECHECK_INTERVAL, NodeContext, drifted_fields, external_change, wait_or_pause
from seimigrate.domain.plan.plan import StageName

PROBED_LABELS = ("sei.io/role", "sei.io/chain")
"""Labels that the controller sets on each StatefulSet and that are in no pod selector (upstream facts)."""
_FIELD = re.compile(r"ontainers\[name=(?P<container>[^]]+)]\.(?P<field>\w+)")


def release(ctx: NodeContext) -> Action:
    """Release the node if the controller confirms the template; otherwise leave it held, with the reason."""
    record = ctx.record
    if record.removing_hold:
        return remove_hold(ctx)
    if (action := unfreeze(ctx)) is not None:
        return action
    if not record.holds:
        return SaveRecord(replace(record, removing_hold=True))
    if record.direction is Direction.FORWARD and (drift := _template_drift(ctx)):
        return drift
    if record.disagreement:
        return stay_held(ctx, record.disagreement)
    if ctx.plan.release.agreement_timeout == 0:
        return stay_held(ctx, "release is disabled in the plan (release.agreementTimeout: 0)")
    try:
        if mismatch := _image_mismatch(ctx):
            return stay_held(ctx, mismatch)
        return _probe_agreement(ctx) if record.agreed_at is None else _stabilize(ctx, record.agreed_at)
    except shapes.NotASeiNodePod as error:
        return stay_held(ctx, f"the template drifted from the plan: {error}")


def _template_drift(ctx: NodeContext) -> Action | None:
    """Stay held if another client changed the template after the last check; such a template is not probed."""
    if not observation.is_rollout_observed(ctx.statefulset):
        return wait_or_pause(ctx, "StatefulSet controller has not observed the new template")
    if changed := drifted_fields(ctx):
        return stay_held(ctx, f"{external_change(changed)}; rerun `seimigrate apply` to fix it")
    if ctx.observed.pod is not None and not observation.is_at_update_revision(ctx.observed.pod, ctx.statefulset):
        return stay_held(
            ctx,
            "the template was modified by another client after the pod was created; rerun `seimigrate apply` to fix it",
        )
    return None


def unfreeze(ctx: NodeContext) -> Action | None:
    """Remove the freeze label, so that the controller reconciles the held node; ``None`` if it is not frozen."""
    value = observation.labels(ctx.statefulset).get(FREEZE_LABEL)
    if value is None:
        return None
    label = Change(StageName.HOLD, transforms.STATEFUL_SET, FREEZE_PATH, value, None)
    return ctx.intend(Intent(IntentKind.PATCH, object_kind=transforms.STATEFUL_SET, changes=(label,)))


def stay_held(ctx: NodeContext, reason: str) -> Action:
    """Finish with the node still held."""
    rolled_back = ctx.record.direction is Direction.ROLLBACK
    return SaveRecord(ctx.record.finished(Outcome.ROLLED_BACK_HELD if rolled_back else Outcome.DONE_HELD, reason))


def _image_mismatch(ctx: NodeContext) -> str:
    assert ctx.observed.seinode is not None
    runs = shapes.read(ctx.statefulset["spec"]["template"]["spec"], ctx.plan.parameters).image
    wanted = ctx.observed.seinode.get("spec", {}).get("sidecar", {}).get("image")
    if wanted and wanted != runs:
        network = observation.network_of(ctx.observed.seinode)
        source = f" in SeiNetwork {network}, whose controller writes it" if network else ""
        return (
            f"spec.sidecar.image is {wanted} but the pod runs {runs}; set it to {runs}{source}, "
            "then rerun `seimigrate apply`"
        )
    return ""


def _probe_agreement(ctx: NodeContext) -> Action:
    probe = ctx.record.agreement_probe
    if probe is None:
        return _change_label(ctx)
    state = probe.state(ctx.statefulset)
    if state is State.BEFORE:
        return SaveRecord(replace(ctx.record, agreed_at=ctx.now, agreement_probe=None, since=ctx.now))
    if state is State.AFTER and not ctx.deadline_passed(ctx.plan.release.agreement_timeout):
        return Wait("controller has not confirmed the new template", ctx.plan.release.agreement_timeout)
    disagreement = "the controller did not confirm this template; the node stays held"
    if names := _disagreement_fields(ctx.record):
        disagreement += f"; fields that the controller rendered differently: {names}"
    record = replace(ctx.record, agreement_probe=None, disagreement=disagreement, since=ctx.now)
    restore = () if state is State.OTHER else (probe.inverse,)
    return SaveRecord(
        record.intending(Intent(IntentKind.PATCH, object_kind=transforms.STATEFUL_SET, changes=restore), ctx.now)
    )


def _disagreement_fields(record: Record) -> str:
    """Return the fields that the controller rendered differently before the cutover changed them.

    On rollback the template is what the controller wrote last, so nothing is known about its current rendering.
    """
    if record.direction is Direction.ROLLBACK:
        return ""
    fields: dict[str, set[str]] = {}
    for change in record.changes:
        if change.before is not None and (match := _FIELD.search(change.path)):
            fields.setdefault(match["container"], set()).add(match["field"])
    return "; ".join(f"{container}: {', '.join(sorted(names))}" for container, names in sorted(fields.items()))


def _change_label(ctx: NodeContext) -> Action:
    labels = observation.labels(ctx.statefulset)
    for name in PROBED_LABELS:
        if name in labels:
            altered = f"{labels[name][:48]}-seimigrate-asks"
            path = f"metadata.labels[{name}]"
            probe = Change(StageName.RELEASE, transforms.STATEFUL_SET, path, labels[name], altered)
            record = replace(ctx.record, agreement_probe=probe)
            return SaveRecord(
                record.intending(
                    Intent(IntentKind.PATCH, object_kind=transforms.STATEFUL_SET, changes=(probe,)), ctx.now
                )
            )
    return stay_held(ctx, "the StatefulSet has no label for the agreement probe")


def _stabilize(ctx: NodeContext, agreed: float) -> Action:
    """Wait for two polls of the controller, which show whether it can reach the pod's health port."""
    stabilization = ctx.plan.release.stabilization
    if not ctx.deadline_passed(stabilization, agreed):
        return Wait("stabilizing: two controller polls must pass", RECHECK_INTERVAL)
    if not (blocker := _release_blocker(ctx)):
        return SaveRecord(replace(ctx.record, removing_hold=True))
    if not ctx.deadline_passed(stabilization + ctx.plan.deadlines.response, agreed):
        return Wait(blocker, RECHECK_INTERVAL)
    return stay_held(ctx, blocker)


def _release_blocker(ctx: NodeContext) -> str:
    node = ctx.observed.seinode
    assert node is not None
    ready = observation.condition(node, "SidecarReady")
    if ready.get("status") != "True":
        cause = ready.get("message") or ready.get("reason") or "unknown"
        return (
            f"the controller confirmed the template but reports the sidecar as not ready ({cause}); "
            "check that it can reach the health port"
        )
    if observation.condition(node, "NodeUpdateInProgress").get("status") == "True":
        return "the controller's NodeUpdate is in progress"
    runs = shapes.read(ctx.statefulset["spec"]["template"]["spec"], ctx.plan.parameters).image
    reported = node.get("status", {}).get("currentSidecarImage")
    if reported != runs:
        return f"the controller reports sidecar {reported}, but the template has {runs}"
    if not observation.is_ready(ctx.observed.pod) or not observation.is_at_update_revision(
        ctx.observed.pod or {}, ctx.statefulset
    ):
        return "the pod is not Ready at the current template"
    return ""


def remove_hold(ctx: NodeContext) -> Action:
    """Remove the labels and managedFields entries of seimigrate, from the Service first.

    The controller writes the Service only while it executes a plan.
    """
    for kind, obj in ((transforms.SERVICE, ctx.observed.service), (transforms.STATEFUL_SET, ctx.statefulset)):
        if obj is not None and (intent := _hold_removal(kind, obj)) is not None:
            return ctx.intend(intent)
    return SaveRecord(_finish(ctx))


def _hold_removal(kind: str, obj: Object) -> Intent | None:
    labels = observation.labels(obj)
    changes = tuple(
        Change(StageName.HOLD, kind, path, labels[name], None)
        for name, path in ((FREEZE_LABEL, FREEZE_PATH), (HOLD_LABEL, HOLD_PATH))
        if name in labels
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
            Outcome.FAILED, f"the controller reverted {left[0].kind} {left[0].path} after the release"
        )
    return record.finished(Outcome.DONE)
