"""Allow a command to take groups of options as dataclasses; typer itself knows single parameters only."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Annotated, Any, get_type_hints

from seimigrate.cli.options import OPTIONS


def expand_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with each dataclass among its parameters replaced by that dataclass's fields."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    single, grouped = [], []
    for name, parameter in inspect.signature(command).parameters.items():
        if name in groups:
            grouped += _parameters(groups[name])
        else:
            single.append(parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def call(**given: Any) -> None:
        made = {name: group(**{f.name: given.pop(f.name) for f in fields(group)}) for name, group in groups.items()}
        command(**given, **made)

    call.__signature__ = inspect.Signature([*single, *grouped])  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in (*single, *grouped)}
    del call.__wrapped__
    return call


def _parameters(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group)
    return [
        inspect.Parameter(
            f.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=_default(f),
            annotation=Annotated[hints[f.name], OPTIONS[group][f.name]],
        )
        for f in fields(group)
    ]


def _default(f: Field[Any]) -> Any:
    if f.default_factory is not MISSING:
        return f.default_factory()
    return f.default
