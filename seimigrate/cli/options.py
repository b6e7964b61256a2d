"""The options of the command line, in groups that several commands share."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

import typer

from seimigrate.cli.completers import contexts, namespaces, nodes
from seimigrate.domain.findings import AcceptedFindings
from seimigrate.domain.plan.plan import Strategy

DEFAULT_PLAN = "split-listeners"
DEFAULT_ACCOUNT = "seimigrate-system/seimigrate"
DEFAULT_LEASE_DURATION = 15.0


class Format(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"


class HoldMethod(StrEnum):
    """What keeps the controller off while a node moves."""

    ADMISSION = "admission"
    NONE = "none"


@dataclass(frozen=True)
class OutputOptions:
    """How to print."""

    output: Annotated[Format, typer.Option("-o", "--output", help="How to print results.")] = Format.TABLE
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log each step, and tracebacks.")] = False


@dataclass(frozen=True)
class ConnectionOptions:
    """Which cluster."""

    context: Annotated[
        str | None, typer.Option("--context", metavar="NAME", help="The kubeconfig's context.", autocompletion=contexts)
    ] = None
    kubeconfig: Annotated[str | None, typer.Option("--kubeconfig", metavar="FILE", help="The kubeconfig.")] = None

    def to_args(self) -> list[str]:
        """Give the options that say the same again."""
        return [*_argument("--context", self.context), *_argument("--kubeconfig", self.kubeconfig)]


@dataclass(frozen=True)
class NodeSelection:
    """Which SeiNodes."""

    namespace: Annotated[
        str | None,
        typer.Option(
            "-n",
            "--namespace",
            metavar="NAME",
            help="The namespace (default: the context's).",
            autocompletion=namespaces,
        ),
    ] = None
    all_namespaces: Annotated[bool, typer.Option("-A", "--all-namespaces", help="All namespaces.")] = False
    selector: Annotated[
        str, typer.Option("-l", "--selector", metavar="LABELS", help="Only SeiNodes with these labels.")
    ] = ""
    node: Annotated[
        list[str],
        typer.Option("--node", metavar="NS/NAME", help="Only this SeiNode (can be repeated).", autocompletion=nodes),
    ] = field(default_factory=list)

    def to_args(self) -> list[str]:
        """Give the options that say the same again."""
        nodes = [word for node in self.node for word in ("--node", node)]
        everywhere = ["-A"] if self.all_namespaces else []
        return [*_argument("-n", self.namespace), *everywhere, *_argument("-l", self.selector), *nodes]


@dataclass(frozen=True)
class GuardSelection:
    """Which SeiNodes a guard looks after: all of a cluster, since whoever holds one wants it guarded."""

    namespace: Annotated[
        list[str],
        typer.Option(
            *("-n", "--namespace"),
            metavar="NAME",
            help="Only this namespace (can be repeated; default: all).",
            autocompletion=namespaces,
        ),
    ] = field(default_factory=list)
    all_namespaces: Annotated[bool, typer.Option("-A", "--all-namespaces", help="All namespaces (the default).")] = (
        False
    )
    selector: Annotated[
        str, typer.Option("-l", "--selector", metavar="LABELS", help="Only SeiNodes with these labels.")
    ] = ""
    node: Annotated[
        list[str],
        typer.Option("--node", metavar="NS/NAME", help="Only this SeiNode (can be repeated).", autocompletion=nodes),
    ] = field(default_factory=list)


RunbooksDir = Annotated[
    str | None, typer.Option("--runbooks", metavar="DIR", help="Your own runbooks, instead of those that came along.")
]


@dataclass(frozen=True)
class PlanOptions:
    """Which plan, and which runbooks bind its ways back."""

    plan: Annotated[
        str, typer.Option("-f", "--plan", metavar="FILE", help="A plan file, or the name of one that came along.")
    ] = DEFAULT_PLAN
    set_: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a parameter of the plan (repeatable).")
    ] = field(default_factory=list)
    runbooks: RunbooksDir = None

    def to_args(self) -> list[str]:
        """Give the options that say the same again."""
        changed = _argument("-f", self.plan if self.plan != DEFAULT_PLAN else None)
        assigned = [word for assignment in self.set_ for word in ("--set", assignment)]
        return [*changed, *assigned, *_argument("--runbooks", self.runbooks)]


@dataclass(frozen=True)
class ApplyOptions:
    """How to move forwards."""

    strategy: Annotated[
        Strategy | None, typer.Option("--strategy", help="Two restarts, one, or two for canaries alone.")
    ] = None
    accept_unknown_policies: Annotated[
        bool, typer.Option("--accept-unknown-policies", help="Go on where policies cannot be judged.")
    ] = False
    accept_policy_violations: Annotated[
        bool, typer.Option("--accept-policy-violations", help="Go on though policies leave ports open or cut off.")
    ] = False
    canary: Annotated[
        str | None, typer.Option("--canary", metavar="NS/NAME", help="The node that goes first, before the plan's.")
    ] = None

    @property
    def accepted_findings(self) -> AcceptedFindings:
        """Give in spite of which findings about policies to go on."""
        if self.accept_policy_violations:
            return AcceptedFindings.VIOLATIONS
        return AcceptedFindings.UNKNOWN if self.accept_unknown_policies else AcceptedFindings.NOTHING

    def to_args(self) -> list[str]:
        """Give the options that say the same again."""
        unjudged = ["--accept-unknown-policies"] if self.accept_unknown_policies else []
        findings = ["--accept-policy-violations"] if self.accept_policy_violations else []
        return [*_argument("--strategy", self.strategy), *unjudged, *findings, *_argument("--canary", self.canary)]


@dataclass(frozen=True)
class ControllerOptions:
    """Who the controller is."""

    controller_account: Annotated[
        str | None,
        typer.Option("--controller-account", metavar="NS/NAME", help="A ServiceAccount that the controller uses."),
    ] = None

    def to_args(self) -> list[str]:
        """Give the options that say the same again."""
        return _argument("--controller-account", self.controller_account)


@dataclass(frozen=True)
class RunOptions:
    """How to act."""

    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False
    lease_duration: Annotated[
        float, typer.Option("--lease-duration", min=1, metavar="S", help="How long the lock lasts unrenewed.")
    ] = DEFAULT_LEASE_DURATION
    metrics_port: Annotated[
        int | None,
        typer.Option(
            "--metrics-port", min=0, max=65535, metavar="PORT", help="Serve metrics on 127.0.0.1 meanwhile (0: any)."
        ),
    ] = None

    def to_args(self) -> list[str]:
        """Give the options that say the same again; not ``--yes``, which is for one time."""
        changed = self.lease_duration != DEFAULT_LEASE_DURATION
        port = None if self.metrics_port is None else str(self.metrics_port)
        return [
            *_argument("--lease-duration", f"{self.lease_duration:g}" if changed else None),
            *_argument("--metrics-port", port),
        ]


@dataclass(frozen=True)
class SidecarAuthOptions:
    """With whose token the sidecars are called."""

    service_account: Annotated[
        str, typer.Option("--service-account", metavar="NS/NAME", help="Whose token the sidecars are called with.")
    ] = DEFAULT_ACCOUNT

    def to_args(self) -> list[str]:
        """Give the options that say the same again."""
        return _argument("--service-account", self.service_account if self.service_account != DEFAULT_ACCOUNT else None)


def _argument(option: str, value: str | None) -> list[str]:
    return [option, value] if value else []
