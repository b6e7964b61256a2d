"""The next command to type, with the options that say the same again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Protocol


class ArgumentGroup(Protocol):
    """A group of options."""

    def to_args(self) -> list[str]:
        """Give the options that say the same again."""


def command_line(name: str, *groups: ArgumentGroup | Sequence[str]) -> str:
    """Give a command line for a shell."""
    words = [word for group in groups for word in (group if isinstance(group, Sequence) else group.to_args())]
    return shlex.join(["seimigrate", name, *words])


def node_args(key: str) -> list[str]:
    """Give the option that names one node."""
    return ["--node", key]
