"""What the cluster shows of one node, and what its pod answered: everything that the machine may know.

It is a value. Nothing in here asks anybody; the engine's observer fills it.
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
    """What can be asked of a running pod, by port-forward."""

    HEALTH = "health"
    """GET /v0/healthz where this pod's sidecar serves it."""
    METRICS = "metrics"
    """GET /v0/metrics where this pod's sidecar serves it."""
    ANONYMOUS = "anonymous"
    """GET /v0/metrics from the proxy, without a token."""
    TASKS = "tasks"
    """GET /v0/tasks from the proxy, with our token."""
    HEIGHT = "height"
    """GET /status from seid's RPC."""


@dataclass(frozen=True, slots=True)
class PodReply:
    """What a pod answered, or (``status`` None) why it could not be reached, which is no verdict."""

    pod: str
    at: float
    status: int | None
    body: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class HoldStatus:
    """What is known of the hold: ``problem`` says what of the policies or the controller is not as it must be.

    ``proven`` is when a write of this very StatefulSet under the controller's name was last seen denied.
    """

    error: str = ""
    verified_at: float | None = None


@dataclass(frozen=True, slots=True)
class AccessReview:
    """What was found about who reaches a node (``policy``) and who counts on it (``consumers``), and when."""

    at: float
    policy: tuple[Finding, ...] = ()
    consumers: tuple[Finding, ...] = ()

    def unaccepted(self, accepted: AcceptedFindings = AcceptedFindings.NOTHING) -> tuple[Finding, ...]:
        """Give what of the policies speaks against going on: what is open, cut off, or cannot be told."""
        return tuple(finding for finding in self.policy if not accepted.accepts(finding.severity))


@dataclass(frozen=True, slots=True)
class RelatedObjects:
    """What else decides whether a node may be moved now."""

    budgets: tuple[Object, ...] = ()
    kube_node: Object | None = None
    tasks: tuple[Object, ...] = ()
    workflows: tuple[Object, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeObservation:
    """One node as the cluster shows it now.

    ``performed`` is the intent that this process has just carried out; ``denied`` is what an admission policy said
    that did not let it; ``refused`` tells that the last eviction was refused; ``progress`` is when the node was last
    seen to get further, in seconds since 1970.
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
        """Give the uid of the pod, ``""`` without one."""
        return self.pod["metadata"]["uid"] if self.pod else ""

    def reply(self, query: PodQuery) -> PodReply | None:
        """Give the answer of the pod that runs now, not of an earlier one."""
        reply = self.replies.get(query)
        return reply if reply is not None and reply.pod == self.pod_uid else None


def labels(obj: Object | None) -> dict[str, str]:
    """Give an object's labels."""
    found: dict[str, str] = (obj or {}).get("metadata", {}).get("labels") or {}
    return found


def hold_of(obj: Object | None) -> str | None:
    """Give the token of the hold on a StatefulSet or Service, ``None`` if it is not held."""
    return labels(obj).get(HOLD_LABEL)


def is_frozen(statefulset: Object | None) -> bool:
    """Tell whether the controller may do nothing at all to a StatefulSet."""
    return FREEZE_LABEL in labels(statefulset)


def mode_of(seinode: Object) -> Mode | None:
    """Give a SeiNode's mode: the one block that its spec carries, even an empty one (upstream CRD)."""
    spec = seinode.get("spec", {})
    return next((mode for mode in Mode if spec.get(mode.value) is not None), None)


def owner(obj: Object) -> Mapping[str, Any]:
    """Give the controlling owner's reference, empty if there is none."""
    references = obj["metadata"].get("ownerReferences", [])
    return next((r for r in references if r.get("controller")), {})


def network_of(seinode: Object) -> str:
    """Give the SeiNetwork that a SeiNode belongs to, as namespace/name, ``""`` if it belongs to none."""
    references = seinode.get("metadata", {}).get("ownerReferences", [])
    name = next((r["name"] for r in references if r.get("kind") == "SeiNetwork"), "")
    return f"{seinode['metadata']['namespace']}/{name}" if name else ""


def owned_by(obj: Object | None, seinode: Object | None) -> bool:
    """Tell whether an object belongs to this very SeiNode."""
    if obj is None or seinode is None:
        return False
    reference = owner(obj)
    return reference.get("kind") == "SeiNode" and reference.get("uid") == seinode["metadata"]["uid"]


def condition(obj: Object | None, kind: str) -> Mapping[str, Any]:
    """Give a condition of an object's status, empty if it has none of that type."""
    conditions = (obj or {}).get("status", {}).get("conditions", [])
    return next((c for c in conditions if c.get("type") == kind), {})


def is_ready(pod: Object | None) -> bool:
    """Tell whether a pod is Ready and not on its way out."""
    return pod is not None and not is_terminating(pod) and condition(pod, "Ready").get("status") == "True"


def is_terminating(pod: Object) -> bool:
    """Tell whether a pod is on its way out."""
    return "deletionTimestamp" in pod["metadata"]


def is_rollout_observed(statefulset: Object) -> bool:
    """Tell whether the StatefulSet controller has seen the template, so that updateRevision speaks of it."""
    status = statefulset.get("status", {})
    observed: int = status.get("observedGeneration", 0)
    return observed >= statefulset["metadata"].get("generation", 0) and bool(status.get("updateRevision"))


def is_at_update_revision(pod: Object, statefulset: Object) -> bool:
    """Tell whether a pod was made of the present template.

    Under OnDelete ``status.currentRevision`` never advances, so the pod's own hash is compared (upstream facts).
    """
    revision: str = statefulset.get("status", {}).get("updateRevision", "")
    return bool(labels(pod).get("controller-revision-hash") == revision)


def startup_error(pod: Object) -> str:
    """Say why a pod's containers do not start, as the kubelet or scheduler tells it; empty if they do."""
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return f"it fits on no Kubernetes node: {scheduled.get('message') or scheduled.get('reason')}"
    status = pod.get("status", {})
    for each in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
        waiting = each.get("state", {}).get("waiting", {})
        if waiting.get("reason") in ("CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "CreateContainerError"):
            return f"container {each['name']}: {waiting['reason']}"
    return ""


def tasks(reply: PodReply) -> list[dict[str, Any]] | None:
    """Read a sidecar's list of tasks, newest first; ``None`` if this is not one."""
    try:
        data = json.loads(reply.body)
    except ValueError:
        return None
    if isinstance(data, dict):
        data = data.get("tasks")
    return data if isinstance(data, list) and all(isinstance(task, dict) for task in data) else None


def height(reply: PodReply) -> int:
    """Read the latest block's height from seid's RPC ``/status``; 0 if it does not tell."""
    try:
        data = json.loads(reply.body)
        info = data.get("result", data)["sync_info"]
        return int(info["latest_block_height"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return 0
