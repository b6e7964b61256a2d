"""The contexts of a kubeconfig: their names, and the namespace of a command without ``-n``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

DEFAULT_NAMESPACE = "default"
IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def context_namespace(context: str | None, kubeconfig: str | None) -> str:
    """Return the namespace of a context (``None``: the current one), or ``default`` if nothing names another.

    Of several files, the first that has the value counts. The connection reports files that cannot be read.
    """
    loaded = _loaded(kubeconfig)
    if not loaded:
        return _own_namespace()
    name = context or next((each["current-context"] for each in loaded if each.get("current-context")), None)
    for each in loaded:
        for entry in each.get("contexts") or []:
            if isinstance(entry, dict) and entry.get("name") == name:
                return str((entry.get("context") or {}).get("namespace") or DEFAULT_NAMESPACE)
    return DEFAULT_NAMESPACE


def context_names(kubeconfig: str | None) -> set[str]:
    """Return the names of all contexts; empty if no file can be read."""
    entries = (entry for each in _loaded(kubeconfig) for entry in each.get("contexts") or [])
    return {str(entry["name"]) for entry in entries if isinstance(entry, dict) and "name" in entry}


def _loaded(kubeconfig: str | None) -> list[dict[str, Any]]:
    chosen = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    files = [Path(each).expanduser() for each in chosen.split(os.pathsep) if each]
    return [_load(each) for each in files if each.is_file()]


def _load(file: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(file.read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return data if isinstance(data, dict) else {}


def _own_namespace() -> str:
    try:
        return IN_CLUSTER.read_text().strip() or DEFAULT_NAMESPACE
    except OSError:
        return DEFAULT_NAMESPACE
