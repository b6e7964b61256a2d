"""A model of the StatefulSet controller for sets of one pod with OnDelete, as kube-controller-manager 1.36 does it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping

from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.simulation.client import ModelClient
from seimigrate.simulation.objects import condition, controlled_by, copy_json, labels_of, owner_reference


class StatefulSets:
    """Make the pods that StatefulSets ask for, and say in their status how they are.

    ``status.currentRevision`` keeps the first revision for ever: with OnDelete nothing advances it (upstream facts).
    """

    def __init__(self, client: ModelClient) -> None:
        self._client = client
        self._seen = (-1, -1)
        self._revisions: dict[tuple[str, int], str] = {}

    def next_due(self) -> float:
        """Give infinity: only changes make this controller act."""
        return math.inf

    def step(self, now: float) -> None:
        """Bring pods and status in line with the sets, if any of them changed."""
        del now
        seen = (self._client.version(Kind.STATEFUL_SET), self._client.version(Kind.POD))
        if seen == self._seen:
            return
        self._seen = seen
        pods = {(pod["metadata"]["namespace"], pod["metadata"]["name"]): pod for pod in self._client.list(Kind.POD)}
        owners = set()
        for body in self._client.list(Kind.STATEFUL_SET):
            owners.add(body["metadata"]["uid"])
            self._reconcile(body, pods)
        for pod in pods.values():
            if controlled_by(pod) and controlled_by(pod) not in owners:
                self._delete(pod)

    def revision(self, body: Object) -> str:
        """Give the name of the revision of a set's template: the same template has the same one."""
        key = (body["metadata"]["uid"], body["metadata"]["generation"])
        if key not in self._revisions:
            text = json.dumps(body["spec"]["template"], sort_keys=True)
            digest = hashlib.sha256(text.encode()).hexdigest()[:10]
            self._revisions[key] = f"{body['metadata']['name']}-{digest}"
        return self._revisions[key]

    def _reconcile(self, body: Object, pods: Mapping[tuple[str, str], Object]) -> None:
        metadata = body["metadata"]
        revision = self.revision(body)
        pod = pods.get((metadata["namespace"], f"{metadata['name']}-0"))
        if pod is not None and controlled_by(pod) != metadata["uid"]:
            return
        if body["spec"]["replicas"] == 0 and pod is not None:
            self._delete(pod)
        elif body["spec"]["replicas"] and pod is None:
            pod = self._client.create(Kind.POD, _pod(body, revision))
        ready = int(pod is not None and condition(pod, "Ready") == "True")
        updated = int(pod is not None and labels_of(pod).get("controller-revision-hash") == revision)
        current = body.get("status", {}).get("currentRevision", revision)
        status = {
            "observedGeneration": metadata["generation"],
            "replicas": int(pod is not None),
            "readyReplicas": ready,
            "availableReplicas": ready,
            "currentReplicas": int(pod is not None and labels_of(pod).get("controller-revision-hash") == current),
            "updatedReplicas": updated,
            "currentRevision": current,
            "updateRevision": revision,
            "collisionCount": 0,
        }
        if status != body.get("status"):
            self._client.patch_status(Kind.STATEFUL_SET, metadata["namespace"], metadata["name"], status)

    def _delete(self, pod: Object) -> None:
        metadata = pod["metadata"]
        if "deletionTimestamp" not in metadata:
            self._client.delete(Kind.POD, metadata["namespace"], metadata["name"], uid=metadata["uid"])


def _pod(body: Object, revision: str) -> Object:
    name, namespace = body["metadata"]["name"], body["metadata"]["namespace"]
    template = copy_json(body["spec"]["template"])
    labels = labels_of(template) | {
        "apps.kubernetes.io/pod-index": "0",
        "controller-revision-hash": revision,
        "statefulset.kubernetes.io/pod-name": f"{name}-0",
    }
    metadata = {
        "name": f"{name}-0",
        "generateName": f"{name}-",
        "namespace": namespace,
        "labels": labels,
        "ownerReferences": [owner_reference(Kind.STATEFUL_SET, body)],
    }
    if template["metadata"].get("annotations"):
        metadata["annotations"] = template["metadata"]["annotations"]
    spec = template["spec"] | {"hostname": f"{name}-0", "subdomain": body["spec"]["serviceName"]}
    return {"metadata": metadata, "spec": spec}
