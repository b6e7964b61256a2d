"""What to do next with a node: a pure function of its record, what is seen of it, the plan and the time.

Read top-down: first what stops everything, then an open intent, then the present stage. Every safety property of a
cutover is a property of ``next_action`` and can be checked for all its inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from seimigrate.domain import changes as changing
from seimigrate.domain import checks, seen, shapes, transforms
from seimigrate.domain.actions import Action, Fence, Note, Perform, Relabel, Stop, Wait
from seimigrate.domain.changes import Change, State
from seimigrate.domain.finding import Finding, Severity
from seimigrate.domain.kinds import FENCE_ANNOTATION, HOLD_PATH, MANAGER, Object
from seimigrate.domain.plan import Plan, StageName, Strategy
from seimigrate.domain.record import Direction, Do, Intent, Outcome, Record
from seimigrate.domain.releasing import release
from seimigrate.domain.returning import freeze, hold, way_back
from seimigrate.domain.rollout import RECHECK, Situation, disturbed, refused, rollout, still_asks
from seimigrate.domain.seen import Question, Seen


def next_action(record: Record, view: Seen, plan: Plan, now: float) -> Action:
    """Decide what to do next with a node; ``now`` is in seconds since 1970."""
    at = Situation(record, view, plan, now)
    if record.outcome is not None:
        return Stop()
    return takeover(record, view) or _stopped(at) or _settle(at) or _go_on(at)


def takeover(record: Record, view: Seen) -> Action | None:
    """Put this run's token wherever an earlier run's could still let it write; ``None`` if it is nowhere."""
    for kind, obj in (("StatefulSet", view.statefulset), ("Service", view.service)):
        token = seen.hold_of(obj)
        outdated = token != record.run if token is not None else _was_about_to_hold(record, kind)
        if outdated and seen.owned_by(obj, view.seinode):
            return Relabel(kind, token, record.run)
    intent, pod = record.intent, view.pod
    if intent is None or intent.do is not Do.REPLACE or intent == view.performed or pod is None:
        return None
    fence = pod["metadata"].get("annotations", {}).get(FENCE_ANNOTATION)
    if intent.token != record.run and intent.pod == pod["metadata"]["uid"] and fence != record.run:
        return Fence(intent.pod, record.run)
    return None


def _was_about_to_hold(record: Record, kind: str) -> bool:
    intent = record.intent
    return intent is not None and intent.kind == kind and intent.token != record.run and _puts_hold(intent)


def _stopped(at: Situation) -> Action | None:
    """Stop for what is stronger than a migration: the object is gone, its owner wants otherwise, the hold is lost."""
    record, view = at.record, at.seen
    node, statefulset = view.seinode, view.statefulset
    if node is None or node["metadata"]["uid"] != record.uid or "deletionTimestamp" in node["metadata"]:
        return at.pause("its SeiNode was deleted, or made anew")
    if statefulset is None or statefulset["metadata"]["uid"] != record.statefulset_uid:
        return at.pause("its StatefulSet was deleted, or made anew")
    if record.holds and view.hold.problem:
        return at.pause(f"the hold is lost: {view.hold.problem}")
    if (action := _unheld(at)) is not None:
        return action
    if not record.touched:
        return None
    spec = node.get("spec", {})
    if spec.get("paused"):
        return at.pause("spec.paused was set: its owner wants it stopped, and that goes before a migration")
    if spec.get("image") != record.image:
        return at.pause(f"spec.image was changed to {spec.get('image')}: a chain upgrade goes before a migration")
    return None


def _unheld(at: Situation) -> Action | None:
    """See whether somebody took the hold off: without its label no patch of ours could be fenced."""
    record = at.record
    if record.direction is Direction.BACK or record.stage is StageName.HOLD or record.lifting:
        return None
    objects = ((transforms.STATEFUL_SET, at.statefulset), (transforms.SERVICE, at.seen.service))
    bare = [kind for kind, obj in objects if obj is not None and seen.hold_of(obj) is None]
    if not bare:
        return None
    if record.stage is StageName.RELEASE and record.intent is None and transforms.STATEFUL_SET in bare:
        # Released by hand: what is left to do is to clear up and to see what became of the template.
        return Note(replace(record, lifting=True))
    return at.pause(f"somebody took the hold off the {' and the '.join(bare)}")


def _settle(at: Situation) -> Action | None:
    """Bring an open intent to its end: it was carried out, it has yet to be, or it cannot be any more."""
    intent = at.record.intent
    if intent is None:
        return None
    if at.seen.performed == intent:
        return Note(at.record.settled(at.now, done=True))
    if at.seen.denied:
        return at.denied(f"writing its {intent.kind}" if intent.do is Do.PATCH else "replacing its pod")
    return {Do.PATCH: _settle_patch, Do.REPLACE: _settle_replace, Do.MARK_READY: _settle_mark}[intent.do](at, intent)


def _settle_patch(at: Situation, intent: Intent) -> Action:
    obj = at.statefulset if intent.kind == transforms.STATEFUL_SET else at.seen.service
    if obj is None:
        return at.pause(f"its {intent.kind} was deleted")
    states = [change.state(obj) for change in intent.changes]
    if State.OTHER in states:
        # Not ours to overwrite. Whatever follows looks again at what is there and names it. A patch is carried out
        # as a whole: if part of it is there, it was, and the way back must know of all of it.
        done = State.AFTER in states
        return Note(at.record.settled(at.now, done=done).noted(*_others(intent, obj)))
    ours_left = intent.disown and any(e.get("manager") == MANAGER for e in obj["metadata"].get("managedFields", []))
    if seen.hold_of(obj) is None and not at.record.lifting and not _puts_hold(intent):
        return Note(at.record.settled(at.now, done=False))
    if State.BEFORE not in states and not ours_left:
        return Note(at.record.settled(at.now, done=True))
    if not _of_template(intent):
        return Perform(intent)
    if _has_become_harmful(at, obj, intent):
        return Note(at.record.settled(at.now, done=False))
    return at.unproven() or Perform(intent)


def _has_become_harmful(at: Situation, obj: Object, intent: Intent) -> bool:
    """Tell whether somebody changed other fields since this was decided, so that a pod of it could not start."""
    try:
        return bool(transforms.obstacles(changing.apply(obj, intent.changes), at.plan.parameters))
    except changing.ConflictingChange:
        return True


def _others(intent: Intent, obj: Object) -> list[str]:
    others = (change for change in intent.changes if change.state(obj) is State.OTHER)
    return [f"somebody else changed {change.kind} {change.path}" for change in others]


def _puts_hold(intent: Intent) -> bool:
    return any(c.path == HOLD_PATH and c.after is not None for c in intent.changes)


def _of_template(intent: Intent) -> bool:
    return any(change.path.startswith("spec.template.") for change in intent.changes)


def _settle_replace(at: Situation, intent: Intent) -> Action:
    pod = at.seen.pod
    if pod is None or pod["metadata"]["uid"] != intent.pod or seen.terminating(pod):
        return Note(at.record.settled(at.now, done=True))
    if at.seen.refused and intent.evict:
        return refused(at)
    if disturbed(at):
        return Note(at.record.settled(at.now, done=False))
    past_budgets = at.record.direction is Direction.BACK and at.record.refused is not None
    if intent.evict != seen.pod_ready(pod) and not past_budgets:
        return Note(at.record.settled(at.now, done=False))
    return at.unproven() or Perform(intent)


def _settle_mark(at: Situation, intent: Intent) -> Action:
    if at.seen.pod_uid != intent.pod:
        return Note(at.record.settled(at.now, done=False))
    if at.late(at.plan.deadlines.gate, max(intent.at, at.record.since)):
        return at.fail("its sidecar could not be told that it is ready")
    return still_asks(at) or Perform(intent)


def _go_on(at: Situation) -> Action:
    if at.record.direction is Direction.BACK:
        return way_back(at)
    return _STAGES[at.record.stage](at)


def _next_stage(at: Situation) -> Action:
    if at.record.stage == at.record.goal:
        return Note(at.record.ended(Outcome.HELD))
    return Note(at.record.at_stage(list(StageName)[at.record.stage.position + 1], at.now))


def _hold(at: Situation) -> Action:
    """Put our label on StatefulSet and Service; a dry run under the controller's field manager is denied."""
    return hold(at) or at.unproven() or _next_stage(at)


