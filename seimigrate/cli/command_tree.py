"""The program's own commands and options, as the parser of its command line knows them.

Typer brings its own click along, whose classes have no public names: so they are taken as they come.
"""

from __future__ import annotations

from typing import Any

from seimigrate.runbook.command_lint import CommandTree


def command_tree(root: Any) -> CommandTree:
    """Give every command with its options; ``""`` has those that stand before a command."""
    found = {"": _options(root)}
    for name, command in commands(root):
        found[name] = _options(command)
    return found


def commands(root: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Give every command with its words, those of a group after the group's own."""
    found: list[tuple[str, Any]] = []
    for name, command in getattr(root, "commands", {}).items():
        if hasattr(command, "commands"):
            found += commands(command, f"{prefix}{name} ")
        else:
            found.append((f"{prefix}{name}", command))
    return found


def _options(command: Any) -> frozenset[str]:
    return frozenset(
        word
        for option in command.params
        if option.param_type_name == "option"
        for word in (*option.opts, *option.secondary_opts)
    )
