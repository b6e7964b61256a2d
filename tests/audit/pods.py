"""Rule 6: how pods are ended, and whom a mark-ready would go against."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.audit.events import Call, Json, Request
from tests.audit.violations import Case, Violation, broken, broken_call

AGAINST = frozenset({"mark-not-ready", "stop-seid", "reset-data", "snapshot-restore"})
"""The tasks with which somebody takes a node out of service: to mark it ready after them is to decide for them."""

DONE = frozenset({"completed", "complete", "done", "succeeded"})


def grace(case: Case) -> Iterator[Violation]:
    """Every pod is given time to stop, and is told how much: none of zero, none left out, no force, even if refused."""
    for request in filter(case.ours, case.requests):
        if not request.kills:
            continue
        given = _grace(request)
        if given is None:
            yield broken(6, request, "ends a pod without saying its grace period")
        elif given <= 0:
            yield broken(6, request, f"ends a pod with grace period {given}")
        if any("ignoreStoreReadError" in name and value for name, value in _all_options(request).items()):
            yield broken(6, request, "ends a pod by force")
        if _all_options(request).get("force") in (True, "true"):
            yield broken(6, request, "ends a pod by force")


def _all_options(request: Request) -> Json:
    return {**request.query, **request.options}


def _grace(request: Request) -> int | None:
    given = _all_options(request).get("gracePeriodSeconds")
    return int(str(given)) if str(given).lstrip("-").isdigit() else None


def intents(case: Case) -> Iterator[Violation]:
    """No mark-ready goes to a sidecar that showed somebody's wish that its node be not ready."""
    volumes: dict[tuple[str, str], Volume] = {}
    for call in case.calls:
        if call.path.rstrip("/") != "/v0/tasks":
            continue
        # The tasks lie on the node's volume: they outlive the pod, whose name is always the same.
        volume = volumes.setdefault((call.namespace, call.pod), Volume())
        if case.our_call(call) and _posted(call) == "mark-ready" and volume.against:
            yield broken_call(6, call, f"marks ready what was taken out of service by a {volume.against}")
        volume.learn(call)


class Volume:
    """What is known of the tasks on one node's volume."""

    def __init__(self) -> None:
        """Begin with nothing known."""
        self.against = ""
        self._known: set[str] = set()

    def learn(self, call: Call) -> None:
        """Take in what one call to ``/v0/tasks`` shows."""
        if not 200 <= call.status < 300:
            return
        if call.method == "GET":
            self._listed(call.body)
        elif kind := _posted(call):
            self._taken(kind, str(call.body.get("id") or ""))

    def _taken(self, kind: str, task: str) -> None:
        repeated = task in self._known
        if task:
            self._known.add(task)
        if kind in AGAINST:
            self.against = kind
        elif kind == "mark-ready" and not repeated:  # a completed id that is posted again does nothing
            self.against = ""

    def _listed(self, body: Any) -> None:
        tasks = body.get("tasks", body.get("items")) if isinstance(body, dict) else body
        if not isinstance(tasks, list):
            return
        for task in sorted(tasks, key=_created, reverse=True):
            self._known.add(str(task.get("id") or ""))
        for task in sorted(tasks, key=_created, reverse=True):
            if task.get("type") in AGAINST:
                self.against = str(task["type"])
                return
            if task.get("type") == "mark-ready" and str(task.get("status", "")).lower() in DONE:
                self.against = ""
                return


def _created(task: Json) -> str:
    """Give when a task was made; the sort is stable, so that without it the list's order (newest first) counts."""
    return str(task.get("createdAt") or task.get("submittedAt") or "")


def _posted(call: Call) -> str:
    if call.method != "POST" or not isinstance(call.body, dict):
        return ""
    return str(call.body.get("type") or "")
