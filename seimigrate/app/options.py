"""What the operator chose on the command line, as values; ``cli`` turns arguments into them and back."""

from __future__ import annotations

from dataclasses import dataclass, field

from seimigrate.domain.findings import AcceptedFindings
from seimigrate.domain.plan.plan import Strategy

DEFAULT_PLAN = "split-listeners"
DEFAULT_ACCOUNT = "seimigrate-system/seimigrate"
DEFAULT_LEASE_DURATION = 15.0


@dataclass(frozen=True)
class ConnectionOptions:
    """The cluster to connect to."""

    context: str | None = None
    kubeconfig: str | None = None

    def to_args(self) -> list[str]:
        """Return the arguments that choose the same."""
        return [*_argument("--context", self.context), *_argument("--kubeconfig", self.kubeconfig)]


@dataclass(frozen=True)
class NodeSelection:
    """The SeiNodes to work on."""

    namespace: str | None = None
    all_namespaces: bool = False
    selector: str = ""
    node: list[str] = field(default_factory=list)

    def to_args(self) -> list[str]:
        """Return the arguments that choose the same."""
        nodes = [arg for node in self.node for arg in ("--node", node)]
        everywhere = ["-A"] if self.all_namespaces else []
        return [*_argument("-n", self.namespace), *everywhere, *_argument("-l", self.selector), *nodes]


@dataclass(frozen=True)
class GuardSelection:
    """The SeiNodes to guard; by default all held nodes of the cluster."""

    namespace: list[str] = field(default_factory=list)
    all_namespaces: bool = False
    selector: str = ""
    node: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class PlanFileOptions:
    """The plan file, and changes to its parameters."""

    plan: str = DEFAULT_PLAN
    set_: list[str] = field(default_factory=list)

    def to_args(self) -> list[str]:
        """Return the arguments that choose the same."""
        assigned = [arg for assignment in self.set_ for arg in ("--set", assignment)]
        return [*_argument("-f", self.plan if self.plan != DEFAULT_PLAN else None), *assigned]


@dataclass(frozen=True)
class PlanOptions(PlanFileOptions):
    """The plan file, and the runbooks that define each stage's rollback."""

    runbooks: str | None = None

    def to_args(self) -> list[str]:
        """Return the arguments that choose the same."""
        return [*PlanFileOptions(self.plan, self.set_).to_args(), *_argument("--runbooks", self.runbooks)]


@dataclass(frozen=True)
class ApplyOptions:
    """How to cut nodes over."""

    strategy: Strategy | None = None
    accept_unknown_policies: bool = False
    accept_policy_violations: bool = False
    canary: str | None = None

    @property
    def accepted_findings(self) -> AcceptedFindings:
        """Return the findings about policies despite which nodes are cut over."""
        if self.accept_policy_violations:
            return AcceptedFindings.VIOLATIONS
        return AcceptedFindings.UNKNOWN if self.accept_unknown_policies else AcceptedFindings.NOTHING

    def to_args(self) -> list[str]:
        """Return the arguments that choose the same."""
        unknown = ["--accept-unknown-policies"] if self.accept_unknown_policies else []
        violations = ["--accept-policy-violations"] if self.accept_policy_violations else []
        return [*_argument("--strategy", self.strategy), *unknown, *violations, *_argument("--canary", self.canary)]


@dataclass(frozen=True)
class ControllerOptions:
    """The controller's identity."""

    controller_account: str | None = None

    def to_args(self) -> list[str]:
        """Return the arguments that choose the same."""
        return _argument("--controller-account", self.controller_account)


@dataclass(frozen=True)
class ConfirmationOptions:
    """Whether the operator is asked before anything changes."""

    yes: bool = False


@dataclass(frozen=True)
class RunOptions:
    """How to run."""

    yes: bool = False
    lease_duration: float = DEFAULT_LEASE_DURATION
    metrics_port: int | None = None

    def to_args(self) -> list[str]:
        """Return the arguments that choose the same; not ``--yes``, which confirms one run."""
        changed = self.lease_duration != DEFAULT_LEASE_DURATION
        port = None if self.metrics_port is None else str(self.metrics_port)
        return [
            *_argument("--lease-duration", f"{self.lease_duration:g}" if changed else None),
            *_argument("--metrics-port", port),
        ]


@dataclass(frozen=True)
class SidecarAuthOptions:
    """The ServiceAccount whose token is sent to sidecars."""

    service_account: str = DEFAULT_ACCOUNT

    def to_args(self) -> list[str]:
        """Return the arguments that choose the same."""
        return _argument("--service-account", self.service_account if self.service_account != DEFAULT_ACCOUNT else None)


def _argument(option: str, value: str | None) -> list[str]:
    return [option, value] if value else []
