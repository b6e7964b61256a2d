"""The expected replies of a node's pod by port-forward, and the findings about other replies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from seimigrate.domain.findings import Finding, FindingSeverity
from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.node.observation import PodReply
from seimigrate.domain.plan.plan import Parameters

FORGED = (("X-Remote-User", "system:admin"), ("X-Remote-Groups", "system:masters"))
"""A forged identity, as an attacker would send it; kube-rbac-proxy sets these headers itself for the sidecar."""


@dataclass(frozen=True, slots=True)
class Check:
    """One request and its expected statuses."""

    name: str
    port: int
    path: str
    expected_statuses: tuple[int, ...]
    authorised: bool = False
    forged: bool = False

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the request's headers."""
        return dict(FORGED) if self.forged else {}


def checks(parameters: Parameters) -> Iterator[Check]:
    """Yield the checks: health paths and tasks with a forged identity, tasks with a token, and the public port."""
    proxy, public = parameters.ports.proxy, parameters.ports.public
    for path in parameters.health_paths:
        yield Check("anonymous", proxy, path, (401, 403), forged=True)
    yield Check("anonymous", proxy, "/v0/tasks", (401, 403), forged=True)
    yield Check("authorised", proxy, "/v0/tasks", (200,), authorised=True)
    for path in ("/v0/healthz", "/v0/metrics"):
        yield Check("anonymous", public, path, (200,))


def findings(pod: Object, replies: Mapping[Check, PodReply]) -> Iterator[Finding]:
    """Yield the findings of the replies; a missing reply is inconclusive."""
    about = f"Pod {pod['metadata']['namespace']}/{pod['metadata']['name']}"
    admitted = [
        check
        for check, reply in replies.items()
        if check.forged and reply.status not in (None, *check.expected_statuses)
    ]
    if admitted:
        paths = ", ".join(check.path for check in admitted)
        what = f"accepts requests without a token that claim an identity in X-Remote-User: {paths}"
        who = "any client that reaches the port can reach the sidecar under any identity"
        remedy = "cut the node over: seimigrate apply"
        yield Finding("anonymous-access", FindingSeverity.ERROR, about, what, remedy, f":{admitted[0].port}", who)
    for port in sorted({check.port for check in replies}):
        silent = [reply for check, reply in replies.items() if check.port == port and reply.status is None]
        if silent:
            remedy = "check that the container is running, then retry"
            yield Finding("no-response", FindingSeverity.UNKNOWN, about, silent[0].reason, remedy, f":{port}")
    for check, reply in replies.items():
        if not check.forged and reply.status not in (None, *check.expected_statuses):
            yield _unexpected(about, check, reply)


def _unexpected(about: str, check: Check, reply: PodReply) -> Finding:
    expected = " or ".join(map(str, check.expected_statuses))
    what = f"returned {reply.status} to an {check.name} request, expected {expected}"
    if check.authorised:
        remedy = "check that --service-account may get and create seinodetasks.sei.io"
    else:
        remedy = "check that the sidecar splits its listeners and is ready: seimigrate status"
    return Finding("unexpected-response", FindingSeverity.ERROR, about, what, remedy, f":{check.port}{check.path}")
