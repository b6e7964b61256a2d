"""Copies of the project's own runbooks, spoiled on purpose."""

from __future__ import annotations

import shutil
from pathlib import Path

from seimigrate.cli.command_tree import command_tree
from seimigrate.cli.main import app
from seimigrate.resources import runbooks_dir
from seimigrate.runbook.check import check


def copied(folder: Path) -> Path:
    """A user's own runbooks: those of the project, to begin with."""
    return Path(shutil.copytree(runbooks_dir(), folder / "mine"))


def spoil(folder: Path, name: str, old: str, new: str) -> int:
    """Replace a text, which must be in the page, once; give the line that it begins in."""
    file = folder / name
    text = file.read_text()
    assert old in text, old
    file.write_text(text.replace(old, new, 1))
    return text[: text.index(old)].count("\n") + 1


def findings(folder: Path | None) -> list[str]:
    """What ``runbook check`` finds, with paths beginning at the folder."""
    import typer

    _, problems = check(str(folder) if folder else None, command_tree(typer.main.get_command(app)))
    return [str(problem).replace(f"{folder}/", "") for problem in problems]
