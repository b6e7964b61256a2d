"""What to do next with a node: a pure function of its record, what is seen of it, the plan and the time.

Read top-down: first what stops everything, then an open intent, then the present stage. Every safety property of a
cutover is a property of ``next_action`` and can be checked for all its inputs.
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
    recheck_unready,
    rollout,
)
from seimigrate.domain.plan.plan import Plan, StageName, Strategy


def next_action(record: Record, observed: NodeObservation, plan: Plan, now: float) -> Action:
    """Decide what to do next with a node; ``now`` is in seconds since 1970."""
    ctx = NodeContext(record, observed, plan, now)
    if record.outcome is not None:
        return Stop()
    return takeover(record, observed) or _stop_conditions(ctx) or _resolve_intent(ctx) or _run_stage(ctx)


def takeover(record: Record, observed: NodeObservation) -> Action | None:
    """Put this run's token wherever an earlier run's could still let it write; ``None`` if it is nowhere."""
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
    """Stop for what is stronger than a migration: the object is gone, its owner wants otherwise, the hold is lost."""
    record, observed = ctx.record, ctx.observed
    node, statefulset = observed.seinode, observed.statefulset
    if node is None or node["metadata"]["uid"] != record.uid or "deletionTimestamp" in node["metadata"]:
        return ctx.pause("its SeiNode was deleted, or made anew")
    if statefulset is None or statefulset["metadata"]["uid"] != record.statefulset_uid:
        return ctx.pause("its StatefulSet was deleted, or made anew")
    if record.holds and observed.hold.error:
        return ctx.pause(f"the hold is lost: {observed.hold.error}")
    if (action := _hold_removed(ctx)) is not None:
        return action
    if not record.modified:
        return None
    spec = node.get("spec", {})
    if spec.get("paused"):
        return ctx.pause("spec.paused was set: its owner wants it stopped, and that goes before a migration")
    if spec.get("image") != record.seid_image:
        return ctx.pause(f"spec.image was changed to {spec.get('image')}: a chain upgrade goes before a migration")
    return None


def _hold_removed(ctx: NodeContext) -> Action | None:
    """See whether somebody took the hold off: without its label no patch of ours could be fenced."""
    record = ctx.record
    if record.direction is Direction.ROLLBACK or record.stage is StageName.HOLD or record.removing_hold:
        return None
    objects = ((transforms.STATEFUL_SET, ctx.statefulset), (transforms.SERVICE, ctx.observed.service))
    bare = [kind for kind, obj in objects if obj is not None and observation.hold_of(obj) is None]
    if not bare:
        return None
    if record.stage is StageName.RELEASE and record.intent is None and transforms.STATEFUL_SET in bare:
        # Released by hand: what is left to do is to clear up and to see what became of the template.
        return SaveRecord(replace(record, removing_hold=True))
    return ctx.pause(f"somebody took the hold off the {' and the '.join(bare)}")


def _resolve_intent(ctx: NodeContext) -> Action | None:
    """Bring an open intent to its end: it was carried out, it has yet to be, or it cannot be any more."""
    intent = ctx.record.intent
    if intent is None:
        return None
    if ctx.observed.executed_intent == intent:
        return SaveRecord(ctx.record.intent_resolved(ctx.now, applied=True))
    if ctx.observed.admission_denial:
        return ctx.denied(
            f"writing its {intent.object_kind}" if intent.kind is IntentKind.PATCH else "replacing its pod"
        )
    return {
        IntentKind.PATCH: _resolve_patch,
        IntentKind.REPLACE: _resolve_replace,
        IntentKind.MARK_READY: _resolve_mark_ready,
    }[intent.kind](ctx, intent)


def _resolve_patch(ctx: NodeContext, intent: Intent) -> Action:
    obj = ctx.statefulset if intent.object_kind == transforms.STATEFUL_SET else ctx.observed.service
    if obj is None:
        return ctx.pause(f"its {intent.object_kind} was deleted")
    states = [change.state(obj) for change in intent.changes]
    if State.OTHER in states:
        # Not ours to overwrite. Whatever follows looks again at what is there and names it. A patch is carried out
        # as a whole: if part of it is there, it was, and the way back must know of all of it.
        done = State.AFTER in states
        return SaveRecord(ctx.record.intent_resolved(ctx.now, applied=done).with_notes(*_external_changes(intent, obj)))
    ours_left = intent.disown and any(e.get("manager") == MANAGER for e in obj["metadata"].get("managedFields", []))
    if observation.hold_of(obj) is None and not ctx.record.removing_hold and not _places_hold(intent):
        return SaveRecord(ctx.record.intent_resolved(ctx.now, applied=False))
    if State.BEFORE not in states and not ours_left:
        return SaveRecord(ctx.record.intent_resolved(ctx.now, applied=True))
    if not _changes_template(intent):
        return ExecuteIntent(intent)
    if _would_not_start(ctx, obj, intent):
        return SaveRecord(ctx.record.intent_resolved(ctx.now, applied=False))
    return ctx.require_hold_verified() or ExecuteIntent(intent)


def _would_not_start(ctx: NodeContext, obj: Object, intent: Intent) -> bool:
    """Tell whether somebody changed other fields since this was decided, so that a pod of it could not start."""
    try:
        return bool(transforms.start_blockers(changing.apply(obj, intent.changes), ctx.plan.parameters))
    except changing.ConflictingChange:
        return True


def _external_changes(intent: Intent, obj: Object) -> list[str]:
    others = (change for change in intent.changes if change.state(obj) is State.OTHER)
    return [f"somebody else changed {change.kind} {change.path}" for change in others]


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
    past_budgets = ctx.record.direction is Direction.ROLLBACK and ctx.record.eviction_blocked_since is not None
    if intent.evict != observation.is_ready(pod) and not past_budgets:
        return SaveRecord(ctx.record.intent_resolved(ctx.now, applied=False))
    return ctx.require_hold_verified() or ExecuteIntent(intent)


def _resolve_mark_ready(ctx: NodeContext, intent: Intent) -> Action:
    if ctx.observed.pod_uid != intent.pod:
        return SaveRecord(ctx.record.intent_resolved(ctx.now, applied=False))
    if ctx.deadline_passed(ctx.plan.deadlines.response, max(intent.at, ctx.record.since)):
        return ctx.fail("its sidecar could not be told that it is ready")
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
    """Put our label on StatefulSet and Service; a dry run under the controller's field manager is denied."""
    return ensure_held(ctx) or ctx.require_hold_verified() or _next_stage(ctx)


