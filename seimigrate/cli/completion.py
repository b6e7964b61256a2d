"""Completion scripts for shells."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

PROGRAM = "seimigrate"
VARIABLE = "_SEIMIGRATE_COMPLETE"
"""The variable that a shell sets to request completions (typer, module ``completion``)."""


class ShellName(StrEnum):
    """The supported shells."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[ShellName, typer.Argument(metavar="SHELL", help="Name of the shell.")]) -> None:
    """Print a shell completion script (bash, zsh, fish)."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    typer.echo(get_completion_script(prog_name=PROGRAM, complete_var=VARIABLE, shell=shell.value))


def prepare() -> None:
    """Set up typer's completion if a shell requests it; otherwise import nothing for it."""
    if VARIABLE in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]

        completion_init()
