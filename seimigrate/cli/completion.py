"""Completion for shells, and for kubectl where the program is its plugin."""

from __future__ import annotations

import os
import shlex
import sys
from enum import StrEnum
from typing import Annotated

import typer

PROGRAM = "seimigrate"
VARIABLE = "_SEIMIGRATE_COMPLETE"
"""What a shell sets when it asks; typer's protocol (its ``completion`` module)."""
NO_FILES = 4
"""The directive with which kubectl offers no file names instead (cobra's ShellCompDirectiveNoFileComp)."""


class ShellName(StrEnum):
    """The shells that there are scripts for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[ShellName, typer.Argument(help="Which shell.")]) -> None:
    """Print a shell's completion script: source <(seimigrate completion bash)."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    typer.echo(get_completion_script(prog_name=PROGRAM, complete_var=VARIABLE, shell=shell.value))


def prepare() -> None:
    """Let a shell ask: nothing is imported for that otherwise."""
    if VARIABLE in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]

        completion_init()


def kubectl() -> int:
    """Answer kubectl, which asks ``kubectl_complete-seimigrate WORD…`` for the last of them (kubectl's plugins)."""
    from seimigrate.cli.main import main

    os.environ[VARIABLE] = "complete_fish"  # a word, a tab and its help: as kubectl wants them, too
    os.environ["_TYPER_COMPLETE_FISH_ACTION"] = "get-args"
    os.environ["_TYPER_COMPLETE_ARGS"] = " ".join([PROGRAM, *map(_quoted, sys.argv[1:])])
    main([])
    sys.stdout.write(f":{NO_FILES}\n")
    return 0


def _quoted(word: str) -> str:
    return shlex.quote(word) if word else ""
