"""The observation of one node: its objects in the cluster and the replies of its pod.

An observation is a value and the reconciler's only input about the cluster. The engine's observer fills it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from seimigrate.domain.findings import AcceptedFindings, Finding
from seimigrate.domain.kube.kinds import FREEZE_LABEL, HOLD_LABEL, Object
from seimigrate.domain.node.record import Intent
from seimigrate.domain.plan.plan import Mode


class PodQuery(StrEnum):
    """A query that a running pod can answer, sent by port-forward."""

    HEALTH = "health"
    """GET /v0/healthz on the port where this pod's sidecar serves it."""
    METRICS = "metrics"
    """GET /v0/metrics on the port where this pod's sidecar serves it."""
    ANONYMOUS = "anonymous"
    """GET /v0/metrics through the proxy, without a token."""
    TASKS = "tasks"
    """GET /v0/tasks through the proxy, with seimigrate's token."""
    HEIGHT = "height"
    """GET /status from seid's RPC."""


@dataclass(frozen=True, slots=True)
class PodReply:
    """The reply of a pod; if the query failed, which is inconclusive, ``status`` is ``None`` and ``reason`` is set."""

    pod: str
    at: float
    status: int | None
    body: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class HoldStatus:
    """The state of the hold: ``error`` names what is wrong with the policies or the controller.

    ``verified_at`` is when a dry-run write of this StatefulSet under the controller's field manager was last denied.
    """

    error: str = ""
    verified_at: float | None = None


@dataclass(frozen=True, slots=True)
class AccessReview:
    """Findings about the clients that can reach a node (``policy``) and those that depend on it (``consumers``)."""

    at: float
    policy: tuple[Finding, ...] = ()
    consumers: tuple[Finding, ...] = ()

    def unaccepted(self, accepted: AcceptedFindings = AcceptedFindings.NOTHING) -> tuple[Finding, ...]:
        """Return the policy findings that block the cutover: open, blocked or undetermined ports."""
        return tuple(finding for finding in self.policy if not accepted.accepts(finding.severity))


