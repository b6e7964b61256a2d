"""A model of the sidecar: its routes, its tasks on the volume, and its readiness in memory.

Readiness is lost at each start; a ``mark-ready`` task gives it back, unless its id was completed before (upstream).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from seimigrate.domain.kube.kinds import Object
from seimigrate.engine.ports import Response
from seimigrate.simulation.objects import timestamp

HEALTH_ROUTES = ("/v0/healthz", "/v0/livez", "/v0/startupz", "/v0/metrics")
_SHARED_ONLY = ("/v0/status", "/v0/node-id")
_NOT_FOUND = Response(404, "404 page not found\n")
_LISTED = 100


@dataclass(slots=True)
class Volume:
    """What outlives a node's pods: the sidecar's tasks, oldest first, and the chain's height."""

    tasks: dict[str, Object] = field(default_factory=dict)
    height: float = 1000.0
    height_at: float = 0.0


def serve(
    method: str,
    path: str,
    body: Mapping[str, Any] | None,
    user: str,
    *,
    tasks: bool,
    health: bool,
    ready: bool,
    missing: frozenset[str],
    volume: Volume,
    now: float,
) -> tuple[Response, bool]:
    """Answer one request on a listener that has the tasks, the health routes, or both; give the new readiness.

    ``user`` is what the proxy puts into X-Remote-User: tasks are refused without it (authentication by trusted header).
    """
    path = path.split("?", 1)[0]
    if path in missing:
        return _NOT_FOUND, ready
    if health and (path in HEALTH_ROUTES or (tasks and path in _SHARED_ONLY)):
        return _health(method, path, ready), ready
    if tasks and (path == "/v0/tasks" or path.startswith("/v0/tasks/")):
        if not user:
            return Response(401, "missing trusted header\n"), ready
        return _tasks(method, path, body, ready, volume, now)
    return _NOT_FOUND, ready


def _health(method: str, path: str, ready: bool) -> Response:
    if method not in ("GET", "HEAD"):
        return Response(405, "method not allowed\n")
    if path == "/v0/healthz":
        return Response(200, "ok\n") if ready else Response(503, "not ready\n")
    if path == "/v0/metrics":
        return Response(200, f"# TYPE sei_sidecar_ready gauge\nsei_sidecar_ready {int(ready)}\n")
    return Response(200, "ok\n")


def _tasks(
    method: str, path: str, body: Mapping[str, Any] | None, ready: bool, volume: Volume, now: float
) -> tuple[Response, bool]:
    task_id = path.removeprefix("/v0/tasks").strip("/")
    if not task_id and method == "GET":
        newest = list(reversed(volume.tasks.values()))[:_LISTED]
        return Response(200, json.dumps(newest)), ready
    if not task_id and method == "POST":
        return _post(body or {}, ready, volume, now)
    if task_id not in volume.tasks:
        return Response(404, '{"error": "task not found"}'), ready
    if method == "DELETE":
        del volume.tasks[task_id]
        return Response(204, ""), ready
    return (Response(200, json.dumps(volume.tasks[task_id])) if method == "GET" else Response(405, "")), ready


def _post(body: Mapping[str, Any], ready: bool, volume: Volume, now: float) -> tuple[Response, bool]:
    kind = body.get("type")
    if not isinstance(kind, str) or not kind:
        return Response(400, '{"error": "a task needs a type"}'), ready
    try:
        # Made from the time and the count, so that the same run gives the same ids.
        made = uuid.uuid5(uuid.NAMESPACE_OID, f"{now} {len(volume.tasks)}")
        task_id = str(uuid.UUID(str(body["id"]))) if body.get("id") else str(made)
    except ValueError:
        return Response(400, '{"error": "the id is no UUID"}'), ready
    answer = Response(201, json.dumps({"id": task_id}))
    if volume.tasks.get(task_id, {}).get("status") == "completed":
        return answer, ready
    if kind == "mark-not-ready":
        for old in [key for key, task in volume.tasks.items() if task["type"] == "mark-ready"]:
            del volume.tasks[old]
    at = timestamp(now)
    volume.tasks[task_id] = {"id": task_id, "type": kind, "status": "completed", "createdAt": at, "completedAt": at}
    return answer, {"mark-ready": True, "mark-not-ready": False}.get(kind, ready)


def height(volume: Volume, now: float) -> int:
    """Give the height that a seid with this volume has reached, at two and a half blocks a second while it runs."""
    return int(volume.height + max(0.0, now - volume.height_at) * 2.5)
