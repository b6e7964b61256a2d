"""Write plans that were decided into files, and read them back."""

from __future__ import annotations

import os
from pathlib import Path

from seimigrate.domain.fleet import saved_plan
from seimigrate.domain.fleet.saved_plan import InvalidSavedPlan, SavedPlan
from seimigrate.engine.errors import SeimigrateError, UsageError
from seimigrate.planfile.problems import short

_MAX_BYTES = 256 << 20
"""Far more than ten thousand nodes need."""


def write_saved(file: str, saved: SavedPlan) -> None:
    """Write a saved plan, whole or not at all; raises ``SeimigrateError`` if that cannot be done."""
    path = Path(file)
    try:
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            beside.write_text(saved.to_json() + "\n")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise SeimigrateError(
            f"{_named(file)} cannot be written: {_why(error)}", hint="name another: --out FILE"
        ) from None


def read_saved(file: str) -> SavedPlan:
    """Read a saved plan; raises ``UsageError`` if it is none, or damaged."""
    try:
        with Path(file).open("rb") as stream:
            text = stream.read(_MAX_BYTES).decode()
    except (OSError, ValueError) as error:
        hint = "save one: seimigrate plan --out FILE"
        raise UsageError(f"the saved plan {_named(file)} cannot be read: {_why(error)}", hint=hint) from None
    try:
        return saved_plan.parse(text)
    except InvalidSavedPlan as error:
        raise UsageError(
            f"{_named(file)} is no saved plan that can be applied: {error}",
            hint="save it anew: seimigrate plan --out FILE",
        ) from None


def _named(file: str) -> str:
    return short(file, 200)


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not text"
    return getattr(error, "strerror", None) or "not a file name"
