"""The reconciler of a node: a pure function of its record, its observation, the plan and the time.

It checks the stop conditions first, then resolves an open intent, then runs the current stage. Every safety property
of a cutover is a property of ``next_action`` and can be checked for all its inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from seimigrate.domain.findings import Finding, FindingSeverity
from seimigrate.domain.kube import changes as changing
from seimigrate.domain.kube.changes import Change, State
from seimigrate.domain.kube.kinds import FENCE_ANNOTATION, HOLD_PATH, MANAGER, Object
from seimigrate.domain.node import observation, preflight, shapes, transforms
from seimigrate.domain.node.actions import Action, ExecuteIntent, Fence, SaveRecord, Stop, TakeOverHold, Wait
from seimigrate.domain.node.observation import NodeObservation, PodQuery
from seimigrate.domain.node.record import Direction, Intent, IntentKind, Outcome, Record
from seimigrate.domain.node.release import release
from seimigrate.domain.node.rollback import ensure_held, freeze_change, rollback_action
from seimigrate.domain.node.rollout import (
    RECHECK_INTERVAL,
    NodeContext,
    drifted_fields,
    eviction_blocked,
    external_change,
    recheck_unready,
    rollout,
)
from seimigrate.domain.plan.plan import Plan, StageName, Strategy


def next_action(record: Record, observed: NodeObservation, plan: Plan, now: float) -> Action:
    """Return the next action for a node; ``now`` is in seconds since 1970."""
    ctx = NodeContext(record, observed, plan, now)
    if record.outcome is not None:
        return Stop()
    return takeover(record, observed) or _stop_conditions(ctx) or _resolve_intent(ctx) or _run_stage(ctx)


def takeover(record: Record, observed: NodeObservation) -> Action | None:
    """Replace the token of an earlier run wherever it would still admit a write; ``None`` if no such token is left."""
    for kind, obj in (("StatefulSet", observed.statefulset), ("Service", observed.service)):
        token = observation.hold_of(obj)
        outdated = token != record.run if token is not None else _was_placing_hold(record, kind)
        if outdated and observation.owned_by(obj, observed.seinode):
            return TakeOverHold(kind, token, record.run)
    intent, pod = record.intent, observed.pod
    if intent is None or intent.kind is not IntentKind.REPLACE or intent == observed.executed_intent or pod is None:
        return None
    fence = pod["metadata"].get("annotations", {}).get(FENCE_ANNOTATION)
    if intent.token != record.run and intent.pod == pod["metadata"]["uid"] and fence != record.run:
        return Fence(intent.pod, record.run)
    return None


def _was_placing_hold(record: Record, kind: str) -> bool:
    intent = record.intent
    return intent is not None and intent.object_kind == kind and intent.token != record.run and _places_hold(intent)


def _stop_conditions(ctx: NodeContext) -> Action | None:
    """Pause if the objects are gone, the owner changed the spec, or the hold is not effective."""
    record, observed = ctx.record, ctx.observed
    node, statefulset = observed.seinode, observed.statefulset
    if node is None or node["metadata"]["uid"] != record.uid or "deletionTimestamp" in node["metadata"]:
        return ctx.pause("the SeiNode was deleted or recreated")
    if statefulset is None or statefulset["metadata"]["uid"] != record.statefulset_uid:
        return ctx.pause("the StatefulSet was deleted or recreated")
    if record.holds and observed.hold.error:
        return ctx.pause(f"the hold is not effective: {observed.hold.error}")
    if (action := _hold_removed(ctx)) is not None:
        return action
    if not record.modified:
        return None
    spec = node.get("spec", {})
    if spec.get("paused"):
        return ctx.pause("spec.paused was set by the owner; the migration stops here")
    if spec.get("image") != record.seid_image:
        return ctx.pause(f"spec.image was changed to {spec.get('image')}; a chain upgrade takes precedence")
    return None


def _hold_removed(ctx: NodeContext) -> Action | None:
    """Pause if the hold label was removed: without it, patches cannot be fenced."""
    record = ctx.record
    if record.direction is Direction.ROLLBACK or record.stage is StageName.HOLD or record.removing_hold:
        return None
    objects = ((transforms.STATEFUL_SET, ctx.statefulset), (transforms.SERVICE, ctx.observed.service))
    unheld = [kind for kind, obj in objects if obj is not None and observation.hold_of(obj) is None]
    if not unheld:
        return None
    if record.stage is StageName.RELEASE and record.intent is None and transforms.STATEFUL_SET in unheld:
        # An operator released the node manually: only the cleanup and the check of the template remain.
        return SaveRecord(replace(record, removing_hold=True))
    return ctx.pause(f"the hold label was removed from the {' and the '.join(unheld)}")


def _resolve_intent(ctx: NodeContext) -> Action | None:
    """Resolve an open intent: it was executed, has yet to be executed, or became impossible."""
    intent = ctx.record.intent
    if intent is None:
        return None
    if ctx.observed.executed_intent == intent:
        return SaveRecord(ctx.record.intent_resolved(ctx.now, applied=True))
    if ctx.observed.admission_denial:
        return ctx.denied(
            f"the patch of the {intent.object_kind}" if intent.kind is IntentKind.PATCH else "the removal of the pod"
        )
    return {
        IntentKind.PATCH: _resolve_patch,
        IntentKind.REPLACE: _resolve_replace,
        IntentKind.MARK_READY: _resolve_mark_ready,
    }[intent.kind](ctx, intent)


def _resolve_patch(ctx: NodeContext, intent: Intent) -> Action:
    obj = ctx.statefulset if intent.object_kind == transforms.STATEFUL_SET else ctx.observed.service
    if obj is None:
        return ctx.pause(f"the {intent.object_kind} was deleted")
    states = [change.state(obj) for change in intent.changes]
    if State.OTHER in states:
        # An external change is never overwritten; the next observation reports it. A patch is atomic: if any field has
        # the new value, the patch was executed, and a rollback needs all of its changes.
        applied = State.AFTER in states
        notes = _external_changes(intent, obj)
        return SaveRecord(ctx.record.intent_resolved(ctx.now, applied=applied).with_notes(*notes))
    owned = intent.disown and any(e.get("manager") == MANAGER for e in obj["metadata"].get("managedFields", []))
    if observation.hold_of(obj) is None and not ctx.record.removing_hold and not _places_hold(intent):
        return SaveRecord(ctx.record.intent_resolved(ctx.now, applied=False))
    if State.BEFORE not in states and not owned:
        return SaveRecord(ctx.record.intent_resolved(ctx.now, applied=True))
    if not _changes_template(intent):
        return ExecuteIntent(intent)
    if _would_not_start(ctx, obj, intent):
        return SaveRecord(ctx.record.intent_resolved(ctx.now, applied=False))
    return ctx.require_hold_verified() or ExecuteIntent(intent)


def _would_not_start(ctx: NodeContext, obj: Object, intent: Intent) -> bool:
    """Return whether external changes since the decision would keep a pod of the new template from becoming Ready."""
    try:
        return bool(transforms.start_blockers(changing.apply(obj, intent.changes), ctx.plan.parameters))
    except changing.ConflictingChange:
        return True


def _external_changes(intent: Intent, obj: Object) -> list[str]:
    external = (change for change in intent.changes if change.state(obj) is State.OTHER)
    return [external_change([f"{change.kind} {change.path}"]) for change in external]


def _places_hold(intent: Intent) -> bool:
    return any(c.path == HOLD_PATH and c.after is not None for c in intent.changes)


def _changes_template(intent: Intent) -> bool:
    return any(change.path.startswith("spec.template.") for change in intent.changes)


def _resolve_replace(ctx: NodeContext, intent: Intent) -> Action:
    pod = ctx.observed.pod
    if pod is None or pod["metadata"]["uid"] != intent.pod or observation.is_terminating(pod):
        return SaveRecord(ctx.record.intent_resolved(ctx.now, applied=True))
    if ctx.observed.eviction_blocked and intent.evict:
        return eviction_blocked(ctx)
    if drifted_fields(ctx):
        return SaveRecord(ctx.record.intent_resolved(ctx.now, applied=False))
    ignores_budgets = ctx.record.direction is Direction.ROLLBACK and ctx.record.eviction_blocked_since is not None
    if intent.evict != observation.is_ready(pod) and not ignores_budgets:
        return SaveRecord(ctx.record.intent_resolved(ctx.now, applied=False))
    return ctx.require_hold_verified() or ExecuteIntent(intent)


def _resolve_mark_ready(ctx: NodeContext, intent: Intent) -> Action:
    if ctx.observed.pod_uid != intent.pod:
        return SaveRecord(ctx.record.intent_resolved(ctx.now, applied=False))
    if ctx.deadline_passed(ctx.plan.deadlines.response, max(intent.at, ctx.record.since)):
        return ctx.fail("mark-ready could not be delivered to the sidecar")
    return recheck_unready(ctx) or ExecuteIntent(intent)


def _run_stage(ctx: NodeContext) -> Action:
    if ctx.record.direction is Direction.ROLLBACK:
        return rollback_action(ctx)
    return _STAGES[ctx.record.stage](ctx)


def _next_stage(ctx: NodeContext) -> Action:
    if ctx.record.stage == ctx.record.target_stage:
        return SaveRecord(ctx.record.finished(Outcome.HELD))
    return SaveRecord(ctx.record.entering(list(StageName)[ctx.record.stage.position + 1], ctx.now))


def _hold(ctx: NodeContext) -> Action:
    """Put the hold label on StatefulSet and Service; a dry run under the controller's field manager must be denied."""
    return ensure_held(ctx) or ctx.require_hold_verified() or _next_stage(ctx)


