"""What the machine never does, for whatever it is told: real moments of runs, and anything made of them.

Each example takes what a run knew at some moment, there or back, and spoils it: objects gone or another's, tokens and
revisions that do not fit, answers that no pod would give, intents of other moments.
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
from tests.engine.harness import Scene, make_plan


class Moment(NamedTuple):
    """All that a decision is made from."""

    record: Record
    seen: NodeObservation
    plan: Plan
    now: float

    def __repr__(self) -> str:
        """Tell what decides most, since a whole moment fills pages."""
        observed = self.seen
        there = [name for name in ("seinode", "statefulset", "service", "pod") if getattr(observed, name) is not None]
        labels = observation.labels(observed.statefulset)
        no = f"refused={observed.eviction_blocked}, admission_denial={observed.admission_denial}"
        return f"{self.record}, {there}, {labels}, {observed.hold}, {observed.replies}, {no}, now={self.now}"


PLANS = (make_plan(), make_plan(failure=Failure(on_node_failure="pause")))
MANY = settings(max_examples=settings().max_examples * 10)


@contextmanager
def _recorded(found: list[Moment]) -> Iterator[None]:
    decide = reconcile.next_action

    def remember(record: Record, observed: NodeObservation, plan: Plan, now: float) -> Action:
        found.append(Moment(record, observed, plan, now))
        return decide(record, observed, plan, now)

    reconcile.next_action = remember
    try:
        yield
    finally:
        reconcile.next_action = decide


def _denies(verb: str) -> Callable[[Request], bool]:
    """Tell somebody's policy against each write of that sort, the trials of the hold and the labels left out."""
    return lambda r: r.verb == verb and not r.dry_run and (verb != "patch" or "/spec/" in str(r.body))


Value = TypeVar("Value")


@lru_cache(maxsize=1)
def moments() -> tuple[Moment, ...]:
    """The moments of runs there and back: staged and merged, under both controllers, held before, and failing."""
    found: list[Moment] = []
    with _recorded(found):
        for mode, strategy in (("fullNode", Strategy.STAGED), ("seed", Strategy.MERGED), ("archive", Strategy.MERGED)):
            scene = Scene(mode, strategy)
            scene.apply()
            scene.rollback(StageName.READY)
            scene.rollback()
            scene.hold()
            scene.world.replace_controller("new")
            scene.apply()
            scene.rollback()
        failing = Scene()
        failing.world.settings.broken_images.add(SPLIT_IMAGE)
        failing.apply()
        refused = Scene()
        refused.budget(0)
        refused.apply()
        for verb in ("patch", "evict"):
            denied = Scene()
            denied.watchdog.denies = _denies(verb)
            denied.apply()
    distinct = [m for i, m in enumerate(found) if not i or m.record != found[i - 1].record or m.seen.pod is None]
    return tuple(distinct)


@lru_cache(maxsize=1)
def intents() -> tuple[Intent, ...]:
    return tuple({repr(m.record.intent): m.record.intent for m in moments() if m.record.intent}.values())


# Spoiling.


def _among(values: Sequence[Value]) -> st.SearchStrategy[Value]:
    """Draw by index: hypothesis would hash each of the values, and all that they hold, for every draw."""
    return st.integers(0, len(values) - 1).map(values.__getitem__)


Spoil = Callable[[st.DrawFn, Moment], Moment]


def _other_record(draw: st.DrawFn, m: Moment) -> Moment:
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
        "replaced_pods": st.sampled_from([(), (m.seen.pod_uid,)]),
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


def _other_record_of_another_moment(draw: st.DrawFn, m: Moment) -> Moment:
    other = draw(_among(moments())).record
    mine = {name: getattr(m.record, name) for name in ("uid", "statefulset_uid", "seid_image", "run")}
    return m._replace(record=replace(other, **mine) if draw(st.booleans()) else other)


