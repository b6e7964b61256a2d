"""How the options of ``app.options`` are written on the command line: names, help, and the panel of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer

from seimigrate.app.options import (
    ApplyOptions,
    ConfirmationOptions,
    ConnectionOptions,
    ControllerOptions,
    GuardSelection,
    NodeSelection,
    PlanFileOptions,
    PlanOptions,
    RunOptions,
    SidecarAuthOptions,
)
from seimigrate.cli.completers import contexts, namespaces, nodes

SELECTION, PLAN, RUN, CONNECTION, OUTPUT = "Selection", "Plan", "Run", "Connection", "Output"
"""The panels of a command's help, in this order."""


class Format(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"


class HoldMethod(StrEnum):
    """How controller writes are blocked while a node is in progress."""

    ADMISSION = "admission"
    NONE = "none"


@dataclass(frozen=True)
class OutputOptions:
    """How to print."""

    output: Format = Format.TABLE
    verbose: bool = False


def _option(panel: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, rich_help_panel=panel, **more)


def run_option(*names: str, **more: Any) -> Any:
    """Return an option of the panel ``Run``, for options of a single command."""
    return _option(RUN, *names, **more)


RunbooksDir = Annotated[
    str | None,
    _option(PLAN, "--runbooks", metavar="DIR", help="Directory of custom runbooks (default: bundled)."),
]

_ALL_NAMESPACES = _option(SELECTION, "-A", "--all-namespaces", help="All namespaces.")
_SELECTOR = _option(SELECTION, "-l", "--selector", metavar="LABELS", help="Label selector for SeiNodes.")
_NODE = _option(SELECTION, "--node", metavar="NS/NAME", help="Only this SeiNode (repeatable).", autocompletion=nodes)
_PLAN_FILE = {
    "plan": _option(PLAN, "-f", "--plan", metavar="FILE", help="Plan file, or name of a bundled plan."),
    "set_": _option(PLAN, "--set", metavar="KEY=VALUE", help="Override a plan parameter (repeatable)."),
}
_YES = _option(RUN, "--yes", "-y", help="Skip the confirmation prompt.")

OPTIONS: Mapping[type, Mapping[str, Any]] = {
    ConnectionOptions: {
        "context": _option(
            CONNECTION, "--context", metavar="NAME", help="Context of the kubeconfig.", autocompletion=contexts
        ),
        "kubeconfig": _option(CONNECTION, "--kubeconfig", metavar="FILE", help="Path of the kubeconfig."),
    },
    NodeSelection: {
        "namespace": _option(
            SELECTION,
            *("-n", "--namespace"),
            metavar="NAME",
            help="Namespace (default: that of the context).",
            autocompletion=namespaces,
        ),
        "all_namespaces": _ALL_NAMESPACES,
        "selector": _SELECTOR,
        "node": _NODE,
    },
    GuardSelection: {
        "namespace": _option(
            SELECTION,
            *("-n", "--namespace"),
            metavar="NAME",
            help="Only this namespace (repeatable; default: all).",
            autocompletion=namespaces,
        ),
        "all_namespaces": _option(SELECTION, "-A", "--all-namespaces", help="All namespaces (the default)."),
        "selector": _SELECTOR,
        "node": _NODE,
    },
    PlanFileOptions: _PLAN_FILE,
    PlanOptions: {
        **_PLAN_FILE,
        "runbooks": _option(PLAN, "--runbooks", metavar="DIR", help="Directory of custom runbooks (default: bundled)."),
    },
    ApplyOptions: {
        "strategy": _option(
            PLAN, "--strategy", help="staged: two restarts; merged: one; mixed: staged for canaries only."
        ),
        "accept_unknown_policies": _option(
            PLAN, "--accept-unknown-policies", help="Proceed when policies cannot be evaluated."
        ),
        "accept_policy_violations": _option(
            PLAN, "--accept-policy-violations", help="Proceed despite ports that policies leave open or block."
        ),
        "canary": _option(PLAN, "--canary", metavar="NS/NAME", help="Canary node (overrides the plan)."),
    },
    ControllerOptions: {
        "controller_account": _option(
            CONNECTION,
            "--controller-account",
            metavar="NS/NAME",
            help="The controller's ServiceAccount, if it cannot be detected.",
        ),
    },
    SidecarAuthOptions: {
        "service_account": _option(
            CONNECTION,
            "--service-account",
            metavar="NS/NAME",
            help="ServiceAccount whose token is sent to sidecars.",
        ),
    },
    ConfirmationOptions: {"yes": _YES},
    RunOptions: {
        "yes": _YES,
        "lease_duration": _option(
            RUN, "--lease-duration", min=1, metavar="S", help="Seconds until an unrenewed lock expires."
        ),
        "metrics_port": _option(
            RUN,
            "--metrics-port",
            min=0,
            max=65535,
            metavar="PORT",
            help="Serve Prometheus metrics on 127.0.0.1 (0: pick a port).",
        ),
    },
    OutputOptions: {
        "output": _option(OUTPUT, "-o", "--output", help="Output format."),
        "verbose": _option(OUTPUT, "-v", "--verbose", help="Verbose logs and tracebacks."),
    },
}
"""The options of each group, by the name of the field."""
