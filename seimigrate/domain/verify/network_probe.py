"""A probe: a pod that tries connections to nodes from a namespace, and what that says about the network.

It runs bash alone, in the image that the nodes' seid runs in, which is on the Kubernetes nodes already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from seimigrate.domain.findings import Finding, FindingSeverity
from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.verify.network.reachability import Endpoint, Network

LABELS = {"app.kubernetes.io/name": "seimigrate-probe"}
MAX_TARGETS = 400
"""Targets of one probe: its answers must fit into a termination message, of which the kubelet keeps 4096 bytes."""
OPEN, SHUT, REFUSED = "o", "s", "r"
"""Connected; no answer in time; refused, by the pod or by a network that rejects instead of dropping."""

_SCRIPT = f"""\
try() {{
  timeout 3 bash -c "exec 3<>/dev/tcp/$1/$2" 2>/dev/null
  case $? in 0) echo "$3{OPEN}" ;; 124) echo "$3{SHUT}" ;; *) echo "$3{REFUSED}" ;; esac
}}
number=0
for target in "$@"; do
  try "${{target%/*}}" "${{target#*/}}" $number >>/dev/termination-log &
  number=$((number + 1))
  [ $((number % 50)) = 0 ] && wait
done
wait
"""


@dataclass(frozen=True, slots=True)
class Target:
    """A port of a node's pod."""

    pod: Endpoint
    port: int

    @property
    def where(self) -> str:
        """Give the address and port as the script takes them."""
        return f"{self.pod.addresses[0]}/{self.port}"


def pod(namespace: str, name: str, image: str, targets: Sequence[Target]) -> Object:
    """Give the probe's pod: no account, no root, nothing to write on, an end of its own."""
    security = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    command = ["bash", "-c", _SCRIPT, "probe", *(target.where for target in targets)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": LABELS},
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": 300,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{"name": "probe", "image": image, "command": command, "securityContext": security}],
        },
    }


def is_finished(body: Object) -> bool:
    """Tell whether a probe's pod has ended."""
    return body.get("status", {}).get("phase") in ("Succeeded", "Failed")


def parse_results(body: Object, targets: Sequence[Target]) -> dict[Target, str]:
    """Read what an ended probe found out; targets of which it says nothing are left out."""
    statuses = body.get("status", {}).get("containerStatuses") or ()
    text = "".join(each.get("state", {}).get("terminated", {}).get("message") or "" for each in statuses)
    told = {line[:-1]: line[-1] for line in text.split() if line[-1] in (OPEN, SHUT, REFUSED)}
    return {target: told[str(number)] for number, target in enumerate(targets) if str(number) in told}


def findings(network: Network, probe: Endpoint, found: dict[Target, str]) -> Iterator[Finding]:
    """Compare what got through with what the policies say."""
    through: dict[tuple[str, int], list[str]] = {}
    for target, answer in found.items():
        allowed = network.allows(probe, target.pod, target.port)
        if answer == OPEN and not allowed:
            through.setdefault(("open", target.port), []).append(str(target.pod))
        elif answer == SHUT and allowed:
            through.setdefault(("shut", target.port), []).append(str(target.pod))
    about = f"Namespace {probe.namespace}"
    for (way, port), pods in sorted(through.items()):
        names = _few(pods)
        if way == "open":
            what = f"a pod there got through to :{port} of {names}, which NetworkPolicies forbid"
            remedy = "see whether the cluster's network enforces NetworkPolicies at all"
            yield Finding("policy-not-enforced", FindingSeverity.ERROR, about, what, remedy)
        else:
            what = f"a pod there did not get through to :{port} of {names}, which NetworkPolicies allow"
            yield Finding("blocked-by-other", FindingSeverity.WARNING, about, what, "find out what else is in the way")


def probe_failed(namespace: str, why: str) -> Finding:
    """Say that a probe came to nothing."""
    what = f"the probe there found nothing out: {why}"
    remedy = "name an image with bash and timeout that the namespace may run: --probe-image IMAGE"
    return Finding("probe-failed", FindingSeverity.UNKNOWN, f"Namespace {namespace}", what, remedy)


def _few(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