def _other_intent(draw: st.DrawFn, m: Moment) -> Moment:
    intent = draw(_among(intents()))
    intent = replace(intent, token=draw(st.sampled_from([m.record.run, "run-0"])), at=draw(_times(m.now)))
    if draw(st.booleans()):
        intent = replace(
            intent, pod=m.seen.pod_uid if intent.kind is not IntentKind.PATCH else "", evict=draw(st.booleans())
        )
    performed = draw(st.sampled_from([None, intent]))
    return m._replace(record=replace(m.record, intent=intent), seen=replace(m.seen, executed_intent=performed))


def _times(now: float) -> st.SearchStrategy[float]:
    return st.sampled_from([now, now - 2, now - 20, now - 200, now - 5000, 0.0])


def _other_objects(draw: st.DrawFn, m: Moment) -> Moment:
    name = draw(st.sampled_from(["seinode", "statefulset", "service", "pod"]))
    other = draw(_among(moments())).seen
    return m._replace(seen=replace(m.seen, **{name: draw(st.sampled_from([None, getattr(other, name)]))}))


def _edited(m: Moment, name: str, edit: Callable[[Object], object]) -> Moment:
    body = getattr(m.seen, name)
    if body is None:
        return m
    body = copy_json(body)
    edit(body)
    return m._replace(seen=replace(m.seen, **{name: body}))


def _other_labels(draw: st.DrawFn, m: Moment) -> Moment:
    name, label = draw(st.sampled_from(["statefulset", "service"])), draw(st.sampled_from([HOLD_LABEL, FREEZE_LABEL]))
    value = draw(st.sampled_from([None, m.record.run, "run-0"]))

    def edit(body: Object) -> None:
        body["metadata"].setdefault("labels", {}).pop(label, None)
        if value is not None:
            body["metadata"]["labels"][label] = value

    return _edited(m, name, edit)


def _other_seinode(draw: st.DrawFn, m: Moment) -> Moment:
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


def _other_statefulset(draw: st.DrawFn, m: Moment) -> Moment:
    def containers(body: Object) -> list[Object]:
        spec = body["spec"]["template"]["spec"]
        return [*spec["initContainers"], *spec["containers"]]

    which = draw(st.integers(1, 3))
    edits: list[Callable[[Object], object]] = [
        lambda body: body["metadata"].update(uid="another"),
        lambda body: body.setdefault("status", {}).update(updateRevision="another"),
        lambda body: body.setdefault("status", {}).update(observedGeneration=0),
        lambda body: body.pop("status", None),
        lambda body: body["metadata"].pop("ownerReferences", None),
        lambda body: body["metadata"].pop("managedFields", None),
        lambda body: body["spec"].update(replicas=0),
        lambda body: containers(body)[1].update(image=draw(st.sampled_from([SPLIT_IMAGE, "x:y", "not an image!"]))),
        lambda body: containers(body)[which].update(name="renamed"),
        lambda body: containers(body)[which].pop("args", None),
        lambda body: containers(body)[which].pop("env", None),
        lambda body: containers(body)[2].update(args=["--ignore-paths=/v0/x"]),
        lambda body: containers(body)[which].pop("startupProbe", None),
    ]
    return _edited(m, "statefulset", draw(st.sampled_from(edits)))


def _other_pod(draw: st.DrawFn, m: Moment) -> Moment:
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


def _other_answers(draw: st.DrawFn, m: Moment) -> Moment:
    answers = dict(m.seen.replies)
    for question in draw(st.sets(st.sampled_from(PodQuery), min_size=1)):
        status = draw(st.sampled_from([None, 200, 401, 403, 404, 500, 503]))
        pod = draw(st.sampled_from([m.seen.pod_uid, "another"]))
        answers[question] = PodReply(pod, draw(_times(m.now)), status, draw(BODIES), reason="" if status else "why")
    return m._replace(seen=replace(m.seen, replies=answers))


