"""What a judgement consists of, and what it rests on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.audit.events import Call, Request
from tests.audit.history import History

CONTROLLER = "system:serviceaccount:sei-k8s-controller-system:sei-k8s-controller-manager"
HEALTH_PATHS = ("/v0/healthz", "/v0/livez", "/v0/startupz", "/v0/metrics")

HOLD = "seimigrate.sei.io/hold"
FREEZE = "seimigrate.sei.io/freeze"
FENCE = "seimigrate.sei.io/fence"
PROBE = {"app.kubernetes.io/name": "seimigrate-probe"}
"""The labels of a pod with which ``verify --probe-from`` tries the network."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: its number in the "Never" list, or 0 for what no run ever does to the API server."""

    rule: int
    when: float
    who: str
    object: str
    what: str

    def __str__(self) -> str:
        """Give the violation as one line."""
        moment = datetime.fromtimestamp(self.when, UTC).isoformat(timespec="milliseconds")
        return f"rule {self.rule}  {moment}  {self.object}: {self.what} (by {self.who or 'nobody known'})"


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that is judged: both logs, and what the run was told."""

    requests: list[Request]
    calls: list[Call]
    history: History
    split_images: Callable[[str], bool]
    public_port: int = 9100
    proxy_port: int = 8443
    max_failed: int = 0
    budget: int = 1
    health_paths: tuple[str, ...] = HEALTH_PATHS
    controller_user: str = CONTROLLER
    others: frozenset[str] = frozenset()

    def ours(self, request: Request) -> bool:
        """Say whether seimigrate sent a request."""
        if request.user in self.others:
            return False
        ours = request.agent.startswith("seimigrate/") and request.user != self.controller_user
        return ours or request.query.get("fieldManager") == "seimigrate"

    def takes_a_node(self, request: Request) -> bool:
        """Say whether a request for the end of a pod is about a node's: a probe of our own making is none."""
        pinned = (request.options.get("preconditions") or {}).get("uid")
        for key, state, made in self.history.writes("pods"):
            if key == request.key and made.verb == "create" and self.ours(made) and state.object is not None:
                meta = state.object["metadata"]
                return not (meta.get("uid") == pinned and (meta.get("labels") or {}) == PROBE)
        return True

    def our_call(self, call: Call) -> bool:
        """Say whether seimigrate called a pod with its token: nobody else should who is not named."""
        return call.user is not None and call.user != self.controller_user and call.user not in self.others


def broken(rule: int, request: Request, what: str) -> Violation:
    """Make a violation of a request."""
    return Violation(rule, request.at, f"{request.user} {request.verb} {request.agent}".strip(), request.what, what)


def broken_call(rule: int, call: Call, what: str) -> Violation:
    """Make a violation of a call to a pod."""
    return Violation(rule, call.at, f"{call.user or 'anonymous'} {call.method} {call.path}", call.what, what)
