"""The commands and options of seimigrate, from its command-line parser.

Typer bundles its own click, whose classes have no public names; the types here are therefore ``Any``.
"""

from __future__ import annotations

from typing import Any

from seimigrate.runbook.command_lint import CommandTree


def command_tree(root: Any) -> CommandTree:
    """Return the options of every command; ``""`` has those before the command."""
    tree = {"": _options(root)}
    for name, command in commands(root):
        tree[name] = _options(command)
    return tree


def commands(root: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Return every command with its name; a subcommand's name has its group's name first."""
    found: list[tuple[str, Any]] = []
    for name, command in getattr(root, "commands", {}).items():
        if hasattr(command, "commands"):
            found += commands(command, f"{prefix}{name} ")
        else:
            found.append((f"{prefix}{name}", command))
    return found


def _options(command: Any) -> frozenset[str]:
    return frozenset(
        name
        for option in command.params
        if option.param_type_name == "option"
        for name in (*option.opts, *option.secondary_opts)
    )