def _check(at: Situation) -> Action:
    """See that nothing blocks the node; the sidecar tells its tasks, and none is in progress."""
    if (judge := at.judge()) is not None:
        return judge
    found = checks.blockers(at.seen, at.plan, accepted=at.record.accepted)
    if found:
        return at.block(*(f"{b.code}: {b.reason}" for b in found))
    if (ask := at.ask(Question.TASKS)) is not None:
        return ask
    answer = at.answer(Question.TASKS)
    tasks = seen.tasks(answer) if answer.status == 200 else None
    if tasks is None:
        if not at.late(at.plan.deadlines.gate):
            return Wait("the sidecar to tell its tasks", at.pace)
        return at.block(f"tasks-unknown: the sidecar did not tell its tasks ({_what(answer)})")
    if work := checks.sidecar_work(tasks):
        return at.block(f"sidecar-task: {work} is in progress")
    return Note(replace(at.record.at_stage(StageName.EXPOSE, at.now), was_ready=True))


def _what(answer: seen.Answer) -> str:
    return answer.reason or f"status {answer.status}"


def _write(at: Situation) -> Action | None:
    """Write what this stage changes and is not there yet; ``None`` if everything is."""
    try:
        ahead = checks.outlook(at.seen, at.plan)
        writes = transforms.batches(
            at.statefulset, ahead.changes, at.plan.parameters, merged=at.record.strategy is Strategy.MERGED
        )
    except (shapes.NotWired, changing.ConflictingChange) as error:
        return at.fail(f"the node is not what it was: {error}")
    if ahead.problems:
        return at.fail(f"the node is not what it was: {'; '.join(ahead.problems)}")
    if again := _reverted(at, ahead.changes):
        return at.fail(f"somebody took back {', '.join(again)}")
    due = [change for stage, batch in writes for change in batch if stage.position <= at.record.stage.position]
    for kind in (transforms.SERVICE, transforms.STATEFUL_SET):
        mine = tuple(change for change in due if change.kind == kind)
        if mine:
            return _intend_write(at, kind, mine)
    return None


