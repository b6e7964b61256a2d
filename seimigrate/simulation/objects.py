"""Small helpers on plain JSON objects: copies, times, labels and the names of what the simulation looks at."""

from __future__ import annotations

import json
import marshal
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeVar, cast

from seimigrate.domain.kube.kinds import Kind, Object

CONTROLLER_NAMESPACE = "sei-k8s-controller-system"
CONTROLLER_NAME = "sei-k8s-controller-manager"
CONTROLLER_USER = f"system:serviceaccount:{CONTROLLER_NAMESPACE}:{CONTROLLER_NAME}"
"""The account of sei-k8s-controller (upstream's manifests)."""

SIDECAR, PROXY, SEID = "sei-sidecar", "kube-rbac-proxy", "seid"
"""What upstream calls the containers of a node's pod."""

NODE_LABEL = "sei.io/node"

Json = TypeVar("Json")


def copy_json(value: Json) -> Json:
    """Copy plain JSON, many times faster than ``copy.deepcopy``; a string of an enumeration becomes a plain one."""
    plain: Any = value
    try:
        copied = marshal.loads(marshal.dumps(plain))  # noqa: S302 - what was written here a moment ago
    except ValueError:  # it is no plain JSON: marshal knows no subclasses of str
        copied = json.loads(json.dumps(plain))
    return cast("Json", copied)


@lru_cache(maxsize=4096)
def timestamp(seconds: float) -> str:
    """Write seconds since 1970 as Kubernetes writes times, to the second."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def labels_of(body: Mapping[str, Any]) -> dict[str, str]:
    """Give an object's labels, an empty dict if it has none."""
    return body.get("metadata", {}).get("labels") or {}


def matches(labels: Mapping[str, str], selector: str) -> bool:
    """Tell whether labels match a selector of ``key``, ``!key``, ``key=value`` and ``key!=value`` terms."""
    for term in filter(None, (part.strip() for part in selector.split(","))):
        if "!=" in term:
            key, value = term.split("!=", 1)
            if labels.get(key.strip()) == value.strip():
                return False
        elif "=" in term:
            key, value = term.replace("==", "=").split("=", 1)
            if labels.get(key.strip()) != value.strip():
                return False
        elif (term.lstrip("!") in labels) == term.startswith("!"):
            return False
    return True


def owner_reference(kind: Kind, owner: Object) -> Object:
    """Write the reference by which ``owner`` controls another object."""
    return {
        "apiVersion": kind.resource.api_version,
        "kind": kind.resource.kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def controlled_by(body: Object) -> str:
    """Give the uid of the object that controls this one, or an empty string."""
    for reference in body["metadata"].get("ownerReferences", ()):
        if reference.get("controller"):
            return str(reference["uid"])
    return ""


def condition(body: Object, name: str) -> str:
    """Give the status of a condition: ``True``, ``False`` or ``Unknown``."""
    for entry in body.get("status", {}).get("conditions", ()):
        if entry["type"] == name:
            return str(entry["status"])
    return "Unknown"


def container(template_or_pod: Object, name: str) -> Object | None:
    """Give the container or init container of that name from a pod or pod template."""
    spec = template_or_pod["spec"]
    for entry in [*spec.get("initContainers", ()), *spec.get("containers", ())]:
        if entry["name"] == name:
            found: Object = entry
            return found
    return None


def env(entry: Object, name: str) -> str | None:
    """Give the value of a container's environment variable, ``None`` if it is not set."""
    return next((item.get("value") for item in entry.get("env", ()) if item["name"] == name), None)