def _check(ctx: NodeContext) -> Action:
    """Check that nothing blocks the node; the sidecar must return its task list, without a task in progress."""
    if (review := ctx.review_access()) is not None:
        return review
    blockers = preflight.blockers(ctx.observed, ctx.plan, accepted=ctx.record.accepted_findings)
    if blockers:
        return ctx.block(*(f"{blocker.code}: {blocker.reason}" for blocker in blockers))
    if (ask := ctx.query(PodQuery.TASKS)) is not None:
        return ask
    reply = ctx.reply(PodQuery.TASKS)
    tasks = observation.tasks(reply) if reply.status == 200 else None
    if tasks is None:
        if not ctx.deadline_passed(ctx.plan.deadlines.response):
            return Wait("sidecar has not returned its task list", ctx.interval)
        return ctx.block(f"tasks-unknown: the sidecar did not return its task list ({_describe_reply(reply)})")
    if work := preflight.open_tasks(tasks):
        return ctx.block(f"sidecar-task: {work} is in progress")
    return SaveRecord(replace(ctx.record.entering(StageName.EXPOSE, ctx.now), was_ready=True))


def _describe_reply(reply: observation.PodReply) -> str:
    return reply.reason or f"status {reply.status}"


def _write(ctx: NodeContext) -> Action | None:
    """Write the missing changes up to this stage; ``None`` if all are in place."""
    try:
        ahead = preflight.pending_changes(ctx.observed, ctx.plan)
        writes = transforms.batches(
            ctx.statefulset, ahead.changes, ctx.plan.parameters, merged=ctx.record.strategy is Strategy.MERGED
        )
    except (shapes.NotASeiNodePod, changing.ConflictingChange) as error:
        return ctx.fail(f"the node drifted from the plan: {error}")
    if ahead.problems:
        return ctx.fail(f"the node drifted from the plan: {'; '.join(ahead.problems)}")
    if reverted := _reverted(ctx, ahead.changes):
        return ctx.fail(external_change(reverted, "reverted"))
    due = [change for stage, batch in writes for change in batch if stage.position <= ctx.record.stage.position]
    for kind in (transforms.SERVICE, transforms.STATEFUL_SET):
        changes = tuple(change for change in due if change.kind == kind)
        if changes:
            return _intend_write(ctx, kind, changes)
    return None