def _reverted(at: Situation, pending: tuple[Change, ...]) -> list[str]:
    objects = {transforms.STATEFUL_SET: at.statefulset, transforms.SERVICE: at.seen.service or {}}
    lost = (change for change in at.record.changes if change.state(objects[change.kind]) is not State.AFTER)
    ours = {(change.kind, change.path) for change in lost}
    return [f"{change.kind} {change.path}" for change in pending if (change.kind, change.path) in ours]


def _intend_write(at: Situation, kind: str, changes: tuple[Change, ...]) -> Action:
    if kind == transforms.SERVICE:
        return at.intend(Intent(Do.PATCH, kind=kind, changes=changes))
    try:
        obstacles = transforms.obstacles(changing.apply(at.statefulset, changes), at.plan.parameters)
    except changing.ConflictingChange as error:
        return at.fail(f"somebody else changed {error}")
    if obstacles:
        return at.fail(f"the template could not start: {'; '.join(obstacles)}")
    return at.unproven() or at.intend(Intent(Do.PATCH, kind=kind, changes=(*freeze(at), *changes)))


def _expose(at: Situation) -> Action:
    """Write it, together with what follows where a pod could not start otherwise."""
    return _write(at) or _next_stage(at)


def _ready(at: Situation) -> Action:
    """Replace the pod, mark it ready if its sidecar asks; it is Ready, public health and metrics answer 200."""
    if at.record.strategy is Strategy.MERGED:
        return _next_stage(at)
    return _write(at) or rollout(at) or _public_gate(at) or _next_stage(at)


def _enforce(at: Situation) -> Action:
    """As ready; and from the proxy itself anonymous metrics answer 401, authorised tasks 200."""
    return _write(at) or rollout(at) or _public_gate(at) or _proxy_gate(at) or _next_stage(at)


def _public_gate(at: Situation) -> Action | None:
    """Health and metrics are served on the public port: the sidecar does what the list says of its image."""
    return _gate(at, {Question.HEALTH: 200, Question.METRICS: 200})


def _proxy_gate(at: Situation) -> Action | None:
    """The proxy lets nobody past, and those past who may: from itself, not from the template."""
    return _gate(at, {Question.ANONYMOUS: 401, Question.TASKS: 200})


def _gate(at: Situation, wanted: dict[Question, int]) -> Action | None:
    if (ask := at.ask(*wanted)) is not None:
        return ask
    answers = {question: at.answer(question) for question in wanted}
    if all(answers[question].status == status for question, status in wanted.items()):
        return None
    told = ", ".join(
        f"{question} answers {answers[question].status or answers[question].reason} instead of {status}"
        for question, status in wanted.items()
        if answers[question].status != status
    )
    if not at.late(at.plan.deadlines.gate, max(at.record.since, at.seen.progress)):
        return Wait(told, at.pace)
    if any(answer.status is None for answer in answers.values()):
        return at.pause(f"inconclusive: {told}")
    return at.fail(told)


def _policy(at: Situation) -> Action:
    """See that the fleet's door is closed; a way back would close nothing and cost restarts, so it only pauses."""
    if (judge := at.judge()) is not None:
        return judge
    against = at.judgement.against(at.record.accepted)
    if not against:
        return _next_stage(replace(at, record=at.record.noted(*_in_spite_of(at.judgement.against()))))
    told = _told(against)
    if not at.late(at.plan.deadlines.gate):
        return Wait(told, RECHECK)
    verdict = "fail" if any(finding.severity is Severity.ERROR for finding in against) else "inconclusive"
    return at.pause(f"{verdict}: {told}")


def _in_spite_of(accepted: Sequence[Finding]) -> Iterator[str]:
    if accepted:
        yield f"gone on in spite of {_told(accepted)}"


def _told(findings: Sequence[Finding]) -> str:
    return "; ".join(finding.text for finding in findings)


_STAGES: dict[StageName, Callable[[Situation], Action]] = {
    StageName.HOLD: _hold,
    StageName.CHECK: _check,
    StageName.EXPOSE: _expose,
    StageName.PROBES: _expose,
    StageName.READY: _ready,
    StageName.ENFORCE: _enforce,
    StageName.POLICY: _policy,
    StageName.RELEASE: release,
}
