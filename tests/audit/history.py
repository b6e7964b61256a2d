"""Every state that the objects of a log had, and which of them a request met.

Answers carry the object as it was stored, and its resourceVersion is etcd's revision: one order for all writes of a
cluster, whatever the order of the lines. Requests whose answer is a mere Status (evictions, most deletions) are
ordered by their time of arrival: a client sends nothing that rests on a write before that write has arrived.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.audit.events import Json, Key, Request, revision_of

KEPT = frozenset({"statefulsets", "services", "pods", "configmaps"})
WHOLE = frozenset({"", "status", "ephemeralcontainers", "resize"})
"""The subresources whose answers are the whole object."""

MANAGED_BY = "app.kubernetes.io/managed-by"
SYSTEM = "seimigrate-system"
RUN = "seimigrate-run"
GUARD = "seimigrate-guard"
PREFIX = "seimigrate-"


@dataclass(frozen=True, slots=True)
class State:
    """An object as it was from one revision on; ``None`` once it is gone."""

    revision: int
    at: float
    object: Json | None


class History:
    """All states of all objects of a log."""

    def __init__(self, requests: Iterable[Request]) -> None:
        """Collect the states that the answers show."""
        self._states: dict[Key, list[State]] = {}
        self._authors: dict[tuple[Key, int], Request] = {}
        newest = 0
        for request in requests:
            if request.ok and not request.dry and request.resource in KEPT:
                for key, state in _shown(request, newest):
                    newest = max(newest, state.revision)
                    self._add(key, state, request)
        for states in self._states.values():
            states.sort(key=lambda state: state.revision)

    def _add(self, key: Key, state: State, request: Request) -> None:
        self._states.setdefault(key, []).append(state)
        if request.write:
            # A write that changes nothing answers with the revision that it found: the first to arrive made it,
            # unless another one cannot have left things as they were (the first may have been held up on its way).
            known = self._authors.get((key, state.revision))
            if known is None or _weight(request) < _weight(known):
                self._authors[key, state.revision] = request

    def changed(self, request: Request) -> bool:
        """Say whether this request made the revision that its answer shows."""
        revision = request.revision
        return revision is not None and self._authors.get((request.key, revision)) is request

    def before(self, key: Key, request: Request) -> Json | None:
        """Give an object as it was just before a request took effect; ``None`` if it was not there or not shown."""
        revision = request.revision
        if revision is not None and self.changed(request):
            return _last(state for state in self._states.get(key, []) if state.revision < revision)
        return self.at(key, request.at)

    def at(self, key: Key, moment: float) -> Json | None:
        """Give an object as it was at a moment."""
        return _last(state for state in self._states.get(key, []) if state.at < moment)

    def final(self, resource: str) -> Iterator[tuple[Key, Json]]:
        """Give all objects of a kind that are there at the end of the log."""
        for key, states in self._states.items():
            last = states[-1].object
            if key[0] == resource and last is not None:
                yield key, last

    def writes(self, resource: str) -> Iterator[tuple[Key, State, Request]]:
        """Give each new state of each object of a kind with the request that made it, in the cluster's order."""
        made = [(revision, key, request) for (key, revision), request in self._authors.items() if key[0] == resource]
        for revision, key, request in sorted(made, key=lambda item: item[0]):
            state = next(s for s in self._states[key] if s.revision == revision)
            yield key, state, request

    def states(self, key: Key) -> list[State]:
        """Give all states of one object."""
        return self._states.get(key, [])

    # ------------------------------------------------------------ journals

    def journal(self, namespace: str, node: str, request: Request) -> Json:
        """Give what a node's journal said when a request took effect; empty if it said nothing."""
        return record_of(self.before(("configmaps", namespace, PREFIX + node), request))

    def journal_at(self, namespace: str, node: str, moment: float) -> Json:
        """Give what a node's journal said at a moment; empty if it said nothing."""
        return record_of(self.at(("configmaps", namespace, PREFIX + node), moment))

    def last_journal(self, namespace: str, node: str) -> Json:
        """Give what a node's journal says at the end; empty if it says nothing."""
        states = self.states(("configmaps", namespace, PREFIX + node))
        return record_of(states[-1].object) if states else {}

    def guard_at(self, moment: float) -> Json:
        """Give what the guard's journal said at a moment: its nodes' marks, each by ``namespace/name``."""
        return record_of(self.at(("configmaps", SYSTEM, GUARD), moment))

    def run(self, request: Request) -> Json:
        """Give what the run's record said when a request took effect; empty if it said nothing."""
        return record_of(self.before(("configmaps", SYSTEM, RUN), request))


def record_of(configmap: Json | None) -> Json:
    """Give the record that a ConfigMap of seimigrate's carries; empty if it is not one, or is damaged."""
    if configmap is None or (configmap["metadata"].get("labels") or {}).get(MANAGED_BY) != "seimigrate":
        return {}
    try:
        record = json.loads((configmap.get("data") or {}).get("record", ""))
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def node_of(metadata: Json) -> str:
    """Give the name of the SeiNode that an object of its belongs to."""
    labels: dict[str, str] = metadata.get("labels") or {}
    for owner in metadata.get("ownerReferences") or []:
        if owner.get("kind") == "SeiNode":
            return str(owner["name"])
    return labels.get("sei.io/node") or str(metadata.get("name", ""))


def node_of_pod(name: str) -> str:
    """Give the name of the SeiNode whose StatefulSet's only pod has this name."""
    return name.rsplit("-", 1)[0]


def _last(states: Iterable[State]) -> Json | None:
    found = list(states)
    return found[-1].object if found else None


def _shown(request: Request, newest: int) -> Iterator[tuple[Key, State]]:
    """Give the states that one answer shows; one without a revision comes after all that is known."""
    answer: Any = request.answer if isinstance(request.answer, dict) else {}
    if request.verb in ("list", "deletecollection"):
        gone = request.verb == "deletecollection"
        for item in answer.get("items") or []:
            metadata = item.get("metadata") or {}
            key = (request.resource, metadata.get("namespace", ""), metadata.get("name", ""))
            revision = revision_of({"metadata": metadata}) or newest
            yield key, State(newest if gone else revision, request.at, None if gone else item)
    elif request.subresource in WHOLE and request.verb != "watch":
        shown = request.revision
        if request.verb == "delete" and not _lingers(answer):
            yield request.key, State(newest if shown is None else shown, request.at, None)
        elif shown is not None:
            yield request.key, State(shown, request.at, answer)


def _weight(request: Request) -> tuple[bool, float]:
    return not _surely_changes(request), request.at


def _surely_changes(request: Request) -> bool:
    """Say whether a JSON Patch that was accepted has changed what it tested, be it only the revision."""
    tested: dict[str, Any] = {}
    for step in request.body if isinstance(request.body, list) else []:
        path = step.get("path", "")
        if step.get("op") == "test":
            tested[path] = step.get("value")
            if path == "/metadata/resourceVersion" and str(step.get("value")) != str(request.revision):
                return True
        elif path in tested and (step.get("op") == "remove" or step.get("value") != tested[path]):
            return True
    return False


def _lingers(answer: Json) -> bool:
    """Say whether a deleted object stays for its grace period or its finalizers."""
    metadata = answer.get("metadata") or {}
    return bool(metadata.get("deletionTimestamp")) and (
        bool(metadata.get("deletionGracePeriodSeconds")) or bool(metadata.get("finalizers"))
    )
