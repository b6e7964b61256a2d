"""Made-up logs: an API server and pods that write down what they are asked, for tests of the judge."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from typing import Any

import jsonpatch

from tests.audit import Violation, judge
from tests.audit.events import Json
from tests.audit.shapes import (
    FREEZE_PATH,
    HOLD_PATH,
    SPLIT,
    add_label,
    change,
    expect_hold,
    moved,
    pod_spec,
    pointer,
    replace_spec,
    template_changes,
)
from tests.audit.violations import CONTROLLER, FREEZE, HOLD

OURS = "system:serviceaccount:seimigrate-system:seimigrate"
KUBELET = "system:node:worker"
STATEFULSETS = "system:serviceaccount:kube-system:statefulset-controller"
TOKEN = "r1-aaaaaa"
NEWER = "r2-bbbbbb"
KINDS = {"statefulsets": "StatefulSet", "services": "Service"}


class Log:
    """Both logs, and the objects as they are at their end."""

    def __init__(self) -> None:
        self.audit: list[Json] = []
        self.calls: list[Json] = []
        self.now = 1_800_000_000.0
        self._revision = 100
        self._objects: dict[tuple[str, str], Json] = {}

    def judged(self, **told: Any) -> list[Violation]:
        """Judge what was written down."""
        return judge(self.audit, self.calls, **{"split_images": SPLIT.__eq__} | told)

    def broken(self, **told: Any) -> set[int]:
        """Give the rules that were broken."""
        return {violation.rule for violation in self.judged(**told)}

    # ------------------------------------------------------------ the API server

    def ask(
        self,
        verb: str,
        resource: str,
        name: str,
        *,
        sub: str = "",
        body: Any = None,
        answer: Any = None,
        code: int = 200,
        query: str = "",
        user: str = OURS,
        group: str = "",
        namespace: str = "sei",
    ) -> None:
        """Write down one request."""
        self.now += 1
        agent = "seimigrate/0.1.0" if user == OURS else "model"
        query = query or ("fieldManager=seimigrate" if user == OURS and verb in ("create", "update", "patch") else "")
        moment = datetime.fromtimestamp(self.now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self.audit.append(
            {
                "kind": "Event",
                "apiVersion": "audit.k8s.io/v1",
                "level": "RequestResponse",
                "auditID": f"audit-{len(self.audit)}",
                "stage": "ResponseComplete",
                "requestURI": f"/apis/{resource}/{name}?{query}",
                "verb": verb,
                "user": {"username": user},
                "userAgent": agent,
                "objectRef": {
                    "resource": resource,
                    "namespace": namespace,
                    "name": name,
                    "apiGroup": group,
                    "subresource": sub,
                },
                "responseStatus": {"code": code},
                "requestObject": copy.deepcopy(body),
                "responseObject": copy.deepcopy(answer),
                "requestReceivedTimestamp": moment,
                "stageTimestamp": moment,
            }
        )

    def store(self, verb: str, resource: str, thing: Json, *, sub: str = "", body: Any = None, user: str) -> None:
        """Store an object and write down who did it."""
        self._revision += 1
        thing = json.loads(json.dumps(thing))  # nothing in it is shared with another object, or within it
        metadata = thing["metadata"]
        metadata["resourceVersion"] = str(self._revision)
        self._objects[resource, metadata["name"]] = thing
        namespace = metadata.setdefault("namespace", "sei")
        self.ask(
            verb, resource, metadata["name"], sub=sub, body=body or thing, answer=thing, user=user, namespace=namespace
        )

    def has(self, resource: str, name: str) -> Json:
        """Give an object as it is, to be changed."""
        return copy.deepcopy(self._objects[resource, name])

    # ------------------------------------------------------------ nodes

    def node(self, name: str, *, role: str = "node", spec: Json | None = None) -> None:
        """Let the controller create a node, and get its pod ready."""
        labels = {"sei.io/node": name, "sei.io/chain": "pacific-1", "sei.io/role": role}
        owner = {"kind": "SeiNode", "name": name, "controller": True, "uid": f"node-{name}"}
        metadata = {"name": name, "labels": labels, "ownerReferences": [owner]}
        template = {"metadata": {"labels": labels}, "spec": spec or pod_spec()}
        statefulset = {"metadata": metadata, "spec": {"replicas": 1, "template": template}, "status": {}}
        self.store("create", "statefulsets", statefulset, user=CONTROLLER)
        service = {"metadata": metadata, "spec": {"ports": [{"name": "api", "port": 8443, "protocol": "TCP"}]}}
        self.store("create", "services", service, user=CONTROLLER)
        self.pod(name, f"{name}-pod-1")

    def pod(self, node: str, uid: str, *, ready: bool = True) -> None:
        """Let a node's pod come, by default until it is Ready."""
        template = self.has("statefulsets", node)["spec"]["template"]
        pod: Json = {
            "metadata": {
                "name": f"{node}-0",
                "uid": uid,
                "labels": template["metadata"]["labels"],
                "ownerReferences": [{"kind": "StatefulSet", "name": node}],
            },
            "spec": template["spec"],
            "status": {},
        }
        self.store("create", "pods", pod, user=STATEFULSETS)
        if ready:
            self.ready(node)

    def ready(self, node: str) -> None:
        """Let the kubelet say that a node's pod is Ready."""
        pod = self.has("pods", f"{node}-0")
        pod["status"] = {"conditions": [{"type": "Ready", "status": "True"}]}
        self.store("patch", "pods", pod, sub="status", user=KUBELET)

    # ------------------------------------------------------------ seimigrate

    def run(self, token: str = TOKEN) -> None:
        """Write the run's record."""
        self._record("seimigrate-run", "seimigrate-system", {"version": 1, "run": token, "nodes": {}})

    def journal(self, node: str, **record: Any) -> None:
        """Write a node's journal: what it said, with what is given now; an intent lasts for one write of it."""
        known = self._objects.get(("configmaps", f"seimigrate-{node}"))
        said = json.loads(known["data"]["record"]) if known else {}
        fresh = {"version": 1, "namespace": "sei", "name": node, "run": TOKEN, "stage": "hold", "direction": "forward"}
        self._record(f"seimigrate-{node}", "sei", fresh | said | {"intent": None} | record)

    def _record(self, name: str, namespace: str, record: Json) -> None:
        verb = "update" if ("configmaps", name) in self._objects else "create"
        metadata = {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/managed-by": "seimigrate"}}
        thing = {"metadata": metadata, "data": {"record": json.dumps(record)}}
        self.store(verb, "configmaps", thing, user=OURS)

    def patch(self, resource: str, node: str, *operations: Json, user: str = OURS) -> None:
        """Patch a StatefulSet or Service."""
        thing = jsonpatch.apply_patch(self.has(resource, node), list(operations))
        self.store("patch", resource, thing, body=list(operations), user=user)

    def intend(self, resource: str, node: str, *changes: Json, **record: Any) -> None:
        """Journal that a patch is about to be sent."""
        kind = KINDS[resource]
        known = [{"stage": "s", "kind": kind, "index": None, **change} for change in changes]
        self.journal(node, intent={"kind": "patch", "object_kind": kind, "changes": known, "disown": False}, **record)

    def hold(self, node: str, token: str = TOKEN) -> None:
        """Hold a node: the label on its StatefulSet and its Service, each journaled before."""
        for resource in KINDS:
            self.intend(resource, node, change(HOLD_PATH, None, token))
            self.patch(resource, node, add_label(HOLD, token))
        self.journal(node)

    def release(self, node: str, outcome: str = "done", token: str = TOKEN) -> None:
        """Take the hold off a node, and say how its way ended."""
        for resource in KINDS:
            self.intend(resource, node, change(HOLD_PATH, token, None), stage="release")
            self.patch(resource, node, expect_hold(token), {"op": "remove", "path": pointer(HOLD)})
        self.journal(node, outcome=outcome)

    def freeze(self, node: str, token: str = TOKEN) -> None:
        """Freeze a held node."""
        self.intend("statefulsets", node, change(FREEZE_PATH, None, token))
        self.patch("statefulsets", node, expect_hold(token), add_label(FREEZE, token))
        self.journal(node)

    def thaw(self, node: str, token: str = TOKEN) -> None:
        """End the freeze of a node."""
        self.intend("statefulsets", node, change(FREEZE_PATH, token, None))
        self.patch("statefulsets", node, expect_hold(token), {"op": "remove", "path": pointer(FREEZE)})
        self.journal(node)

    def replace(self, node: str, uid: str, *, grace: int | None = 300, by: str = "evict", intent: bool = True) -> None:
        """Take a pod away, journaled before unless told."""
        if intent:
            replacing = {"kind": "replace", "pod": uid, "name": f"{node}-0", "grace": 300, "evict": True}
            self.journal(node, intent=replacing)
        options = {"preconditions": {"uid": uid}, **({} if grace is None else {"gracePeriodSeconds": grace})}
        if by == "evict":
            body = {"kind": "Eviction", "deleteOptions": options}
            self.ask("create", "pods", f"{node}-0", sub="eviction", body=body, answer={"kind": "Status"}, code=201)
        else:
            self.ask("delete", "pods", f"{node}-0", body=options, answer={"kind": "Status"})

    def cut_over(self, node: str) -> None:
        """Carry a node that is held through the cutover, as it should be done."""
        self.journal(node, stage="check")
        self.freeze(node)
        self.write_moved(node, stage="probes")
        self.replace(node, f"{node}-pod-1")
        self.pod(node, f"{node}-pod-2", ready=False)
        self.mark_ready(node, f"{node}-pod-2", "task-1")
        self.ready(node)
        self.thaw(node)

    def write_moved(self, node: str, **record: Any) -> None:
        """Write the template of the probes stage."""
        old = self.has("statefulsets", node)["spec"]["template"]["spec"]
        new = moved()
        self.intend("statefulsets", node, *template_changes(old, new), **record)
        self.patch("statefulsets", node, expect_hold(TOKEN), replace_spec(new))
        self.journal(node)

    # ------------------------------------------------------------ pods

    def call(
        self,
        node: str,
        method: str,
        body: Any = None,
        *,
        user: str | None = OURS,
        uid: str = "",
        status: int = 201,
        path: str = "/v0/tasks",
    ) -> None:
        """Write down one call to a node's pod."""
        self.now += 1
        text = None if body is None else json.dumps(body)
        pod = {"namespace": "sei", "pod": f"{node}-0", "uid": uid, "port": 8443}
        asked = {"method": method, "path": path, "user": user, "status": status, "body": text}
        self.calls.append({"time": self.now, **pod, **asked})

    def guard_journal(self, node: str, uid: str, task: str) -> None:
        """Write in the guard's journal that a pod is about to be marked ready."""
        intent = {"kind": "mark-ready", "task": task, "pod": uid}
        record = {"version": 1, "guard": "r1-cccccc", "guarded_nodes": [], "nodes": {f"sei/{node}": {"intent": intent}}}
        self._record("seimigrate-guard", "seimigrate-system", record)

    def mark_ready(self, node: str, uid: str, task: str, *, intent: bool = True) -> None:
        """Mark a pod ready, journaled before unless told."""
        if intent:
            self.journal(node, intent={"kind": "mark-ready", "task": task, "pod": uid})
        self.call(node, "POST", {"type": "mark-ready", "id": task}, uid=uid)


def settled(log: Log) -> set[int]:
    """Let the run end with both nodes held, and give the rules that were broken."""
    for node in ("a", "b"):
        log.journal(node, outcome="done-held")
    return log.broken()
