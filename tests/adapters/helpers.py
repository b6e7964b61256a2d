"""What the adapters' tests share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from seimigrate.adapters.api import Connection
from seimigrate.domain.kube.kinds import Object
from tests.controlplane.process import USERS

RBAC = "/apis/rbac.authorization.k8s.io/v1"


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """Give the condition's first true value; fails, saying what was awaited, when there is none for long."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"not seen in {seconds:g} s: {what}"
        time.sleep(0.02)
    return value


def grant(admin: Connection, namespace: str, user: str, *rules: tuple[str, str, list[str]]) -> None:
    """Give a user a Role: each rule is an API group, a resource and verbs."""
    name = f"test-{user}"
    subject = {"kind": "User", "name": USERS[user][0], "apiGroup": "rbac.authorization.k8s.io"}
    reference = {"kind": "Role", "name": name, "apiGroup": "rbac.authorization.k8s.io"}
    listed = [{"apiGroups": [group], "resources": [resource], "verbs": verbs} for group, resource, verbs in rules]
    base = f"{RBAC}/namespaces/{namespace}"
    admin.request("POST", f"{base}/roles", body={"metadata": {"name": name}, "rules": listed})
    binding = {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]}
    admin.request("POST", f"{base}/rolebindings", body=binding)


def config_map(namespace: str, name: str, data: dict[str, str] | None = None) -> Object:
    metadata = {"namespace": namespace, "name": name}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data or {}}


def pod(namespace: str, name: str, labels: dict[str, str] | None = None, node: str = "no-such-node") -> Object:
    spec = {"nodeName": node, "containers": [{"name": "main", "image": "localhost/none:1"}]}
    metadata = {"namespace": namespace, "name": name, "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
