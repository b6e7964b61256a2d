"""A model of sei-k8s-controller: the one that shares the sidecar's listener, and the one that splits it.

What it does was seen at the real one (old generation) or follows from the split-listeners request (new generation):
forced server-side apply at each poll and each StatefulSet event; nothing else for a node whose apply is denied;
health by the sidecar's answer, mark-ready on 503; a NodeUpdate when images drift.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from seimigrate.domain.kube.kinds import CONTROLLER_MANAGER, Kind, Object
from seimigrate.engine.errors import ApiError, Unreachable
from seimigrate.engine.ports import Response
from seimigrate.simulation.client import ModelClient
from seimigrate.simulation.objects import CONTROLLER_USER, labels_of, timestamp
from seimigrate.simulation.render import PROXY_PORT, PUBLIC_PORT, Generation, render, sidecar_image

_BACKOFF_FIRST, _BACKOFF_MOST = 0.6, 164.0
_PLAN = ("apply-statefulset", "apply-service", "replace-pod", "observe-image", "mark-ready")


class Network(Protocol):
    """How the controller reaches a pod."""

    def request(
        self,
        namespace: str,
        pod: str,
        port: int,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        token: str = "",
        source: str = "network",
    ) -> Response:
        """Send one request; raises ``Unreachable``."""


@dataclass(slots=True)
class Timing:
    """How fast the controller is, in seconds."""

    poll: float = 30.0
    reaction: float = 0.03
    retry: float = 5.0
    scale: float = 1.0


@dataclass(slots=True)
class _Loop:
    """What the controller remembers of one SeiNode."""

    due: float
    seen: str = ""
    generation: int = 0
    failures: int = 0
    plan: list[str] = field(default_factory=list)
    plan_id: str = ""


class Controller:
    """Reconcile all SeiNodes. ``reaches_public`` is whether the NetworkPolicies let it talk to the public port."""

    def __init__(
        self,
        client: ModelClient,
        network: Network,
        generation: Generation,
        default_sidecar_image: str,
        *,
        timing: Timing | None = None,
        token: str = CONTROLLER_USER,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        self.generation, self.default_sidecar_image = generation, default_sidecar_image
        self.reaches_public = True
        self.denials: list[tuple[float, str, str]] = []
        self._client, self._network, self._token = client, network, token
        self._timing = timing or Timing()
        self._new_id = new_id or (lambda: str(uuid.uuid4()))
        self._loops: dict[str, _Loop] = {}
        self._seen: tuple[int, int] | None = None

    def next_due(self) -> float:
        """Give the time of the next poll, retry or reaction."""
        return min((loop.due for loop in self._loops.values()), default=math.inf)

    def step(self, now: float) -> None:
        """Take up what has changed, and reconcile the nodes that are due."""
        seen = (self._client.version(Kind.SEI_NODE), self._client.version(Kind.STATEFUL_SET))
        if seen != self._seen:
            self._seen = seen
            self._notice(now)
        for uid, loop in list(self._loops.items()):
            if loop.due <= now:
                self._reconcile_one(uid, loop, now)

    def _notice(self, now: float) -> None:
        nodes = {node["metadata"]["uid"]: node for node in self._client.list(Kind.SEI_NODE)}
        sets = {
            (one["metadata"]["namespace"], one["metadata"]["name"]): one for one in self._client.list(Kind.STATEFUL_SET)
        }
        for uid in self._loops.keys() - nodes.keys():
            del self._loops[uid]
        for uid, node in nodes.items():
            metadata = node["metadata"]
            one = sets.get((metadata["namespace"], metadata["name"]))
            seen = one["metadata"]["resourceVersion"] if one is not None else ""
            generation = metadata.get("generation", 1)
            loop = self._loops.setdefault(uid, _Loop(due=now))
            if (loop.seen, loop.generation) != (seen, generation):
                loop.seen, loop.generation = seen, generation
                loop.due = min(loop.due, now + self._timing.reaction)

    def _reconcile_one(self, uid: str, loop: _Loop, now: float) -> None:
        node = next((one for one in self._client.list(Kind.SEI_NODE) if one["metadata"]["uid"] == uid), None)
        if node is None:
            del self._loops[uid]
            return
        try:
            wait = self._reconcile(node, loop, now)
            loop.failures = 0
        except ApiError as error:
            metadata = node["metadata"]
            self.denials.append((now, f"{metadata['namespace']}/{metadata['name']}", type(error).__name__))
            wait = min(_BACKOFF_FIRST * 2**loop.failures, _BACKOFF_MOST) * self._timing.scale
            loop.failures += 1
        loop.due = now + wait

    def _reconcile(self, node: Object, loop: _Loop, now: float) -> float:
        """Reconcile one SeiNode; give the seconds until the next time, raise if a write is refused."""
        namespace, name = node["metadata"]["namespace"], node["metadata"]["name"]
        statefulset, service, config = render(node, self.generation, self.default_sidecar_image)
        if self._client.get(Kind.CONFIG_MAP, namespace, config["metadata"]["name"]) is None:
            self._client.apply(Kind.CONFIG_MAP, config, manager=CONTROLLER_MANAGER)
        if self._client.get(Kind.SERVICE, namespace, name) is None:
            self._client.apply(Kind.SERVICE, service, manager=CONTROLLER_MANAGER)
        applied = self._client.apply(Kind.STATEFUL_SET, statefulset, manager=CONTROLLER_MANAGER)
        loop.seen = applied["metadata"]["resourceVersion"]
        self._initial_status(node, applied, now)
        node = self._client.get(Kind.SEI_NODE, namespace, name) or node
        self._condition(node, "Paused", bool(node["spec"].get("paused")), "Paused", "NotPaused", now)
        if node["spec"].get("paused"):
            return self._timing.poll
        if not loop.plan and self._drifts(node):
            loop.plan, loop.plan_id = list(_PLAN), self._new_id()
            self._condition(node, "NodeUpdateInProgress", True, "UpdateStarted", "", now)
        if loop.plan:
            return self._plan_step(node, service, loop, now)
        self._health(node, now)
        return self._timing.poll

    # Plans.

    def _drifts(self, node: Object) -> bool:
        status = node.get("status", {})
        if "currentImage" not in status:
            return False
        image = sidecar_image(node, self.default_sidecar_image)
        return bool(status["currentImage"] != node["spec"]["image"] or status.get("currentSidecarImage") != image)

    def _plan_step(self, node: Object, service: Object, loop: _Loop, now: float) -> float:
        """Do the plan's tasks until one has to wait; give the seconds to wait."""
        namespace, name = node["metadata"]["namespace"], node["metadata"]["name"]
        while loop.plan:
            task = loop.plan[0]
            if task == "apply-service":
                self._client.apply(Kind.SERVICE, service, manager=CONTROLLER_MANAGER)
            elif task == "replace-pod":
                if not self._replace_pod(namespace, name):
                    return self._timing.retry
            elif task == "observe-image":
                if not self._runs_update(namespace, name):
                    return self._timing.retry
                self._observe(node)
            elif task == "mark-ready" and not self._mark_ready(namespace, name):
                return self._timing.retry
            loop.plan.pop(0)
        message = f"plan {loop.plan_id} completed"
        self._condition(node, "NodeUpdateInProgress", False, "", "UpdateComplete", now, message)
        return self._timing.retry

    def _replace_pod(self, namespace: str, name: str) -> bool:
        """Delete the pod unless it is at the update revision; tell whether the revision was known."""
        found = self._client.get(Kind.STATEFUL_SET, namespace, name)
        if found is None or found.get("status", {}).get("observedGeneration") != found["metadata"]["generation"]:
            return False
        pod = self._client.get(Kind.POD, namespace, f"{name}-0")
        revision = found["status"]["updateRevision"]
        stale = pod is not None and labels_of(pod).get("controller-revision-hash") != revision
        if pod is not None and stale and "deletionTimestamp" not in pod["metadata"]:
            self._client.delete(Kind.POD, namespace, f"{name}-0", uid=pod["metadata"]["uid"], grace_seconds=30)
        return True

    def _runs_update(self, namespace: str, name: str) -> bool:
        found = self._client.get(Kind.STATEFUL_SET, namespace, name)
        pod = self._client.get(Kind.POD, namespace, f"{name}-0")
        if found is None or pod is None or "deletionTimestamp" in pod["metadata"]:
            return False
        revision = found.get("status", {}).get("updateRevision")
        return bool(labels_of(pod).get("controller-revision-hash") == revision)

    # Status.

    def _initial_status(self, node: Object, statefulset: Object, now: float) -> None:
        namespace, name = node["metadata"]["namespace"], node["metadata"]["name"]
        status = node.get("status", {})
        if "phase" not in status:
            about = {"name": name, "uid": statefulset["metadata"]["uid"]}
            new = {"phase": "Initializing", "phaseTransitionTime": timestamp(now), "statefulSet": about}
            self._patch(node, new)
            for kind, reason in (("NodeUpdateInProgress", "NoUpdate"), ("WorkflowInProgress", "NoWorkflow")):
                node = self._client.get(Kind.SEI_NODE, namespace, name) or node
                self._condition(node, kind, False, "", reason, now)
        elif status["phase"] == "Initializing" and statefulset.get("status", {}).get("readyReplicas"):
            self._observe(node)
            self._patch(node, {"phase": "Running", "phaseTransitionTime": timestamp(now)})

    def _observe(self, node: Object) -> None:
        image = sidecar_image(node, self.default_sidecar_image)
        self._patch(node, {"currentImage": node["spec"]["image"], "currentSidecarImage": image})

    def _condition(
        self, node: Object, name: str, value: bool | None, yes: str, no: str, now: float, message: str = ""
    ) -> None:
        """Set a condition of a SeiNode, if it is not so already; ``None`` is Unknown."""
        metadata = node["metadata"]
        fresh = self._client.get(Kind.SEI_NODE, metadata["namespace"], metadata["name"]) or node
        conditions = fresh.get("status", {}).get("conditions", [])
        old = next((entry for entry in conditions if entry["type"] == name), None)
        status = "Unknown" if value is None else str(value)
        reason = yes if value else no
        if old is not None and (old["status"], old["reason"]) == (status, reason):
            return
        entry = {
            "type": name,
            "status": status,
            "reason": reason,
            "message": message or reason,
            "observedGeneration": metadata.get("generation", 1),
            "lastTransitionTime": old["lastTransitionTime"] if old and old["status"] == status else timestamp(now),
        }
        self._patch(fresh, {"conditions": [one for one in conditions if one["type"] != name] + [entry]})

    def _patch(self, node: Object, status: Object) -> None:
        self._client.patch_status(Kind.SEI_NODE, node["metadata"]["namespace"], node["metadata"]["name"], status)

    # Health.

    def _health(self, node: Object, now: float) -> None:
        namespace, name = node["metadata"]["namespace"], node["metadata"]["name"]
        status = self._ask_health(namespace, name)
        if status == 200:
            self._condition(node, "SidecarReady", True, "Ready", "", now, "sidecar returned 200")
        elif status == 503:
            self._condition(node, "SidecarReady", False, "", "NotReady", now, "sidecar returned 503")
            self._mark_ready(namespace, name)
        else:
            reason = "Unreachable" if status is None else "UnexpectedStatus"
            self._condition(node, "SidecarReady", None, "", reason, now, f"sidecar returned {status}")

    def _ask_health(self, namespace: str, name: str) -> int | None:
        new = self.generation is Generation.NEW
        if new and not self.reaches_public:
            return None
        port, token = (PUBLIC_PORT, "") if new else (PROXY_PORT, self._token)
        try:
            answer = self._network.request(
                namespace, f"{name}-0", port, "GET", "/v0/healthz", token=token, source="controller"
            )
        except Unreachable:
            return None
        return answer.status

    def _mark_ready(self, namespace: str, name: str) -> bool:
        body = {"type": "mark-ready", "id": self._new_id()}
        try:
            answer = self._network.request(
                namespace,
                f"{name}-0",
                PROXY_PORT,
                "POST",
                "/v0/tasks",
                body=body,
                token=self._token,
                source="controller",
            )
        except Unreachable:
            return False
        return answer.status == 201 and "id" in json.loads(answer.body)