def _check(ctx: NodeContext) -> Action:
    """See that nothing blocks the node; the sidecar tells its tasks, and none is in progress."""
    if (judge := ctx.review_access()) is not None:
        return judge
    found = preflight.blockers(ctx.observed, ctx.plan, accepted=ctx.record.accepted_findings)
    if found:
        return ctx.block(*(f"{b.code}: {b.reason}" for b in found))
    if (ask := ctx.query(PodQuery.TASKS)) is not None:
        return ask
    reply = ctx.reply(PodQuery.TASKS)
    tasks = observation.tasks(reply) if reply.status == 200 else None
    if tasks is None:
        if not ctx.deadline_passed(ctx.plan.deadlines.response):
            return Wait("the sidecar to tell its tasks", ctx.interval)
        return ctx.block(f"tasks-unknown: the sidecar did not tell its tasks ({_describe_reply(reply)})")
    if work := preflight.open_tasks(tasks):
        return ctx.block(f"sidecar-task: {work} is in progress")
    return SaveRecord(replace(ctx.record.entering(StageName.EXPOSE, ctx.now), was_ready=True))


def _describe_reply(reply: observation.PodReply) -> str:
    return reply.reason or f"status {reply.status}"


def _write(ctx: NodeContext) -> Action | None:
    """Write what this stage changes and is not there yet; ``None`` if everything is."""
    try:
        ahead = preflight.pending_changes(ctx.observed, ctx.plan)
        writes = transforms.batches(
            ctx.statefulset, ahead.changes, ctx.plan.parameters, merged=ctx.record.strategy is Strategy.MERGED
        )
    except (shapes.NotASeiNodePod, changing.ConflictingChange) as error:
        return ctx.fail(f"the node is not what it was: {error}")
    if ahead.problems:
        return ctx.fail(f"the node is not what it was: {'; '.join(ahead.problems)}")
    if again := _reverted(ctx, ahead.changes):
        return ctx.fail(f"somebody took back {', '.join(again)}")
    due = [change for stage, batch in writes for change in batch if stage.position <= ctx.record.stage.position]
    for kind in (transforms.SERVICE, transforms.STATEFUL_SET):
        mine = tuple(change for change in due if change.kind == kind)
        if mine:
            return _intend_write(ctx, kind, mine)
    return None


