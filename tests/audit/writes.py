"""Rules 1, 4 and 0: what is written, whether the journal said so before, and with which token."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.audit.cover import bare, differences, uncovered
from tests.audit.events import Call, Json, Request
from tests.audit.history import PREFIX, node_of, node_of_pod, record_of
from tests.audit.startable import defects
from tests.audit.violations import FENCE, HOLD, Case, Violation, broken, broken_call

KINDS = {"statefulsets": "StatefulSet", "services": "Service"}
HOLD_POINTER = "/metadata/labels/" + HOLD.replace("/", "~1")
READS = frozenset({"get", "list", "watch"})


def forbidden(case: Case) -> Iterator[Violation]:
    """Rule 0: no write to sei.io, to Secrets or NetworkPolicies, and no reading of Secrets, be it only tried."""
    for request in filter(case.ours, case.requests):
        if request.resource == "secrets" and (request.verb in READS or request.write):
            yield broken(0, request, "seimigrate has no business with Secrets")
        elif request.write and request.group == "sei.io":
            yield broken(0, request, "seimigrate never writes a SeiNode or anything else of sei.io")
        elif request.write and request.resource == "networkpolicies":
            yield broken(0, request, "NetworkPolicies are provisioned elsewhere")


def startable(case: Case) -> Iterator[Violation]:
    """Rule 1: every template that seimigrate writes, and every pod that is made for a SeiNode, can start."""
    for key, state, request in case.history.writes("statefulsets"):
        if state.object is None or not case.ours(request):
            continue
        template = state.object["spec"]["template"]
        known = case.history.before(key, request)
        if known is None or known["spec"]["template"] != template:
            for defect in _defects(case, template.get("spec") or {}):
                yield broken(1, request, f"writes a template that could not start: {defect}")
    for _, state, request in case.history.writes("pods"):
        made = request.verb == "create" and not request.subresource
        if made and state.object is not None and _of_a_node(state.object):
            for defect in _defects(case, state.object["spec"]):
                yield broken(1, request, f"a pod that cannot start was created: {defect}")


def _defects(case: Case, spec: Json) -> list[str]:
    return defects(
        spec,
        case.split_images,
        public_port=case.public_port,
        proxy_port=case.proxy_port,
        health_paths=case.health_paths,
    )


def _of_a_node(pod: Json) -> bool:
    return "sei.io/node" in (pod["metadata"].get("labels") or {})


def covered(case: Case) -> Iterator[Violation]:
    """Rule 4: every write of a node's objects is the one that its journal tells of, and is made with its token."""
    for request in filter(case.ours, case.requests):
        if not (request.write and request.ok):
            continue
        if request.kills:
            if case.takes_a_node(request):
                yield from _kill(case, request)
        elif request.resource in KINDS:
            yield from _written(case, request)
        elif request.resource == "pods" and request.verb != "create":
            yield from _pod_written(case, request)
    yield from _marked(case)
    yield from _fenced(case)


def _paths(body: object) -> str:
    steps = body if isinstance(body, list) else []
    return ", ".join(f"{step.get('op')} {step.get('path')}" for step in steps)


def _written(case: Case, request: Request) -> Iterator[Violation]:
    if request.verb not in ("patch", "update") or request.subresource:
        yield broken(4, request, "seimigrate changes StatefulSets and Services by patches of what is there, only")
        return
    before, after = case.history.before(request.key, request), request.answer
    if not case.history.changed(request):
        before = after
    if before is None:
        yield broken(4, request, "cannot be judged: the log does not show the object before this write")
        return
    held = _hold(before)
    if held is not None and not _tests(request.body, held):
        yield broken(4, request, f"does not test the hold label, which was {held}; it patches {_paths(request.body)}")
    if not differences(bare(before), bare(after)):
        return
    journal = case.history.journal(request.namespace, node_of(after["metadata"]), request)
    changes, gap = _intended(journal, KINDS[request.resource])
    tokens = [t for t in (journal.get("run"), case.history.run(request).get("run")) if isinstance(t, str)]
    retaken = held is not None and _hold(after) != held and _hold(after) in tokens
    if retaken and _hold_alone(before, after):
        return
    if gap:
        yield broken(4, request, gap)
        return
    if retaken and not any(HOLD in str(change["path"]) for change in changes):
        before = _relabelled(before, str(_hold(after)))
    for place in uncovered(before, after, changes, tokens):
        yield broken(4, request, place)


def _intended(journal: Json, kind: str) -> tuple[list[Json], str]:
    """Give the changes of the journal's open intent, or what is wrong with it."""
    intent = journal.get("intent") or {}
    if intent.get("kind") != "patch":
        return [], "no intent to patch is open in the node's journal"
    if intent.get("object_kind") != kind:
        return [], f"the open intent is to patch a {intent.get('kind')}"
    changes = intent.get("changes") or []
    return [change for change in changes if change.get("kind", kind) == kind], ""


def _hold(thing: Json) -> str | None:
    label = (thing["metadata"].get("labels") or {}).get(HOLD)
    return None if label is None else str(label)


