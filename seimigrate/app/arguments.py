"""Command lines for the operator to type next, from option groups."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class ArgumentGroup(Protocol):
    """A group of options that can be written as arguments."""

    def to_args(self) -> list[str]:
        """Return the arguments that select the same again."""


@dataclass(frozen=True)
class Literal:
    """Arguments as they are."""

    args: tuple[str, ...]

    def to_args(self) -> list[str]:
        """Return the arguments."""
        return [*self.args]


def flatten(groups: Sequence[ArgumentGroup | Sequence[str]]) -> list[str]:
    """Return the arguments of all groups, in order."""
    return [arg for group in groups for arg in (group if isinstance(group, Sequence) else group.to_args())]


def command_line(name: str, *groups: ArgumentGroup | Sequence[str]) -> str:
    """Return a command line for a shell; ``name`` may have several words."""
    return shlex.join(["seimigrate", *name.split(), *flatten(groups)])


def node_args(key: str) -> list[str]:
    """Return the option that selects one node."""
    return ["--node", key]