def _reverted(ctx: NodeContext, pending: tuple[Change, ...]) -> list[str]:
    objects = {transforms.STATEFUL_SET: ctx.statefulset, transforms.SERVICE: ctx.observed.service or {}}
    lost = (change for change in ctx.record.changes if change.state(objects[change.kind]) is not State.AFTER)
    ours = {(change.kind, change.path) for change in lost}
    return [f"{change.kind} {change.path}" for change in pending if (change.kind, change.path) in ours]


def _intend_write(ctx: NodeContext, kind: str, changes: tuple[Change, ...]) -> Action:
    if kind == transforms.SERVICE:
        return ctx.intend(Intent(IntentKind.PATCH, object_kind=kind, changes=changes))
    try:
        obstacles = transforms.start_blockers(changing.apply(ctx.statefulset, changes), ctx.plan.parameters)
    except changing.ConflictingChange as error:
        return ctx.fail(f"somebody else changed {error}")
    if obstacles:
        return ctx.fail(f"the template could not start: {'; '.join(obstacles)}")
    return ctx.require_hold_verified() or ctx.intend(
        Intent(IntentKind.PATCH, object_kind=kind, changes=(*freeze_change(ctx), *changes))
    )


def _expose(ctx: NodeContext) -> Action:
    """Write it, together with what follows where a pod could not start otherwise."""
    return _write(ctx) or _next_stage(ctx)


def _ready(ctx: NodeContext) -> Action:
    """Replace the pod, mark it ready if its sidecar asks; it is Ready, public health and metrics answer 200."""
    if ctx.record.strategy is Strategy.MERGED:
        return _next_stage(ctx)
    return _write(ctx) or rollout(ctx) or _public_gate(ctx) or _next_stage(ctx)


def _enforce(ctx: NodeContext) -> Action:
    """As ready; and from the proxy itself anonymous metrics answer 401, authorised tasks 200."""
    return _write(ctx) or rollout(ctx) or _public_gate(ctx) or _proxy_gate(ctx) or _next_stage(ctx)


def _public_gate(ctx: NodeContext) -> Action | None:
    """Health and metrics are served on the public port: the sidecar does what the list says of its image."""
    return _gate(ctx, {PodQuery.HEALTH: 200, PodQuery.METRICS: 200})


def _proxy_gate(ctx: NodeContext) -> Action | None:
    """The proxy lets nobody past, and those past who may: from itself, not from the template."""
    return _gate(ctx, {PodQuery.ANONYMOUS: 401, PodQuery.TASKS: 200})


def _gate(ctx: NodeContext, wanted: dict[PodQuery, int]) -> Action | None:
    if (ask := ctx.query(*wanted)) is not None:
        return ask
    answers = {query: ctx.reply(query) for query in wanted}
    if all(answers[query].status == status for query, status in wanted.items()):
        return None
    told = ", ".join(
        f"{query} answers {answers[query].status or answers[query].reason} instead of {status}"
        for query, status in wanted.items()
        if answers[query].status != status
    )
    if not ctx.deadline_passed(ctx.plan.deadlines.response, max(ctx.record.since, ctx.observed.progressed_at)):
        return Wait(told, ctx.interval)
    if any(reply.status is None for reply in answers.values()):
        return ctx.pause(f"inconclusive: {told}")
    return ctx.fail(told)


def _policy(ctx: NodeContext) -> Action:
    """See that the fleet's door is closed; a way back would close nothing and cost restarts, so it only pauses."""
    if (judge := ctx.review_access()) is not None:
        return judge
    against = ctx.access_review.unaccepted(ctx.record.accepted_findings)
    if not against:
        return _next_stage(replace(ctx, record=ctx.record.with_notes(*_accepted_notes(ctx.access_review.unaccepted()))))
    told = _findings_text(against)
    if not ctx.deadline_passed(ctx.plan.deadlines.response):
        return Wait(told, RECHECK_INTERVAL)
    verdict = "fail" if any(finding.severity is FindingSeverity.ERROR for finding in against) else "inconclusive"
    return ctx.pause(f"{verdict}: {told}")


def _accepted_notes(accepted: Sequence[Finding]) -> Iterator[str]:
    if accepted:
        yield f"gone on in spite of {_findings_text(accepted)}"


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
