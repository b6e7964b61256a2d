"""Which namespace a command means that names none: the one of the kubeconfig's context, as with kubectl."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

DEFAULT = "default"
IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def context_namespace(context: str | None, kubeconfig: str | None) -> str:
    """Give the namespace of a context (``None``: the current one); ``default`` where nothing names another.

    Of several files, the first that says something counts. What cannot be read is left to the connection to tell.
    """
    chosen = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    files = [Path(each).expanduser() for each in chosen.split(os.pathsep) if each]
    loaded = [_load(each) for each in files if each.is_file()]
    if not loaded:
        return _own_namespace()
    name = context or next((each["current-context"] for each in loaded if each.get("current-context")), None)
    for each in loaded:
        for entry in each.get("contexts") or []:
            if isinstance(entry, dict) and entry.get("name") == name:
                return str((entry.get("context") or {}).get("namespace") or DEFAULT)
    return DEFAULT


def _load(file: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(file.read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return data if isinstance(data, dict) else {}


def _own_namespace() -> str:
    try:
        return IN_CLUSTER.read_text().strip() or DEFAULT
    except OSError:
        return DEFAULT
