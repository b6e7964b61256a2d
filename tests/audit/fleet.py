"""Rules 2, 3 and 5: what may happen to one node while another is down, has failed, or moves; and what stays behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.audit.events import Json, Request
from tests.audit.history import PREFIX, RUN, node_of, node_of_pod, record_of
from tests.audit.violations import FREEZE, HOLD, Case, Violation, broken

Node = tuple[str, str]
STAGES = ("hold", "check", "expose", "probes", "ready", "enforce", "policy", "release")
MOVING = STAGES.index("expose")


@dataclass(frozen=True, slots=True)
class Outage:
    """A node without its pod, by seimigrate's hand."""

    node: Node
    uid: str
    chain: str | None
    validator: bool
    request: Request


def budget(case: Case) -> Iterator[Violation]:
    """Rule 2: no pod is taken away while the nodes that wait for theirs are as many as the budget, or their twin."""
    ready = sorted(_ready(case))
    outages: list[Outage] = []
    kills = [r for r in case.requests if r.kills and r.ok and case.ours(r) and r.verb != "deletecollection"]
    for request in sorted(filter(case.takes_a_node, kills), key=lambda request: request.at):
        this = _outage(case, request)
        outages = [o for o in outages if o.node != this.node and not _over(case, o, ready, request.at)]
        if len(outages) >= case.budget:
            names = ", ".join("/".join(outage.node) for outage in outages)
            yield broken(2, request, f"takes a pod away while {names} is not ready again (budget {case.budget})")
        for other in outages:
            if this.validator and other.validator and this.chain == other.chain:
                twin = "/".join(other.node)
                yield broken(2, request, f"takes a second validator of {this.chain} down, beside {twin}")
        outages.append(this)


def _ready(case: Case) -> Iterator[tuple[float, Node, str]]:
    """Give when which pod of which node was seen Ready."""
    for (_, namespace, _), state, request in case.history.writes("pods"):
        pod = state.object
        if pod is None or pod["metadata"].get("deletionTimestamp"):
            continue
        conditions = (pod.get("status") or {}).get("conditions") or []
        if any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions):
            yield request.at, (namespace, _node(pod)), str(pod["metadata"].get("uid", ""))


def _node(pod: Json) -> str:
    labels = pod["metadata"].get("labels") or {}
    return str(labels.get("sei.io/node") or node_of_pod(pod["metadata"]["name"]))


def _outage(case: Case, request: Request) -> Outage:
    pod = case.history.before(request.key, request) or {"metadata": {"name": request.name}}
    labels = pod["metadata"].get("labels") or {}
    pinned = (request.options.get("preconditions") or {}).get("uid")
    return Outage(
        node=(request.namespace, _node(pod)),
        uid=str(pinned or pod["metadata"].get("uid", "")),
        chain=labels.get("sei.io/chain"),
        validator=labels.get("sei.io/role") == "validator",
        request=request,
    )


def _over(case: Case, outage: Outage, ready: list[tuple[float, Node, str]], moment: float) -> bool:
    """Say whether the node has its next pod, or is to have none: somebody scaled it to zero, or deleted it."""
    since = outage.request.at
    if any(since < at < moment and node == outage.node and uid != outage.uid for at, node, uid in ready):
        return True
    namespace, name = outage.node
    for state in case.history.states(("statefulsets", namespace, name)):
        wanted = None if state.object is None else state.object["spec"].get("replicas", 1)
        if since < state.at < moment and not wanted:
            return True
    return False


def failures(case: Case) -> Iterator[Violation]:
    """Rule 3: after more failed nodes than the run may go on after, no other node starts.

    A failure counts while its node is not settled, and for the run that settled it: a person may start another run.
    """
    records: dict[Node, Json] = {}
    for (_, namespace, name), state, request in case.history.writes("configmaps"):
        record = record_of(state.object)
        if not name.startswith(PREFIX) or name == RUN or not record:
            continue
        node = (namespace, str(record.get("name") or name.removeprefix(PREFIX)))
        previous = records.get(node, {})
        failed = [n for n, r in records.items() if n != node and _counts(r, str(record.get("run")))]
        if len(failed) > case.max_failed and _starts(previous, record):
            names = ", ".join("/".join(n) for n in sorted(failed))
            yield broken(3, request, f"{'/'.join(node)} starts after {names} failed ({case.max_failed} may)")
        records[node] = record


def _counts(record: Json, run: str) -> bool:
    return record.get("failure") is not None and (record.get("outcome") is None or record.get("run") == run)


def _starts(previous: Json, record: Json) -> bool:
    """Say whether a node sets out: one that had already changed something is only finished."""
    if record.get("direction") != "forward" or record.get("failure") is not None:
        return False
    before, now = _place(previous), _place(record)
    return before < MOVING and now > max(before, 0)


def _place(record: Json) -> int:
    if not record:
        return -1
    stage = str(record.get("stage"))
    return STAGES.index(stage) if stage in STAGES else len(STAGES)


def holds(case: Case) -> Iterator[Violation]:
    """Rule 5: the controller touches no pod of a frozen node, and no label is left without being told."""
    for request in case.requests:
        if request.kills and request.ok and request.user == case.controller_user:
            frozen = _frozen(case, request)
            if frozen:
                yield broken(5, request, f"the controller ends a pod of StatefulSet {frozen}, which is frozen")
    yield from _left(case, "statefulsets", FREEZE)
    yield from _left(case, "statefulsets", HOLD)
    yield from _left(case, "services", HOLD)


def _frozen(case: Case, request: Request) -> str:
    pod = case.history.before(request.key, request) or {"metadata": {}}
    owners = [o["name"] for o in pod["metadata"].get("ownerReferences") or [] if o.get("kind") == "StatefulSet"]
    name = str(owners[0]) if owners else node_of_pod(request.name)
    owner = case.history.before(("statefulsets", request.namespace, name), request)
    return name if owner and FREEZE in (owner["metadata"].get("labels") or {}) else ""


def _left(case: Case, resource: str, label: str) -> Iterator[Violation]:
    for (_, namespace, name), thing in case.history.final(resource):
        if label not in (thing["metadata"].get("labels") or {}):
            continue
        journal = case.history.last_journal(namespace, node_of(thing["metadata"]))
        outcome = journal.get("outcome")
        last = max((request.at for request in case.requests), default=0.0)
        if label == FREEZE and outcome not in (None, "paused", "failed"):
            yield Violation(5, last, "", f"{resource} {namespace}/{name}", "is left frozen though its node is settled")
        if label == HOLD and not _told(outcome):
            said = "its journal has no outcome" if outcome is None else f"its journal says {outcome!r}"
            yield Violation(5, last, "", f"{resource} {namespace}/{name}", f"is left held, and {said}")


def _told(outcome: object) -> bool:
    text = outcome.lower() if isinstance(outcome, str) else ""
    return "held" in text or text in ("paused", "failed")
