"""What is wrong with a file that a person wrote, where, and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from seimigrate.engine.errors import UsageError

Path = tuple[str | int, ...]
"""The way to a value from the file's root: keys, and positions in lists from 0."""

_SHOWN = 40
"""Problems listed at once; a file with more of them is no plan."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a file (line and column from 1), or a ``--set`` (line 0)."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        """Give the place as editors and compilers write it."""
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: its place, the key that it is about and what to do about it."""

    place: Place
    path: Path
    message: str

    def __str__(self) -> str:
        """Give the problem as one line."""
        return f"{self.place}: {f'{dotted(self.path)}: ' if self.path else ''}{self.message}"


class FileError(UsageError):
    """What a person wrote is off: ``problems`` has all that is wrong."""

    def __init__(self, source: str, problems: Iterable[Problem], *, hint: str = "") -> None:
        self.problems: Sequence[Problem] = list(problems)
        lines = [str(problem) for problem in self.problems[:_SHOWN]]
        if len(self.problems) > _SHOWN:
            lines.append(f"... and {len(self.problems) - _SHOWN} more")
        count = f"{len(self.problems)} errors" if len(self.problems) > 1 else "an error"
        super().__init__("\n".join([f"{source} has {count}:", *(f"  {line}" for line in lines)]), hint=hint)


class PlanError(FileError):
    """The plan file, or what ``--set`` made of it, is off; its problems are in the file's order."""

    def __init__(self, source: str, problems: Iterable[Problem], *, hint: str = "") -> None:
        in_order = sorted(problems, key=lambda problem: (problem.place.line, problem.place.column))
        super().__init__(source, in_order, hint=hint)


@dataclass(slots=True)
class Places:
    """Where each value of a plan stands, by its path."""

    source: str
    values: dict[Path, Place]
    keys: dict[Path, Place]

    def of(self, path: Path) -> Place:
        """Give the place of a value; of the nearest thing around it where it is only a default."""
        return self._nearest(path, self.values)

    def of_key(self, path: Path) -> Place:
        """Give the place of a key."""
        return self.keys.get(path) or self.of(path)

    def _nearest(self, path: Path, places: Mapping[Path, Place]) -> Place:
        for length in range(len(path), -1, -1):
            place = places.get(path[:length])
            if place is not None:
                return place
        return Place(self.source, 1, 1)


def dotted(path: Path) -> str:
    """Write a path as ``stages[2].transforms[0].container``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{short(part)}" if text else short(part)
    return text


def short(text: str, most: int = 60) -> str:
    """Make a text from a file fit to be shown: one line, printable, and not long."""
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "replace").decode("ascii") for c in text[: most + 1]
    )
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."


def suggest(name: str, valid: Sequence[str]) -> str:
    """Say which valid name comes nearest to this one, or which there are."""
    near = nearest(name, valid)
    if near is not None:
        return f'did you mean "{near}"?'
    return "there is none here" if not valid else f"valid: {', '.join(valid)}"


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """Give the valid name that comes nearest, whatever the case, dashes and underscores; ``None`` if none does."""
    plain = {_plain(known): known for known in valid}
    found = difflib.get_close_matches(_plain(name[:100]), plain, n=1, cutoff=0.6)
    return plain[found[0]] if found else None


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")