def _willing_pod(draw: st.DrawFn, m: Moment) -> Moment:
    """A pod that asks to be marked ready, or that answers as the gates want it."""
    asks = draw(st.booleans())
    ready = '[{"type": "mark-ready", "status": "completed"}]'
    statuses = {PodQuery.HEALTH: 503 if asks else 200, PodQuery.METRICS: 200, PodQuery.ANONYMOUS: 401}
    answers = {q: PodReply(m.seen.pod_uid, m.now, s, "") for q, s in statuses.items()}
    answers[PodQuery.TASKS] = PodReply(m.seen.pod_uid, m.now, 200, ready)
    return m._replace(seen=replace(m.seen, replies=answers), record=replace(m.record, since=m.now - 100))


def _other_hold(draw: st.DrawFn, m: Moment) -> Moment:
    problem = draw(st.sampled_from(["", "", "ValidatingAdmissionPolicy seimigrate-hold is gone"]))
    proven = draw(st.sampled_from([None, m.now, m.now - 1, m.now - 1000]))
    return m._replace(seen=replace(m.seen, hold=HoldStatus(problem, proven)))


def _other_around(draw: st.DrawFn, m: Moment) -> Moment:
    task = {"metadata": {"name": "t"}, "spec": {"target": {"nodeRef": {"name": m.record.name}}}}
    others: dict[str, Any] = {draw(st.sampled_from(["tasks", "workflows"])): (task,)}
    around = replace(m.seen.related, **others)
    refused, progress = draw(st.booleans()), draw(_times(m.now))
    denied = draw(st.sampled_from(["", "", "not on Fridays"]))
    return m._replace(
        seen=replace(m.seen, related=around, eviction_blocked=refused, admission_denial=denied, progressed_at=progress)
    )


def _other_judgement(draw: st.DrawFn, m: Moment) -> Moment:
    severities = draw(st.lists(st.sampled_from(FindingSeverity), max_size=2))
    policy = tuple(Finding("policy", severity, "NetworkPolicy a/b", "lets in", "narrow it") for severity in severities)
    review = draw(st.sampled_from([None, AccessReview(m.now, policy), AccessReview(m.now - 100, policy)]))
    return m._replace(seen=replace(m.seen, access_review=review))


def _other_time(draw: st.DrawFn, m: Moment) -> Moment:
    return m._replace(now=m.now + draw(st.sampled_from([0.0, 1.0, 4.0, 31.0, 130.0, 700.0, 4000.0])))


def _other_plan(draw: st.DrawFn, m: Moment) -> Moment:
    return m._replace(plan=draw(_among(PLANS)))


SPOILS: tuple[Spoil, ...] = (
    _other_record,
    _other_record_of_another_moment,
    _other_intent,
    _other_objects,
    _other_labels,
    _other_seinode,
    _other_statefulset,
    _other_pod,
    _other_answers,
    _willing_pod,
    _other_hold,
    _other_around,
    _other_judgement,
    _other_time,
    _other_plan,
)


@st.composite
def spoiled(draw: st.DrawFn) -> Moment:
    moment = draw(_among(moments()))
    for spoil in draw(st.lists(st.sampled_from(SPOILS), max_size=5)):
        moment = spoil(draw, moment)
    return moment


# Never.


def begun(moment: Moment, action: Action) -> Intent | None:
    """The intent that an action writes into the journal."""
    if not isinstance(action, SaveRecord) or action.record.outcome is not None:
        return None
    return action.record.intent if action.record.intent != moment.record.intent else None


def due(moment: Moment, action: Action) -> Intent | None:
    """The intent that an action carries out or begins."""
    return action.intent if isinstance(action, ExecuteIntent) else begun(moment, action)


def of_template(intent: Intent | None) -> bool:
    return intent is not None and any(c.path.startswith("spec.template.") for c in intent.changes)


def proven(moment: Moment) -> bool:
    at = moment.seen.hold.verified_at
    return at is not None and moment.now - at < HOLD_PROOF_TTL