def _reverted(ctx: NodeContext, pending: tuple[Change, ...]) -> list[str]:
    objects = {transforms.STATEFUL_SET: ctx.statefulset, transforms.SERVICE: ctx.observed.service or {}}
    lost = (change for change in ctx.record.changes if change.state(objects[change.kind]) is not State.AFTER)
    lost_fields = {(change.kind, change.path) for change in lost}
    return [f"{change.kind} {change.path}" for change in pending if (change.kind, change.path) in lost_fields]


def _intend_write(ctx: NodeContext, kind: str, changes: tuple[Change, ...]) -> Action:
    if kind == transforms.SERVICE:
        return ctx.intend(Intent(IntentKind.PATCH, object_kind=kind, changes=changes))
    try:
        obstacles = transforms.start_blockers(changing.apply(ctx.statefulset, changes), ctx.plan.parameters)
    except changing.ConflictingChange as error:
        return ctx.fail(external_change([str(error)]))
    if obstacles:
        return ctx.fail(f"a pod of this template would not become Ready: {'; '.join(obstacles)}")
    return ctx.require_hold_verified() or ctx.intend(
        Intent(IntentKind.PATCH, object_kind=kind, changes=(*freeze_change(ctx), *changes))
    )


def _expose(ctx: NodeContext) -> Action:
    """Write the changes, joined with later ones if a pod of the template could not become Ready otherwise."""
    return _write(ctx) or _next_stage(ctx)