def _relabelled(thing: Json, token: str) -> Json:
    labels = {**thing["metadata"]["labels"], HOLD: token}
    return {**thing, "metadata": {**thing["metadata"], "labels": labels}}


def _hold_alone(before: Json, after: Json) -> bool:
    return not differences(bare(_relabelled(before, str(_hold(after)))), bare(after))


def _tests(body: object, held: str) -> bool:
    """Say whether a JSON Patch tests the label's value before it touches the label."""
    for operation in body if isinstance(body, list) else []:
        path = operation.get("path", "")
        if operation.get("op") == "test" and path == HOLD_POINTER:
            return bool(operation.get("value") == held)
        if operation.get("op") != "test" and f"{HOLD_POINTER}/".startswith(f"{path}/"):
            return False
    return False


def _kill(case: Case, request: Request) -> Iterator[Violation]:
    if request.verb == "deletecollection":
        yield broken(4, request, "deletes pods without naming them")
        return
    pinned = str((request.options.get("preconditions") or {}).get("uid") or "")
    if not pinned:
        yield broken(4, request, "ends a pod without its uid as a precondition")
    known = case.history.before(request.key, request) or {"metadata": {}}
    uid = pinned or str(known["metadata"].get("uid", ""))
    intent = case.history.journal(request.namespace, node_of_pod(request.name), request).get("intent") or {}
    if intent.get("kind") != "replace" or intent.get("pod") != uid:
        yield broken(4, request, f"no intent to replace the pod with uid {uid} is open in the node's journal")
    elif "grace" in intent and request.options.get("gracePeriodSeconds") != intent["grace"]:
        yield broken(4, request, f"gives the pod another grace than the {intent['grace']} s of the intent")


def _pod_written(case: Case, request: Request) -> Iterator[Violation]:
    """Allow but one change of a pod: the annotation that makes an older run's delete miss."""
    before = case.history.before(request.key, request) if case.history.changed(request) else request.answer
    path = f"metadata.annotations[{FENCE}]"
    if request.subresource or before is None:
        yield broken(4, request, "seimigrate writes nothing into a pod but its fence")
        return
    value = (request.answer["metadata"].get("annotations") or {}).get(FENCE)
    was = (before["metadata"].get("annotations") or {}).get(FENCE)
    for place in uncovered(before, request.answer, [{"path": path, "before": was, "after": value}]):
        yield broken(4, request, f"seimigrate writes nothing into a pod but its fence: {place}")


def _marked(case: Case) -> Iterator[Violation]:
    for call in filter(case.our_call, case.calls):
        body = call.body if isinstance(call.body, dict) else {}
        if call.method != "POST" or call.path != "/v0/tasks" or not 200 <= call.status < 300:
            continue
        if body.get("type") != "mark-ready":
            yield broken_call(4, call, f"seimigrate gives sidecars no task of the type {body.get('type')}")
            continue
        if not any(_tells_of(intent, body, call.uid) for intent in _open_intents(case, call)):
            yield broken_call(4, call, f"no intent to mark it ready with task {body.get('id')} is open in the journal")


def _open_intents(case: Case, call: Call) -> Iterator[Json]:
    """Give what the journals said right then of the node: its own, and the guard's."""
    node = node_of_pod(call.pod)
    yield case.history.journal_at(call.namespace, node, call.at).get("intent") or {}
    guarded = case.history.guard_at(call.at).get("nodes") or {}
    yield (guarded.get(f"{call.namespace}/{node}") or {}).get("intent") or {}


def _tells_of(intent: Json, body: Json, uid: str) -> bool:
    return (intent.get("kind"), intent.get("task"), intent.get("pod")) == ("mark-ready", body.get("id"), uid)


def _fenced(case: Case) -> Iterator[Violation]:
    """Nothing is written with a token that is older than the newest run's record."""
    for request in filter(case.ours, case.requests):
        if not (request.write and request.ok):
            continue
        newest, token = case.history.run(request).get("run"), _token(case, request)
        if isinstance(newest, str) and token is not None and _outdated(token, newest):
            yield broken(4, request, f"writes with the token {token} after the run record has {newest}")


def _token(case: Case, request: Request) -> str | None:
    """Give the token in whose name a write was made; ``None`` for what carries none, as the Lease."""
    if request.resource == "configmaps" and request.name.startswith(PREFIX) and request.verb != "delete":
        return _text(record_of(request.answer).get("run"))
    if request.kills:
        return _text(case.history.journal(request.namespace, node_of_pod(request.name), request).get("run"))
    if request.resource in KINDS and isinstance(request.answer, dict) and "metadata" in request.answer:
        before = case.history.before(request.key, request)
        held = _hold(request.answer) or (_hold(before) if before else None)
        node = node_of(request.answer["metadata"])
        return held or _text(case.history.journal(request.namespace, node, request).get("run"))
    return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _outdated(token: str, newest: str) -> bool:
    """Compare two tokens, ``r<number>-<letters>``: of one number there is only one."""
    ours, theirs = _number(token), _number(newest)
    return ours < theirs or (ours == theirs and token != newest)


def _number(token: str) -> int:
    found = re.match(r"r(\d+)-", token)
    return int(found[1]) if found else -1
