"""The network probe: a pod that tests connections from a namespace to nodes, and the findings of the results.

The probe needs bash only and runs in seid's image by default, which the Kubernetes nodes have already pulled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from seimigrate.domain.findings import Finding, FindingSeverity
from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.verify.network.reachability import Endpoint, Network

LABELS = {"app.kubernetes.io/name": "seimigrate-probe"}
MAX_TARGETS = 400
"""Targets per probe: the results must fit into a termination message, of which the kubelet keeps 4096 bytes."""
OPEN, SHUT, REFUSED = "o", "s", "r"
"""Results: connected; timed out; refused, by the pod or by a network that rejects instead of dropping."""

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
        """Return the address and port in the format of the script."""
        return f"{self.pod.addresses[0]}/{self.port}"


def pod(namespace: str, name: str, image: str, targets: Sequence[Target]) -> Object:
    """Return the probe's pod: without token and root, with a read-only file system and a deadline."""
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
    """Return whether a probe's pod has finished."""
    return body.get("status", {}).get("phase") in ("Succeeded", "Failed")


def parse_results(body: Object, targets: Sequence[Target]) -> dict[Target, str]:
    """Parse the results of a finished probe; targets without a result are omitted."""
    statuses = body.get("status", {}).get("containerStatuses") or ()
    text = "".join(status.get("state", {}).get("terminated", {}).get("message") or "" for status in statuses)
    results = {line[:-1]: line[-1] for line in text.split() if line[-1] in (OPEN, SHUT, REFUSED)}
    return {target: results[str(number)] for number, target in enumerate(targets) if str(number) in results}


def findings(network: Network, probe: Endpoint, results: dict[Target, str]) -> Iterator[Finding]:
    """Yield the differences between the test results and the policies."""
    unexpected: dict[tuple[str, int], list[str]] = {}
    for target, result in results.items():
        allowed = network.allows(probe, target.pod, target.port)
        if result == OPEN and not allowed:
            unexpected.setdefault(("open", target.port), []).append(str(target.pod))
        elif result == SHUT and allowed:
            unexpected.setdefault(("shut", target.port), []).append(str(target.pod))
    about = f"Namespace {probe.namespace}"
    for (state, port), pods in sorted(unexpected.items()):
        names = _few(pods)
        if state == "open":
            what = f"a pod in it can connect to :{port} of {names}, which NetworkPolicies forbid"
            remedy = "check that the cluster's network enforces NetworkPolicies"
            yield Finding("policy-not-enforced", FindingSeverity.ERROR, about, what, remedy)
        else:
            what = f"a pod in it cannot connect to :{port} of {names}, which NetworkPolicies allow"
            remedy = "find out what else blocks the connection"
            yield Finding("blocked-by-other", FindingSeverity.WARNING, about, what, remedy)


def probe_failed(namespace: str, reason: str) -> Finding:
    """Return the finding that a probe had no result."""
    what = f"the probe failed: {reason}"
    remedy = "use an image with bash and timeout that the namespace may run: --probe-image IMAGE"
    return Finding("probe-failed", FindingSeverity.UNKNOWN, f"Namespace {namespace}", what, remedy)


def _few(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
