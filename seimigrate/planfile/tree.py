"""Turn YAML text into plain values and their places, refusing what is easily misread.

The parser is libyaml's, by way of its events: loading would let the last of two equal keys win in silence, follow
aliases, and forget where a value stood. Scalars are read as YAML 1.2 reads them; what YAML 1.1 reads differently
(``yes``, ``010``, ``1:30``) is refused, because other tools that read the file would see something else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from seimigrate.planfile.problems import Path, Place, Places, Problem, short

Value = Any
"""None, a bool, int, float or str, a list of values, or a dict of them by str."""

_MAX_CHARACTERS = 1 << 20
_MAX_LEVELS = 24
_MAX_DIGITS = 18

_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_OLD = yaml.SafeLoader.yaml_implicit_resolvers
_BAD_CHARACTER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?")
_NULLS = ("", "~", "null", "Null", "NULL")
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


@dataclass(slots=True)
class Tree:
    """A YAML document: its value, where everything stands, and what is wrong with it as YAML.

    ``broken`` are the paths whose values mean nothing, so that nobody complains of them twice.
    """

    value: Value
    places: Places
    problems: list[Problem] = field(default_factory=list)
    broken: set[Path] = field(default_factory=set)


class _Stop(Exception):  # noqa: N818 - no error: it ends the reading, and the problem is listed already
    pass


def read_tree(text: str, source: str) -> Tree:
    """Read one YAML document; never raises, whatever the text: problems are listed in the tree.

    Where nothing could be read at all, the root path ``()`` is among the broken ones.
    """
    tree = Tree(None, Places(source, {}, {}))
    reader = _Reader(tree, text.removeprefix("\ufeff"))
    try:
        reader.read()
    except _Stop:
        tree.broken.add(())
    return tree


@dataclass(slots=True)
class _Open:
    """A list or mapping that is being read; ``key`` waits for its value, and is skipped when it is ``None``."""

    value: Any
    path: Path
    key: str | None = None
    wants_value: bool = False


class _Reader:
    def __init__(self, tree: Tree, text: str) -> None:
        self.tree = tree
        self.text = text
        self.open: list[_Open] = []
        self.documents = 0

    def read(self) -> None:
        self._check_characters()
        try:
            for event in yaml.parse(self.text, Loader=_Parser):
                self._take(event)
        except yaml.YAMLError as error:
            self._syntax(error)
        if not self.documents:
            self._stop(Place(self.tree.places.source, 1, 1), "is empty")

    # -------------------------------------------------- events

    def _take(self, event: Any) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._document(event)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._collection(event)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self.open.pop()

    def _document(self, event: Any) -> None:
        self.documents += 1
        if self.documents > 1:
            self._stop(self._place(event), "a second document begins here: one file is one document")

    def _alias(self, event: Any) -> None:
        message = f"*{short(event.anchor)} is an alias: write the value out"
        if self._is_key():
            self._problem(event, self.open[-1].path, message)
            self._skip_key()
        else:
            self._add(event, None, broken=message)

    def _scalar(self, event: Any) -> None:
        if self._is_key():
            self._key(event)
            return
        problem = _decorations(event)
        value: Value = event.value
        if problem is None and event.implicit[0]:
            value, problem = _plain_scalar(event.value)
        self._add(event, value, broken=problem)

    def _collection(self, event: Any) -> None:
        if len(self.open) >= _MAX_LEVELS:
            self._stop(self._place(event), f"is nested more than {_MAX_LEVELS} levels deep")
        value: Value = [] if isinstance(event, yaml.SequenceStartEvent) else {}
        if self._is_key():
            self._problem(event, self.open[-1].path, "a key must be plain text")
            self._skip_key()
            # What is inside the key is read into a value that nobody looks at.
            path = (*self.open[-1].path, "?")
        else:
            path = self._add(event, value, broken=_decorations(event))
        self.open.append(_Open(value, path))

    def _skip_key(self) -> None:
        self.open[-1].wants_value = True
        self.open[-1].key = None

    def _key(self, event: Any) -> None:
        parent = self.open[-1]
        parent.wants_value = True
        parent.key = key = event.value
        path = (*parent.path, key)
        problem = _decorations(event)
        if problem is not None:
            self._problem(event, path, problem)
        if key == "<<" and event.implicit[0]:
            self._problem(event, path, "merge keys are not used here: write the values out")
            parent.key = None
        elif key in parent.value:
            first = self.tree.places.of_key(path)
            self._problem(event, path, f"is there already, in line {first.line}")
            parent.key = None
        else:
            self.tree.places.keys[path] = self._place(event)

    def _is_key(self) -> bool:
        return bool(self.open) and isinstance(self.open[-1].value, dict) and not self.open[-1].wants_value

    def _add(self, event: Any, value: Value, *, broken: str | None) -> Path:
        """Put a value where it belongs, and give its path."""
        if not self.open:
            path: Path = ()
            self.tree.value = value
        elif isinstance(self.open[-1].value, list):
            path = (*self.open[-1].path, len(self.open[-1].value))
            self.open[-1].value.append(value)
        else:
            parent = self.open[-1]
            parent.wants_value = False
            if parent.key is None:
                return (*parent.path, "?")
            path = (*parent.path, parent.key)
            parent.value[parent.key] = value
        self.tree.places.values.setdefault(path, self._place(event))
        if broken is not None:
            self._problem(event, path, broken)
            self.tree.broken.add(path)
        return path

    # -------------------------------------------------- problems

    def _check_characters(self) -> None:
        if len(self.text) > _MAX_CHARACTERS:
            self._stop(Place(self.tree.places.source), f"has more than {_MAX_CHARACTERS} characters")
        bad = _BAD_CHARACTER.search(self.text)
        if bad is not None:
            before = self.text[: bad.start()]
            line, column = before.count("\n") + 1, bad.start() - (before.rfind("\n") + 1) + 1
            place = Place(self.tree.places.source, line, column)
            self._stop(place, f"the character U+{ord(bad[0]):04X} has no place in a text file")

    def _syntax(self, error: yaml.YAMLError) -> None:
        mark = getattr(error, "problem_mark", None)
        line, column = (mark.line, mark.column) if mark is not None else (0, 0)
        lines = self.text.splitlines() or [""]
        text = lines[min(line, len(lines) - 1)]
        said = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
        if "\t" in text[: len(text) - len(text.lstrip())]:
            said = "a tab: indent with spaces"
        elif getattr(error, "context", None):
            said = f"{said} ({error.context})"  # type: ignore[attr-defined]
        self._stop(Place(self.tree.places.source, line + 1, column + 1), f"not YAML: {said}")

    def _problem(self, event: Any, path: Path, message: str) -> None:
        self.tree.problems.append(Problem(self._place(event), path, message))

    def _stop(self, place: Place, message: str) -> None:
        self.tree.problems.append(Problem(place, (), message))
        raise _Stop

    def _place(self, event: Any) -> Place:
        return Place(self.tree.places.source, event.start_mark.line + 1, event.start_mark.column + 1)


def _decorations(event: Any) -> str | None:
    if event.anchor is not None:
        return f"&{short(event.anchor)} is an anchor: write the value out where it is used"
    if event.tag is not None:
        return f"{short(event.tag)} is a tag: plan files have none"
    return None


def _plain_scalar(text: str) -> tuple[Value, str | None]:
    """Read a scalar that stands without quotes; gives its value and what is wrong with it."""
    value: Value = text
    if text in _NULLS:
        value = None
    elif text in _BOOLEANS:
        value = _BOOLEANS[text]
    elif _INTEGER.fullmatch(text):
        if len(text) > _MAX_DIGITS:
            return None, "is too large a number"
        value = int(text)
    elif _FLOAT.fullmatch(text):
        value = float(text)
        if value in (float("inf"), float("-inf")):
            return None, "is too large a number"
    elif _ambiguous(text):
        return None, f"{short(text)} means different things to different YAML readers: put it in quotes if it is text"
    return value, None


def _ambiguous(text: str) -> bool:
    """Tell whether YAML 1.1 sees a number or a boolean in a scalar that is text in YAML 1.2."""
    kinds = ("bool", "int", "float")
    return any(
        tag.rsplit(":", 1)[-1] in kinds and pattern.match(text) for tag, pattern in _OLD.get(text[:1], ())
    ) or bool(re.fullmatch(r"0o[0-7]+|[yYnN]", text))