def fresh(moment: Moment, query: PodQuery) -> PodReply | None:
    reply = moment.seen.reply(query)
    return reply if reply is not None and moment.now - reply.at < RECHECK_INTERVAL else None


@MANY
@given(spoiled())
def test_never(moment: Moment) -> None:
    action = reconcile.next_action(*moment)
    for rule in RULES:
        rule(moment, action)


def _only_what_the_journal_holds_is_carried_out(m: Moment, action: Action) -> None:
    if isinstance(action, ExecuteIntent):
        assert action.intent == m.record.intent
        assert action.intent != m.seen.executed_intent
    if m.record.outcome is not None:
        assert isinstance(action, Stop)
    else:
        assert not isinstance(action, Stop)


def _an_intent_bears_the_token_of_its_run(m: Moment, action: Action) -> None:
    intent = begun(m, action)
    if intent is not None:
        assert intent.token == m.record.run


def _no_template_is_written_that_could_not_start(m: Moment, action: Action) -> None:
    intent = due(m, action)
    if intent is None or not of_template(intent):
        return
    assert m.seen.statefulset is not None
    spec = changing.apply(m.seen.statefulset, intent.changes)["spec"]["template"]["spec"]
    assert not defects(spec, lambda image: image == SPLIT_IMAGE, health_paths=HEALTH_ROUTES)


def _nothing_moves_without_the_hold(m: Moment, action: Action) -> None:
    intent = due(m, action)
    if intent is None or not m.record.holds:
        return
    assert not m.seen.hold.error
    if of_template(intent) or intent.kind is IntentKind.REPLACE:
        assert proven(m)
    if of_template(intent) and not isinstance(action, ExecuteIntent):
        assert observation.is_frozen(m.seen.statefulset) or any(FREEZE_LABEL in c.path for c in intent.changes)


def _a_pod_is_replaced_with_grace_as_it_was_seen(m: Moment, action: Action) -> None:
    intent = due(m, action)
    if intent is None or intent.kind is not IntentKind.REPLACE:
        return
    assert m.seen.pod is not None
    assert m.seen.statefulset is not None
    assert intent.grace >= 1
    assert intent.pod == m.seen.pod_uid
    assert not observation.is_terminating(m.seen.pod)
    if isinstance(action, ExecuteIntent):
        to, back = m.record.rollback_to, m.record.direction is Direction.ROLLBACK
        for change in m.record.changes:
            if change.kind == "StatefulSet":
                leaves = back and (to is None or StageName(change.stage).position > to.position)
                assert (change.state(m.seen.statefulset) is State.AFTER) != leaves
    if observation.is_ready(m.seen.pod) and m.record.direction is Direction.FORWARD:
        assert intent.evict


def _nobody_is_marked_ready_against_an_intent(m: Moment, action: Action) -> None:
    intent = due(m, action)
    if intent is None or intent.kind is not IntentKind.MARK_READY:
        return
    if not isinstance(action, ExecuteIntent):
        assert m.record.was_ready
    assert intent.pod == m.seen.pod_uid
    health, listed = fresh(m, PodQuery.HEALTH), fresh(m, PodQuery.TASKS)
    assert health is not None
    assert health.status == 503
    assert listed is not None
    assert listed.status == 200
    tasks = observation.tasks(listed)
    assert tasks is not None
    assert not preflight.conflicting_task(tasks)
    around = m.seen.related
    assert not [
        *preflight.open_work(around.tasks, m.record.name),
        *preflight.open_work(around.workflows, m.record.name),
    ]


def _the_owners_wish_goes_first(m: Moment, action: Action) -> None:
    node, statefulset = m.seen.seinode, m.seen.statefulset
    another = node is None or node["metadata"]["uid"] != m.record.uid or "deletionTimestamp" in node["metadata"]
    another = another or statefulset is None or statefulset["metadata"]["uid"] != m.record.statefulset_uid
    spec = (node or {}).get("spec", {})
    wish = m.record.modified and (spec.get("paused") or spec.get("image") != m.record.seid_image)
    if another or wish or (m.record.holds and m.seen.hold.error):
        assert not isinstance(action, (ExecuteIntent, QueryPod, VerifyHold, Wait))
        assert begun(m, action) is None


