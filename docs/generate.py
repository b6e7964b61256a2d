"""Write the parts of the documentation that follow from the code: the stage table and the command reference.

``make docs`` runs it, and a test compares what is there with what it would write.
"""

from __future__ import annotations

import re
from enum import Enum, EnumMeta
from pathlib import Path
from typing import Any

import typer

from seimigrate.cli.command_tree import commands
from seimigrate.cli.main import app
from seimigrate.domain.node import reconcile
from seimigrate.domain.plan.plan import (
    AddPort,
    AddServicePort,
    MoveProbe,
    Plan,
    RemoveArgument,
    ReplaceInArgument,
    SetEnv,
    SetImage,
    StageName,
    Transform,
)
from seimigrate.planfile import read_plan
from seimigrate.runbook import read_runbooks

DOCS = Path(__file__).resolve().parent
_MARKED = re.compile(r"(<!-- stages: made by make docs -->\n).*?(<!-- end -->)", re.DOTALL)


def files() -> dict[Path, str]:
    """Return the content of each file."""
    architecture = DOCS / "architecture.md"
    with_table = _MARKED.sub(lambda match: f"{match[1]}\n{stage_table()}\n{match[2]}", architecture.read_text())
    return {architecture: with_table, DOCS / "commands.md": command_reference()}


def stage_table() -> str:
    """Return the stages: what each changes, what happens then, and which runbook defines its rollback."""
    plan = read_plan("split-listeners")
    runbooks = read_runbooks(None).rollback_runbooks
    lines = ["| stage | what it changes | what happens, and what must hold | rollback |", "|---|---|---|---|"]
    for stage in StageName:
        runbook = runbooks.for_stage(stage)
        page = f"[{runbook.id}](../runbooks/{runbook.id}.md)" if runbook is not None else "-"
        happens = (reconcile._STAGES[stage].__doc__ or "").splitlines()[0].replace("``", "`")
        lines.append(f"| {stage} | {_changes(plan, stage)} | {happens} | {page} |")
    return "\n".join(lines) + "\n"


def _changes(plan: Plan, stage: StageName) -> str:
    found = [_words(do) for do in plan.stage(stage).transforms]
    return "; ".join(dict.fromkeys(found)) or "-"


def _words(do: Transform) -> str:
    match do:
        case AddServicePort():
            return f"the Service's port `{do.name}`"
        case AddPort():
            return f"{do.container}: port `{do.name}`"
        case SetEnv():
            return f"{do.container}: `{do.name}`"
        case SetImage():
            return f"{do.container}: the image that splits"
        case MoveProbe():
            return f"{do.container}: {do.probe} to port {do.to}"
        case ReplaceInArgument():
            return f"{do.container}: the start gate to port {do.to}"
        case RemoveArgument():
            return f"{do.container}: without `{do.prefix.rstrip('=')}`"


def command_reference() -> str:
    """Return every command with its arguments and options."""
    root = typer.main.get_command(app)
    parts = [
        "# Commands\n",
        "Written by `make docs` from the code. [output.md](output.md) describes what the commands print.\n",
    ]
    for name, command in commands(root):
        parts.append(f"## {name}\n\n{_sentence(command.help)}\n")
        rows = [_row(param) for param in command.params if not getattr(param, "hidden", False)]
        if rows:
            parts.append("\n".join(["| option | what it is for |", "|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())


def _row(param: Any) -> str:
    if param.param_type_name == "argument":
        return f"| `{param.metavar or param.name.upper()}` | {_sentence(param.help)} |"
    words = ", ".join(f"`{word}`" for word in (*param.opts, *param.secondary_opts))
    kind = param.type_descriptor.annotation
    choices: list[Enum] = list(kind) if isinstance(kind, EnumMeta) else []
    told = f" One of {', '.join(f'`{choice}`' for choice in choices)}." if choices else ""
    value = f" {param.metavar}" if param.metavar else ""
    return f"| {words}{value} | {_sentence(param.help)}{told}{_default(param)} |"


def _default(param: Any) -> str:
    default = getattr(param.default, "value", param.default)
    if default in (None, False, True, "") or isinstance(default, (list, tuple)) or callable(default):
        return ""
    return f" Default: `{default:g}`." if isinstance(default, float) else f" Default: `{default}`."


def main() -> None:
    """Write the files."""
    for file, text in files().items():
        file.write_text(text)


if __name__ == "__main__":
    main()
