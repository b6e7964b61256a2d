"""Fill a page in for one node, with its names, ports and patches: every command can then be typed as it stands."""

from __future__ import annotations

import json
import re
import shlex
import zlib
from collections.abc import Mapping, Sequence

from seimigrate.domain.kube.changes import Operation
from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.node import observation
from seimigrate.domain.node.manual_patches import Patches
from seimigrate.domain.node.observation import NodeObservation
from seimigrate.domain.plan.plan import Mode, Plan

PLACEHOLDERS = (
    "NAMESPACE",
    "NODE",
    "POD",
    "SIDECAR",
    "GRACE",
    "ROLE",
    "PROXY_PORT",
    "LOCAL_PORT",
    "STATEFULSET_PATCH",
    "SERVICE_PATCH",
)
"""What stands in a page for a node's own: words of capitals, which mean something in a page shown as it is, too."""

_PLACEHOLDER = re.compile(rf"\b({'|'.join(PLACEHOLDERS)})\b")
_TITLE = re.compile(r"^# .*$", re.MULTILINE)
_LOCAL_PORTS = range(18000, 28000)


def values_of(namespace: str, name: str, observed: NodeObservation, plan: Plan, patches: Patches) -> Mapping[str, str]:
    """Give what a page's words stand for; ``patches`` put the node's objects back."""
    mode = (observation.mode_of(observed.seinode) if observed.seinode else None) or Mode.FULL_NODE
    # Of each node another, so that several can be followed side by side, and always the same for one.
    local = _LOCAL_PORTS[zlib.crc32(f"{namespace}/{name}".encode()) % len(_LOCAL_PORTS)]
    return {
        "NAMESPACE": namespace,
        "NODE": name,
        "POD": f"{name}-0",
        "SIDECAR": plan.parameters.containers.sidecar,
        "GRACE": str(max(1, int(plan.termination_grace_period.for_mode(mode)))),
        "ROLE": _role(observed.statefulset),
        "PROXY_PORT": str(plan.parameters.ports.proxy),
        "LOCAL_PORT": str(local),
        "STATEFULSET_PATCH": _quoted(patches.statefulset),
        "SERVICE_PATCH": _quoted(patches.service),
    }


def substitute(text: str, values: Mapping[str, str], provenance: Sequence[str]) -> str:
    """Give a page's text with its words filled in, and under its title what is to be known of that."""
    filled = _PLACEHOLDER.sub(lambda match: values[match[0]], text)
    notice = "".join(f"> {line}\n" for line in provenance)
    return _TITLE.sub(lambda match: f"{match[0]}\n\n{notice.rstrip()}", filled, count=1)


def _role(statefulset: Object | None) -> str:
    return shlex.quote(observation.labels(statefulset).get("sei.io/role", "node"))


def _quoted(operations: Sequence[Operation]) -> str:
    """Write a patch for a shell; the API server compares tests of strings with <, > and & only in Go's spelling."""
    text = json.dumps([*operations], sort_keys=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return shlex.quote(text)
