"""The help of a command: its options in panels, and two examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from typer.core import TyperCommand

from seimigrate.cli.options import CONNECTION, OUTPUT, PLAN, RUN, SELECTION

PANELS = (RUN, SELECTION, PLAN, CONNECTION, OUTPUT)
"""The panels, in their order; an option of none of them is listed under ``Options``."""

EXAMPLES: Mapping[str, tuple[str, str]] = {
    "plan": ("plan -A", "plan -n sei -f my.yaml --out cutover.plan"),
    "apply": ("apply cutover.plan", "apply -n sei -f my.yaml --canary sei/node-0"),
    "status": ("status -A", "status -n sei --watch"),
    "verify": ("verify -A -f my.yaml", "verify --node sei/node-0 --probe"),
    "rollback": ("rollback --node sei/node-0 -f my.yaml", "rollback -n sei --to expose"),
    "hold": ("hold -A", "hold --node sei/node-0 --yes"),
    "guard": ("guard", "guard -n sei --once"),
    "pause": ("pause", "pause --context prod"),
    "resume": ("resume", "resume -o json"),
    "promote": ("promote", "promote --context prod"),
    "skip": ("skip sei/node-0", "skip sei/node-0 -o json"),
    "retry": ("retry sei/node-0", "retry sei/node-0 -o json"),
    "abort": ("abort", "abort --rollback"),
    "unlock": ("unlock", "unlock --yes --context prod"),
    "completion": ("completion bash", "completion fish | source"),
    "schema": ("schema", "schema > plan.schema.json"),
    "render": ("policy render -n sei", "policy render -A -f my.yaml"),
    "list": ("runbook list", "runbook list -o json"),
    "show": ("runbook show rollback-enforce", "runbook show rollback-enforce --node sei/node-0"),
    "check": ("runbook check", "runbook check my-runbooks"),
    "run": (
        "runbook run rollback-enforce --node sei/node-0",
        "runbook run rollback-enforce --node sei/node-0 --dry-run",
    ),
}
"""Two command lines for each command, without ``seimigrate``."""


_UNBREAKABLE_HYPHEN = "\u2011"
"""Stands for the hyphens of names and values while lines are wrapped, which would otherwise break behind a hyphen."""


class HelpCommand(TyperCommand):
    """A command whose help has panels and examples."""

    def __init__(self, name: str, **settings: Any) -> None:
        super().__init__(name, **settings)
        self.epilog = "\n".join(("Examples:", *(f"  seimigrate {example}" for example in EXAMPLES[name])))

    def get_help(self, ctx: Any) -> str:
        """Return the help."""
        return super().get_help(ctx).replace(_UNBREAKABLE_HYPHEN, "-")

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the parts of the usage line; required arguments have no braces, as in other programs."""
        return [piece.removeprefix("{").removesuffix("}") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the options of each panel."""
        panels: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": [], **{panel: [] for panel in PANELS}}
        for param in self.get_params(ctx):
            if (record := param.get_help_record(ctx)) is not None:
                name, text = record
                argument = param.param_type_name == "argument"
                panel = getattr(param, "rich_help_panel", None)
                row = (name.removesuffix(" <str>") if argument else name, text.replace("-", _UNBREAKABLE_HYPHEN))
                panels["Arguments" if argument else panel if panel in PANELS else "Options"].append(row)
        panels["Options"] = panels.pop("Options")  # last: it has --help alone
        for name, records in panels.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples, one per line, however long the line is."""
        formatter.write_paragraph()
        formatter.write(f"{self.epilog}\n")
