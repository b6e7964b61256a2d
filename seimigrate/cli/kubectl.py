"""Completion for kubectl, which runs ``kubectl_complete-seimigrate`` for its plugin ``kubectl seimigrate``."""

from __future__ import annotations

import os
import shlex
import sys

from seimigrate.cli.completion import PROGRAM, VARIABLE
from seimigrate.cli.main import main

NO_FILES = 4
"""The directive not to offer file names (cobra, ShellCompDirectiveNoFileComp)."""


def complete() -> int:
    """Print the completions of the last argument, each with a tab and its help, then the directive."""
    os.environ[VARIABLE] = "complete_fish"  # prints one completion, a tab and its help per line, as kubectl expects
    os.environ["_TYPER_COMPLETE_FISH_ACTION"] = "get-args"
    os.environ["_TYPER_COMPLETE_ARGS"] = " ".join([PROGRAM, *map(_quoted, sys.argv[1:])])
    main([])
    sys.stdout.write(f":{NO_FILES}\n")
    return 0


def _quoted(argument: str) -> str:
    return shlex.quote(argument) if argument else ""