@dataclass(frozen=True, slots=True)
class RelatedObjects:
    """Other objects that decide whether a node's cutover can start now."""

    budgets: tuple[Object, ...] = ()
    kube_node: Object | None = None
    tasks: tuple[Object, ...] = ()
    workflows: tuple[Object, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeObservation:
    """One node as observed now.

    ``executed_intent`` is the intent that this process has just executed. ``admission_denial`` is the message of the
    admission policy that denied the intent. ``eviction_blocked`` is true if the last eviction was refused.
    ``progressed_at`` is when the node last made progress, in seconds since 1970.
    """

    seinode: Object | None
    statefulset: Object | None
    service: Object | None
    pod: Object | None
    hold: HoldStatus = HoldStatus()
    replies: Mapping[PodQuery, PodReply] = field(default_factory=dict)
    related: RelatedObjects = RelatedObjects()
    executed_intent: Intent | None = None
    admission_denial: str = ""
    eviction_blocked: bool = False
    progressed_at: float = 0.0
    access_review: AccessReview | None = None

    @property
    def pod_uid(self) -> str:
        """Return the uid of the pod, ``""`` without a pod."""
        return self.pod["metadata"]["uid"] if self.pod else ""

    def reply(self, query: PodQuery) -> PodReply | None:
        """Return the reply of the current pod, never that of an earlier pod."""
        reply = self.replies.get(query)
        return reply if reply is not None and reply.pod == self.pod_uid else None


def labels(obj: Object | None) -> dict[str, str]:
    """Return an object's labels."""
    values: dict[str, str] = (obj or {}).get("metadata", {}).get("labels") or {}
    return values


def hold_of(obj: Object | None) -> str | None:
    """Return the token of the hold on a StatefulSet or Service, ``None`` if it is not held."""
    return labels(obj).get(HOLD_LABEL)


def is_frozen(statefulset: Object | None) -> bool:
    """Return whether a StatefulSet is frozen: no write of the controller is admitted."""
    return FREEZE_LABEL in labels(statefulset)


def mode_of(seinode: Object) -> Mode | None:
    """Return a SeiNode's mode: the only mode block in its spec, even if the block is empty (upstream CRD)."""
    spec = seinode.get("spec", {})
    return next((mode for mode in Mode if spec.get(mode.value) is not None), None)


def owner(obj: Object) -> Mapping[str, Any]:
    """Return the owner reference of the controller, empty if there is none."""
    references = obj["metadata"].get("ownerReferences", [])
    return next((r for r in references if r.get("controller")), {})


def network_of(seinode: Object) -> str:
    """Return the SeiNetwork that owns a SeiNode, as namespace/name, ``""`` if none does."""
    references = seinode.get("metadata", {}).get("ownerReferences", [])
    name = next((r["name"] for r in references if r.get("kind") == "SeiNetwork"), "")
    return f"{seinode['metadata']['namespace']}/{name}" if name else ""


def owned_by(obj: Object | None, seinode: Object | None) -> bool:
    """Return whether an object is controlled by this SeiNode, compared by uid."""
    if obj is None or seinode is None:
        return False
    reference = owner(obj)
    return reference.get("kind") == "SeiNode" and reference.get("uid") == seinode["metadata"]["uid"]


def condition(obj: Object | None, kind: str) -> Mapping[str, Any]:
    """Return a condition of an object's status, empty if it has none of that type."""
    conditions = (obj or {}).get("status", {}).get("conditions", [])
    return next((c for c in conditions if c.get("type") == kind), {})


def is_ready(pod: Object | None) -> bool:
    """Return whether a pod is Ready and not terminating."""
    return pod is not None and not is_terminating(pod) and condition(pod, "Ready").get("status") == "True"


def is_terminating(pod: Object) -> bool:
    """Return whether a pod is terminating."""
    return "deletionTimestamp" in pod["metadata"]


def is_rollout_observed(statefulset: Object) -> bool:
    """Return whether the StatefulSet controller has observed the template, so that updateRevision describes it."""
    status = statefulset.get("status", {})
    observed: int = status.get("observedGeneration", 0)
    return observed >= statefulset["metadata"].get("generation", 0) and bool(status.get("updateRevision"))


def is_at_update_revision(pod: Object, statefulset: Object) -> bool:
    """Return whether a pod was created from the current template.

    Under OnDelete ``status.currentRevision`` never advances, so the pod's own hash is compared (upstream facts).
    """
    revision: str = statefulset.get("status", {}).get("updateRevision", "")
    return bool(labels(pod).get("controller-revision-hash") == revision)


def startup_error(pod: Object) -> str:
    """Return why a pod cannot start, as the kubelet or the scheduler reports it; empty if it can."""
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return f"no Kubernetes node fits the pod: {scheduled.get('message') or scheduled.get('reason')}"
    status = pod.get("status", {})
    for container in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
        waiting = container.get("state", {}).get("waiting", {})
        if waiting.get("reason") in ("CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "CreateContainerError"):
            return f"container {container['name']}: {waiting['reason']}"
    return ""


def tasks(reply: PodReply) -> list[dict[str, Any]] | None:
    """Parse a sidecar's task list, newest first; return ``None`` if the reply is not a task list."""
    try:
        data = json.loads(reply.body)
    except ValueError:
        return None
    if isinstance(data, dict):
        data = data.get("tasks")
    return data if isinstance(data, list) and all(isinstance(task, dict) for task in data) else None


def height(reply: PodReply) -> int:
    """Parse the latest block height from the reply of seid's RPC ``/status``; return 0 if it is missing."""
    try:
        data = json.loads(reply.body)
        info = data.get("result", data)["sync_info"]
        return int(info["latest_block_height"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return 0