def _what_failed_never_goes_forward_again(m: Moment, action: Action) -> None:
    if not isinstance(action, SaveRecord):
        return
    if m.record.direction is Direction.ROLLBACK:
        assert action.record.direction is Direction.ROLLBACK
        assert action.record.failure == m.record.failure


def _a_record_stays_its_nodes_and_its_runs(m: Moment, action: Action) -> None:
    if isinstance(action, SaveRecord):
        for name in ("namespace", "name", "uid", "statefulset_uid", "seid_image", "run", "plan", "strategy", "holds"):
            assert getattr(action.record, name) == getattr(m.record, name)
        assert set(m.record.replaced_pods) <= set(action.record.replaced_pods)
        assert action.record != m.record, "a note that says nothing new would go on for ever"
        assert record.parse(action.record.to_json()) == action.record


def _a_takeover_comes_before_everything_else(m: Moment, action: Action) -> None:
    tokens = {
        observation.hold_of(o) for o in (m.seen.statefulset, m.seen.service) if observation.owned_by(o, m.seen.seinode)
    }
    if m.record.outcome is None and tokens - {None, m.record.run}:
        assert isinstance(action, TakeOverHold)
        assert action.new == m.record.run
    if isinstance(action, Fence):
        assert m.record.intent is not None
        assert m.record.intent.token != m.record.run == action.token


def _no_node_leaves_the_policy_stage_open(m: Moment, action: Action) -> None:
    forward = m.record.direction is Direction.FORWARD and m.record.stage is StageName.POLICY
    if not forward or not isinstance(action, SaveRecord) or action.record.stage is not StageName.RELEASE:
        return
    review = m.seen.access_review
    assert review is not None and m.now - review.at < RECHECK_INTERVAL
    found = {finding.severity for finding in review.policy}
    assert FindingSeverity.ERROR not in found or m.record.accepted_findings is AcceptedFindings.VIOLATIONS
    assert FindingSeverity.UNKNOWN not in found or m.record.accepted_findings is not AcceptedFindings.NOTHING


def _waiting_takes_time(m: Moment, action: Action) -> None:
    if isinstance(action, Wait):
        assert action.seconds > 0
        assert action.reason


RULES = (
    _only_what_the_journal_holds_is_carried_out,
    _an_intent_bears_the_token_of_its_run,
    _no_template_is_written_that_could_not_start,
    _nothing_moves_without_the_hold,
    _a_pod_is_replaced_with_grace_as_it_was_seen,
    _nobody_is_marked_ready_against_an_intent,
    _the_owners_wish_goes_first,
    _what_failed_never_goes_forward_again,
    _no_node_leaves_the_policy_stage_open,
    _a_record_stays_its_nodes_and_its_runs,
    _a_takeover_comes_before_everything_else,
    _waiting_takes_time,
)


def test_the_moments_cover_every_stage_both_ways_and_every_intent() -> None:
    stages = {(m.record.stage, m.record.direction) for m in moments()}
    assert {stage for stage, way in stages if way is Direction.FORWARD} == set(StageName)
    assert {intent.kind for intent in intents()} == set(IntentKind)
    for moment in moments():
        action = reconcile.next_action(*moment)
        for rule in RULES:
            rule(moment, action)


def test_the_rules_meet_the_actions_that_they_are_about() -> None:
    """Every kind of action comes from the moments as they were, so no rule holds for want of a case."""
    kinds = {type(reconcile.next_action(*moment)) for moment in moments()}
    assert kinds >= {SaveRecord, ExecuteIntent, TakeOverHold, QueryPod, ReviewAccess, VerifyHold, Wait, Stop}