def _ready(ctx: NodeContext) -> Action:
    """Replace the pod and mark it ready if needed; it must be Ready, public health and metrics must return 200."""
    if ctx.record.strategy is Strategy.MERGED:
        return _next_stage(ctx)
    return _write(ctx) or rollout(ctx) or _public_gate(ctx) or _next_stage(ctx)


def _enforce(ctx: NodeContext) -> Action:
    """As ``ready``; in addition the proxy must return 401 for anonymous metrics and 200 for authorized tasks."""
    return _write(ctx) or rollout(ctx) or _public_gate(ctx) or _proxy_gate(ctx) or _next_stage(ctx)


def _public_gate(ctx: NodeContext) -> Action | None:
    """Check that health and metrics are served on the public port, as ``sidecars.supported`` implies for the image."""
    return _gate(ctx, {PodQuery.HEALTH: 200, PodQuery.METRICS: 200})


def _proxy_gate(ctx: NodeContext) -> Action | None:
    """Check that the proxy rejects anonymous requests and admits authorized ones, by its own replies."""
    return _gate(ctx, {PodQuery.ANONYMOUS: 401, PodQuery.TASKS: 200})


_REQUESTS = {
    PodQuery.HEALTH: "GET /v0/healthz",
    PodQuery.METRICS: "GET /v0/metrics",
    PodQuery.ANONYMOUS: "anonymous GET /v0/metrics through the proxy",
    PodQuery.TASKS: "GET /v0/tasks through the proxy",
}


def _gate(ctx: NodeContext, wanted: dict[PodQuery, int]) -> Action | None:
    if (ask := ctx.query(*wanted)) is not None:
        return ask
    replies = {query: ctx.reply(query) for query in wanted}
    if all(replies[query].status == status for query, status in wanted.items()):
        return None
    mismatches = ", ".join(
        f"{_REQUESTS[query]} {_describe_result(replies[query])}, expected {status}"
        for query, status in wanted.items()
        if replies[query].status != status
    )
    if not ctx.deadline_passed(ctx.plan.deadlines.response, max(ctx.record.since, ctx.observed.progressed_at)):
        return Wait(mismatches, ctx.interval)
    if any(reply.status is None for reply in replies.values()):
        return ctx.pause(f"inconclusive: {mismatches}")
    return ctx.fail(mismatches)


def _describe_result(reply: observation.PodReply) -> str:
    return f"failed ({reply.reason})" if reply.status is None else f"returned {reply.status}"


def _policy(ctx: NodeContext) -> Action:
    """Check that policies protect the pod; pause on failure, because a rollback would protect nothing."""
    if (review := ctx.review_access()) is not None:
        return review
    unaccepted = ctx.access_review.unaccepted(ctx.record.accepted_findings)
    if not unaccepted:
        return _next_stage(replace(ctx, record=ctx.record.with_notes(*_accepted_notes(ctx.access_review.unaccepted()))))
    findings = _findings_text(unaccepted)
    if not ctx.deadline_passed(ctx.plan.deadlines.response):
        return Wait(findings, RECHECK_INTERVAL)
    verdict = "fail" if any(finding.severity is FindingSeverity.ERROR for finding in unaccepted) else "inconclusive"
    return ctx.pause(f"{verdict}: {findings}")


def _accepted_notes(accepted: Sequence[Finding]) -> Iterator[str]:
    if accepted:
        yield f"accepted finding{'s' if len(accepted) > 1 else ''}: {_findings_text(accepted)}"


def _findings_text(findings: Sequence[Finding]) -> str:
    return "; ".join(finding.text for finding in findings)


_STAGES: dict[StageName, Callable[[NodeContext], Action]] = {
    StageName.HOLD: _hold,
    StageName.CHECK: _check,
    StageName.EXPOSE: _expose,
    StageName.PROBES: _expose,
    StageName.READY: _ready,
    StageName.ENFORCE: _enforce,
    StageName.POLICY: _policy,
    StageName.RELEASE: release,
}
