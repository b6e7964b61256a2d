"""Invariants of the decision about a node, for recorded inputs of runs and for arbitrary mutations of them.

Each example takes the input of a decision during a cutover or rollback and mutates it: missing or foreign objects,
wrong tokens and revisions, replies that no pod would send, intents of other decisions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from seimigrate.domain.findings import AcceptedFindings, Finding, FindingSeverity
from seimigrate.domain.kube import changes as changing
from seimigrate.domain.kube.changes import State
from seimigrate.domain.kube.kinds import FREEZE_LABEL, HOLD_LABEL, Object
from seimigrate.domain.node import observation, preflight, reconcile, record
from seimigrate.domain.node.actions import (
    Action,
    ExecuteIntent,
    Fence,
    QueryPod,
    ReviewAccess,
    SaveRecord,
    Stop,
    TakeOverHold,
    VerifyHold,
    Wait,
)
from seimigrate.domain.node.observation import AccessReview, HoldStatus, NodeObservation, PodQuery, PodReply
from seimigrate.domain.node.record import Direction, Intent, IntentKind, Outcome, Record
from seimigrate.domain.node.rollout import HOLD_PROOF_TTL, RECHECK_INTERVAL
from seimigrate.domain.plan.plan import Failure, Plan, StageName, Strategy
from seimigrate.simulation.cluster import Request
from seimigrate.simulation.objects import copy_json
from seimigrate.simulation.sidecar import HEALTH_ROUTES
from seimigrate.simulation.world import SPLIT_IMAGE
from tests.audit.startable import defects
from tests.engine.harness import Harness, make_plan


class Input(NamedTuple):
    """The input of a decision."""

    record: Record
    observed: NodeObservation
    plan: Plan
    now: float

    def __repr__(self) -> str:
        """Return the most relevant parts, since the whole input fills several screens."""
        observed = self.observed
        present = [name for name in ("seinode", "statefulset", "service", "pod") if getattr(observed, name) is not None]
        labels = observation.labels(observed.statefulset)
        denials = f"eviction_blocked={observed.eviction_blocked}, admission_denial={observed.admission_denial}"
        return f"{self.record}, {present}, {labels}, {observed.hold}, {observed.replies}, {denials}, now={self.now}"


PLANS = (make_plan(), make_plan(failure=Failure(on_node_failure="pause")))
MANY = settings(max_examples=settings().max_examples * 10)


@contextmanager
def _recording(inputs: list[Input]) -> Iterator[None]:
    decide = reconcile.next_action

    def record_and_decide(record: Record, observed: NodeObservation, plan: Plan, now: float) -> Action:
        inputs.append(Input(record, observed, plan, now))
        return decide(record, observed, plan, now)

    reconcile.next_action = record_and_decide
    try:
        yield
    finally:
        reconcile.next_action = decide


def _denies(verb: str) -> Callable[[Request], bool]:
    """Return a policy of another client that denies these writes, except dry runs and label changes."""
    return lambda r: r.verb == verb and not r.dry_run and (verb != "patch" or "/spec/" in str(r.body))


Value = TypeVar("Value")


@lru_cache(maxsize=1)
def recorded_inputs() -> tuple[Input, ...]:
    """Inputs of cutovers and rollbacks: staged, merged, under both controllers, held before, and failing."""
    inputs: list[Input] = []
    with _recording(inputs):
        for mode, strategy in (("fullNode", Strategy.STAGED), ("seed", Strategy.MERGED), ("archive", Strategy.MERGED)):
            harness = Harness(mode, strategy)
            harness.apply()
            harness.rollback(StageName.READY)
            harness.rollback()
            harness.hold()
            harness.world.replace_controller("new")
            harness.apply()
            harness.rollback()
        failing = Harness()
        failing.world.settings.broken_images.add(SPLIT_IMAGE)
        failing.apply()
        blocked = Harness()
        blocked.put_disruption_budget(0)
        blocked.apply()
        for verb in ("patch", "evict"):
            denied = Harness()
            denied.monitor.denies = _denies(verb)
            denied.apply()
    distinct = [m for i, m in enumerate(inputs) if not i or m.record != inputs[i - 1].record or m.observed.pod is None]
    return tuple(distinct)


@lru_cache(maxsize=1)
def intents() -> tuple[Intent, ...]:
    return tuple({repr(m.record.intent): m.record.intent for m in recorded_inputs() if m.record.intent}.values())


# Mutations.


def _among(values: Sequence[Value]) -> st.SearchStrategy[Value]:
    """Draw by index: Hypothesis would hash each value, with its whole content, for every draw."""
    return st.integers(0, len(values) - 1).map(values.__getitem__)


Mutation = Callable[[st.DrawFn, Input], Input]


def _other_record(draw: st.DrawFn, m: Input) -> Input:
    values: dict[str, Any] = {
        "run": st.sampled_from(["run-1", "run-99"]),
        "direction": st.sampled_from(Direction),
        "stage": st.sampled_from(StageName),
        "rollback_to": st.one_of(st.none(), st.sampled_from(StageName)),
        "target_stage": st.sampled_from([StageName.HOLD, StageName.RELEASE]),
        "strategy": st.sampled_from(Strategy),
        "eviction_blocked_since": st.one_of(st.none(), st.just(m.now - 1), st.just(m.now - 700)),
        "agreed_at": st.one_of(st.none(), st.just(m.now - 1), st.just(m.now - 500)),
        "marked_ready_at": st.one_of(st.none(), st.just(m.now - 1), st.just(m.now - 500)),
        "since": st.sampled_from([m.now, m.now - 100, m.now - 5000]),
        "mark_ready_attempts": st.integers(0, 4),
        "failure": st.one_of(st.none(), st.just("it failed")),
        "blocked": st.sampled_from([(), ("paused: why",)]),
        "disagreement": st.sampled_from(["", "no sign"]),
        "seid_image": st.just("another:image"),
        "replaced_pods": st.sampled_from([(), (m.observed.pod_uid,)]),
        "agreement_probe": st.sampled_from([None, *(m.record.changes[:1])]),
        "intent": st.one_of(st.none(), _among(intents())),
        "changes": st.sampled_from([(), m.record.changes[:3], tuple(c.inverse for c in m.record.changes)]),
        "outcome": st.sampled_from([None, Outcome.PAUSED, Outcome.DONE]),
        "accepted_findings": st.sampled_from(AcceptedFindings),
    }
    for name in ("holds", "held_before", "was_ready", "overwrite", "modified", "removing_hold"):
        values[name] = st.booleans()
    name = draw(st.sampled_from(sorted(values)))
    return m._replace(record=replace(m.record, **{name: draw(values[name])}))


def _record_of_another_input(draw: st.DrawFn, m: Input) -> Input:
    other = draw(_among(recorded_inputs())).record
    own = {name: getattr(m.record, name) for name in ("uid", "statefulset_uid", "seid_image", "run")}
    return m._replace(record=replace(other, **own) if draw(st.booleans()) else other)


def _other_intent(draw: st.DrawFn, m: Input) -> Input:
    intent = draw(_among(intents()))
    intent = replace(intent, token=draw(st.sampled_from([m.record.run, "run-0"])), at=draw(_times(m.now)))
    if draw(st.booleans()):
        intent = replace(
            intent, pod=m.observed.pod_uid if intent.kind is not IntentKind.PATCH else "", evict=draw(st.booleans())
        )
    executed = draw(st.sampled_from([None, intent]))
    return m._replace(record=replace(m.record, intent=intent), observed=replace(m.observed, executed_intent=executed))


def _times(now: float) -> st.SearchStrategy[float]:
    return st.sampled_from([now, now - 2, now - 20, now - 200, now - 5000, 0.0])


def _other_objects(draw: st.DrawFn, m: Input) -> Input:
    name = draw(st.sampled_from(["seinode", "statefulset", "service", "pod"]))
    other = draw(_among(recorded_inputs())).observed
    return m._replace(observed=replace(m.observed, **{name: draw(st.sampled_from([None, getattr(other, name)]))}))


def _edited(m: Input, name: str, edit: Callable[[Object], object]) -> Input:
    body = getattr(m.observed, name)
    if body is None:
        return m
    body = copy_json(body)
    edit(body)
    return m._replace(observed=replace(m.observed, **{name: body}))


def _other_labels(draw: st.DrawFn, m: Input) -> Input:
    name, label = draw(st.sampled_from(["statefulset", "service"])), draw(st.sampled_from([HOLD_LABEL, FREEZE_LABEL]))
    value = draw(st.sampled_from([None, m.record.run, "run-0"]))

    def edit(body: Object) -> None:
        body["metadata"].setdefault("labels", {}).pop(label, None)
        if value is not None:
            body["metadata"]["labels"][label] = value

    return _edited(m, name, edit)


def _other_seinode(draw: st.DrawFn, m: Input) -> Input:
    edits: list[Callable[[Object], object]] = [
        lambda body: body["spec"].update(paused=True),
        lambda body: body["spec"].update(image="sei:v9"),
        lambda body: body["spec"].update(sidecar={"image": SPLIT_IMAGE}),
        lambda body: body["spec"].update(sidecar={"image": "other:v1"}),
        lambda body: body["metadata"].update(uid="another"),
        lambda body: body["metadata"].update(deletionTimestamp="2030-01-01T00:00:00Z"),
        lambda body: body.pop("status", None),
        lambda body: body["spec"].pop("fullNode", None),
    ]
    return _edited(m, "seinode", draw(st.sampled_from(edits)))


def _other_statefulset(draw: st.DrawFn, m: Input) -> Input:
    def containers(body: Object) -> list[Object]:
        spec = body["spec"]["template"]["spec"]
        return [*spec["initContainers"], *spec["containers"]]

    index = draw(st.integers(1, 3))
    edits: list[Callable[[Object], object]] = [
        lambda body: body["metadata"].update(uid="another"),
        lambda body: body.setdefault("status", {}).update(updateRevision="another"),
        lambda body: body.setdefault("status", {}).update(observedGeneration=0),
        lambda body: body.pop("status", None),
        lambda body: body["metadata"].pop("ownerReferences", None),
        lambda body: body["metadata"].pop("managedFields", None),
        lambda body: body["spec"].update(replicas=0),
        lambda body: containers(body)[1].update(image=draw(st.sampled_from([SPLIT_IMAGE, "x:y", "not an image!"]))),
        lambda body: containers(body)[index].update(name="renamed"),
        lambda body: containers(body)[index].pop("args", None),
        lambda body: containers(body)[index].pop("env", None),
        lambda body: containers(body)[2].update(args=["--ignore-paths=/v0/x"]),
        lambda body: containers(body)[index].pop("startupProbe", None),
    ]
    return _edited(m, "statefulset", draw(st.sampled_from(edits)))


def _other_pod(draw: st.DrawFn, m: Input) -> Input:
    ready = draw(st.sampled_from(["True", "False"]))
    edits: list[Callable[[Object], object]] = [
        lambda body: body["metadata"].update(uid="another"),
        lambda body: body["metadata"].update(deletionTimestamp="2030-01-01T00:00:00Z"),
        lambda body: body["metadata"].setdefault("labels", {}).update({"controller-revision-hash": "another"}),
        lambda body: body.update(status={"conditions": [{"type": "Ready", "status": ready}]}),
        lambda body: (
            body.setdefault("status", {}).setdefault("conditions", []).insert(0, {"type": "Ready", "status": ready})
        ),
        lambda body: body.pop("status", None),
        lambda body: body["metadata"].pop("labels", None),
    ]
    return _edited(m, "pod", draw(st.sampled_from(edits)))


BODIES = st.sampled_from(
    [
        "", "[]", "{", "null", '{"tasks": null}', '[{"type": "mark-ready", "status": "completed"}]',
        '[{"type": "mark-not-ready", "status": "completed"}, {"type": "mark-ready", "status": "completed"}]',
        '[{"type": "reset-data", "status": "running"}]', '[{"type": 7}]', '{"tasks": [{"id": 1}]}', "[1]",
        '{"sync_info": {"latest_block_height": "5"}}', '{"sync_info": []}', '{"result": null}',
    ]
)  # fmt: skip


def _other_replies(draw: st.DrawFn, m: Input) -> Input:
    replies = dict(m.observed.replies)
    for query in draw(st.sets(st.sampled_from(PodQuery), min_size=1)):
        status = draw(st.sampled_from([None, 200, 401, 403, 404, 500, 503]))
        pod = draw(st.sampled_from([m.observed.pod_uid, "another"]))
        replies[query] = PodReply(pod, draw(_times(m.now)), status, draw(BODIES), reason="" if status else "why")
    return m._replace(observed=replace(m.observed, replies=replies))


def _cooperative_pod(draw: st.DrawFn, m: Input) -> Input:
    """A pod that reports 503 until it is marked ready, or whose replies pass the checks of the stages."""
    unready = draw(st.booleans())
    ready = '[{"type": "mark-ready", "status": "completed"}]'
    statuses = {PodQuery.HEALTH: 503 if unready else 200, PodQuery.METRICS: 200, PodQuery.ANONYMOUS: 401}
    replies = {q: PodReply(m.observed.pod_uid, m.now, s, "") for q, s in statuses.items()}
    replies[PodQuery.TASKS] = PodReply(m.observed.pod_uid, m.now, 200, ready)
    return m._replace(observed=replace(m.observed, replies=replies), record=replace(m.record, since=m.now - 100))


def _other_hold(draw: st.DrawFn, m: Input) -> Input:
    error = draw(st.sampled_from(["", "", "ValidatingAdmissionPolicy seimigrate-hold is gone"]))
    verified_at = draw(st.sampled_from([None, m.now, m.now - 1, m.now - 1000]))
    return m._replace(observed=replace(m.observed, hold=HoldStatus(error, verified_at)))


def _other_related_objects(draw: st.DrawFn, m: Input) -> Input:
    task = {"metadata": {"name": "t"}, "spec": {"target": {"nodeRef": {"name": m.record.name}}}}
    others: dict[str, Any] = {draw(st.sampled_from(["tasks", "workflows"])): (task,)}
    related = replace(m.observed.related, **others)
    eviction_blocked, progressed_at = draw(st.booleans()), draw(_times(m.now))
    denial = draw(st.sampled_from(["", "", "not on Fridays"]))
    return m._replace(
        observed=replace(
            m.observed,
            related=related,
            eviction_blocked=eviction_blocked,
            admission_denial=denial,
            progressed_at=progressed_at,
        )
    )


def _other_access_review(draw: st.DrawFn, m: Input) -> Input:
    severities = draw(st.lists(st.sampled_from(FindingSeverity), max_size=2))
    policy = tuple(Finding("policy", severity, "NetworkPolicy a/b", "lets in", "narrow it") for severity in severities)
    review = draw(st.sampled_from([None, AccessReview(m.now, policy), AccessReview(m.now - 100, policy)]))
    return m._replace(observed=replace(m.observed, access_review=review))


def _other_time(draw: st.DrawFn, m: Input) -> Input:
    return m._replace(now=m.now + draw(st.sampled_from([0.0, 1.0, 4.0, 31.0, 130.0, 700.0, 4000.0])))


def _other_plan(draw: st.DrawFn, m: Input) -> Input:
    return m._replace(plan=draw(_among(PLANS)))


MUTATIONS: tuple[Mutation, ...] = (
    _other_record,
    _record_of_another_input,
    _other_intent,
    _other_objects,
    _other_labels,
    _other_seinode,
    _other_statefulset,
    _other_pod,
    _other_replies,
    _cooperative_pod,
    _other_hold,
    _other_related_objects,
    _other_access_review,
    _other_time,
    _other_plan,
)


@st.composite
def mutated_inputs(draw: st.DrawFn) -> Input:
    drawn = draw(_among(recorded_inputs()))
    for mutate in draw(st.lists(st.sampled_from(MUTATIONS), max_size=5)):
        drawn = mutate(draw, drawn)
    return drawn


# Invariants.


def saved_intent(drawn: Input, action: Action) -> Intent | None:
    """The new intent that an action saves in the journal."""
    if not isinstance(action, SaveRecord) or action.record.outcome is not None:
        return None
    return action.record.intent if action.record.intent != drawn.record.intent else None


def intended(drawn: Input, action: Action) -> Intent | None:
    """The intent that an action executes or saves."""
    return action.intent if isinstance(action, ExecuteIntent) else saved_intent(drawn, action)


def changes_template(intent: Intent | None) -> bool:
    return intent is not None and any(c.path.startswith("spec.template.") for c in intent.changes)


def is_hold_verified(drawn: Input) -> bool:
    at = drawn.observed.hold.verified_at
    return at is not None and drawn.now - at < HOLD_PROOF_TTL


def fresh_reply(drawn: Input, query: PodQuery) -> PodReply | None:
    reply = drawn.observed.reply(query)
    return reply if reply is not None and drawn.now - reply.at < RECHECK_INTERVAL else None


@MANY
@given(mutated_inputs())
def test_invariants_hold_for_mutated_inputs(drawn: Input) -> None:
    action = reconcile.next_action(*drawn)
    for invariant in INVARIANTS:
        invariant(drawn, action)


def _only_the_journaled_intent_is_executed(m: Input, action: Action) -> None:
    if isinstance(action, ExecuteIntent):
        assert action.intent == m.record.intent
        assert action.intent != m.observed.executed_intent
    if m.record.outcome is not None:
        assert isinstance(action, Stop)
    else:
        assert not isinstance(action, Stop)


def _intent_has_the_token_of_its_run(m: Input, action: Action) -> None:
    intent = saved_intent(m, action)
    if intent is not None:
        assert intent.token == m.record.run


def _written_template_can_start(m: Input, action: Action) -> None:
    intent = intended(m, action)
    if intent is None or not changes_template(intent):
        return
    assert m.observed.statefulset is not None
    spec = changing.apply(m.observed.statefulset, intent.changes)["spec"]["template"]["spec"]
    assert not defects(spec, lambda image: image == SPLIT_IMAGE, health_paths=HEALTH_ROUTES)


def _changes_require_the_hold(m: Input, action: Action) -> None:
    intent = intended(m, action)
    if intent is None or not m.record.holds:
        return
    assert not m.observed.hold.error
    if changes_template(intent) or intent.kind is IntentKind.REPLACE:
        assert is_hold_verified(m)
    if changes_template(intent) and not isinstance(action, ExecuteIntent):
        assert observation.is_frozen(m.observed.statefulset) or any(FREEZE_LABEL in c.path for c in intent.changes)


def _pod_is_replaced_with_grace_as_observed(m: Input, action: Action) -> None:
    intent = intended(m, action)
    if intent is None or intent.kind is not IntentKind.REPLACE:
        return
    assert m.observed.pod is not None
    assert m.observed.statefulset is not None
    assert intent.grace >= 1
    assert intent.pod == m.observed.pod_uid
    assert not observation.is_terminating(m.observed.pod)
    if isinstance(action, ExecuteIntent):
        rollback_to, rolling_back = m.record.rollback_to, m.record.direction is Direction.ROLLBACK
        for change in m.record.changes:
            if change.kind == "StatefulSet":
                must_revert = rolling_back and (
                    rollback_to is None or StageName(change.stage).position > rollback_to.position
                )
                assert (change.state(m.observed.statefulset) is State.AFTER) != must_revert
    if observation.is_ready(m.observed.pod) and m.record.direction is Direction.FORWARD:
        assert intent.evict


def _mark_ready_requires_no_conflicting_task(m: Input, action: Action) -> None:
    intent = intended(m, action)
    if intent is None or intent.kind is not IntentKind.MARK_READY:
        return
    if not isinstance(action, ExecuteIntent):
        assert m.record.was_ready
    assert intent.pod == m.observed.pod_uid
    health, task_list = fresh_reply(m, PodQuery.HEALTH), fresh_reply(m, PodQuery.TASKS)
    assert health is not None
    assert health.status == 503
    assert task_list is not None
    assert task_list.status == 200
    tasks = observation.tasks(task_list)
    assert tasks is not None
    assert not preflight.conflicting_task(tasks)
    related = m.observed.related
    assert not [
        *preflight.open_work(related.tasks, m.record.name),
        *preflight.open_work(related.workflows, m.record.name),
    ]


def _owner_changes_take_precedence(m: Input, action: Action) -> None:
    node, statefulset = m.observed.seinode, m.observed.statefulset
    foreign = node is None or node["metadata"]["uid"] != m.record.uid or "deletionTimestamp" in node["metadata"]
    foreign = foreign or statefulset is None or statefulset["metadata"]["uid"] != m.record.statefulset_uid
    spec = (node or {}).get("spec", {})
    owner_change = m.record.modified and (spec.get("paused") or spec.get("image") != m.record.seid_image)
    if foreign or owner_change or (m.record.holds and m.observed.hold.error):
        assert not isinstance(action, (ExecuteIntent, QueryPod, VerifyHold, Wait))
        assert saved_intent(m, action) is None


def _failed_node_never_continues_forward(m: Input, action: Action) -> None:
    if not isinstance(action, SaveRecord):
        return
    if m.record.direction is Direction.ROLLBACK:
        assert action.record.direction is Direction.ROLLBACK
        assert action.record.failure == m.record.failure


def _record_keeps_node_and_run(m: Input, action: Action) -> None:
    if isinstance(action, SaveRecord):
        for name in ("namespace", "name", "uid", "statefulset_uid", "seid_image", "run", "plan", "strategy", "holds"):
            assert getattr(action.record, name) == getattr(m.record, name)
        assert set(m.record.replaced_pods) <= set(action.record.replaced_pods)
        assert action.record != m.record, "saving an unchanged record would loop forever"
        assert record.parse(action.record.to_json()) == action.record


def _takeover_comes_first(m: Input, action: Action) -> None:
    tokens = {
        observation.hold_of(o)
        for o in (m.observed.statefulset, m.observed.service)
        if observation.owned_by(o, m.observed.seinode)
    }
    if m.record.outcome is None and tokens - {None, m.record.run}:
        assert isinstance(action, TakeOverHold)
        assert action.new == m.record.run
    if isinstance(action, Fence):
        assert m.record.intent is not None
        assert m.record.intent.token != m.record.run == action.token


def _policy_stage_requires_accepted_findings(m: Input, action: Action) -> None:
    forward = m.record.direction is Direction.FORWARD and m.record.stage is StageName.POLICY
    if not forward or not isinstance(action, SaveRecord) or action.record.stage is not StageName.RELEASE:
        return
    review = m.observed.access_review
    assert review is not None and m.now - review.at < RECHECK_INTERVAL
    severities = {finding.severity for finding in review.policy}
    assert FindingSeverity.ERROR not in severities or m.record.accepted_findings is AcceptedFindings.VIOLATIONS
    assert FindingSeverity.UNKNOWN not in severities or m.record.accepted_findings is not AcceptedFindings.NOTHING


def _wait_has_duration_and_reason(m: Input, action: Action) -> None:
    if isinstance(action, Wait):
        assert action.seconds > 0
        assert action.reason


INVARIANTS = (
    _only_the_journaled_intent_is_executed,
    _intent_has_the_token_of_its_run,
    _written_template_can_start,
    _changes_require_the_hold,
    _pod_is_replaced_with_grace_as_observed,
    _mark_ready_requires_no_conflicting_task,
    _owner_changes_take_precedence,
    _failed_node_never_continues_forward,
    _policy_stage_requires_accepted_findings,
    _record_keeps_node_and_run,
    _takeover_comes_first,
    _wait_has_duration_and_reason,
)


def test_recorded_inputs_cover_each_stage_and_intent_kind() -> None:
    stages = {(m.record.stage, m.record.direction) for m in recorded_inputs()}
    assert {stage for stage, direction in stages if direction is Direction.FORWARD} == set(StageName)
    assert {intent.kind for intent in intents()} == set(IntentKind)
    for drawn in recorded_inputs():
        action = reconcile.next_action(*drawn)
        for invariant in INVARIANTS:
            invariant(drawn, action)


def test_recorded_inputs_lead_to_every_kind_of_action() -> None:
    """No invariant passes for lack of a case."""
    kinds = {type(reconcile.next_action(*drawn)) for drawn in recorded_inputs()}
    assert kinds >= {SaveRecord, ExecuteIntent, TakeOverHold, QueryPod, ReviewAccess, VerifyHold, Wait, Stop}
