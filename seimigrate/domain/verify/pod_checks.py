"""What a node's pod must answer when it is asked by port-forward, and what it means if it does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from seimigrate.domain.findings import Finding, FindingSeverity
from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.node.observation import PodReply
from seimigrate.domain.plan.plan import Parameters

FORGED = (("X-Remote-User", "system:admin"), ("X-Remote-Groups", "system:masters"))
"""The identity that a stranger would claim; kube-rbac-proxy sets these headers itself for the sidecar."""


@dataclass(frozen=True, slots=True)
class Check:
    """One request, and the statuses that are right."""

    name: str
    port: int
    path: str
    expected_statuses: tuple[int, ...]
    authorised: bool = False
    forged: bool = False

    @property
    def headers(self) -> Mapping[str, str]:
        """Give the request's headers."""
        return dict(FORGED) if self.forged else {}


def checks(parameters: Parameters) -> Iterator[Check]:
    """Give what to ask: the health paths without a token and with a forged identity, tasks, and the public port."""
    proxy, public = parameters.ports.proxy, parameters.ports.public
    for path in parameters.health_paths:
        yield Check("anonymous", proxy, path, (401, 403), forged=True)
    yield Check("anonymous", proxy, "/v0/tasks", (401, 403), forged=True)
    yield Check("authorised", proxy, "/v0/tasks", (200,), authorised=True)
    for path in ("/v0/healthz", "/v0/metrics"):
        yield Check("anonymous", public, path, (200,))


def findings(pod: Object, answers: Mapping[Check, PodReply]) -> Iterator[Finding]:
    """Give what the answers show; no answer is no verdict."""
    about = f"Pod {pod['metadata']['namespace']}/{pod['metadata']['name']}"
    passed = [
        check
        for check, reply in answers.items()
        if check.forged and reply.status not in (None, *check.expected_statuses)
    ]
    if passed:
        paths = ", ".join(check.path for check in passed)
        what = f"answers requests without a token that claim an identity in X-Remote-User: {paths}"
        who = "everybody who reaches the port gets through to the sidecar, as whoever he says he is"
        remedy = "cut the node over: seimigrate apply"
        yield Finding("anonymous-access", FindingSeverity.ERROR, about, what, remedy, f":{passed[0].port}", who)
    for port in sorted({check.port for check in answers}):
        silent = [reply for check, reply in answers.items() if check.port == port and reply.status is None]
        if silent:
            remedy = "look whether the container runs, and ask again"
            yield Finding("no-response", FindingSeverity.UNKNOWN, about, silent[0].reason, remedy, f":{port}")
    for check, reply in answers.items():
        if not check.forged and reply.status not in (None, *check.expected_statuses):
            yield _wrong(about, check, reply)


def _wrong(about: str, check: Check, reply: PodReply) -> Finding:
    what = (
        f"answers {reply.status} to an {check.name} request instead of {' or '.join(map(str, check.expected_statuses))}"
    )
    if check.authorised:
        remedy = "see that --service-account may get and create seinodetasks.sei.io"
    else:
        remedy = "see that the sidecar splits, and is ready: seimigrate status"
    return Finding("unexpected-response", FindingSeverity.ERROR, about, what, remedy, f":{check.port}{check.path}")
