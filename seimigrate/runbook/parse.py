"""Turn the text of a page into a ``Page``, or into everything that is wrong with it, each with its line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from seimigrate.domain.plan.plan import StageName
from seimigrate.planfile.problems import Place, Problem, short, suggest
from seimigrate.planfile.tree import read_tree
from seimigrate.runbook.model import CommandBlock, Heading, Link, Runbook, RunbookStep, Urgency
from seimigrate.runbook.step_block import read_step

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_KEYS = ("id", "title", "stage", "severity", "approver", "duration")
_FENCES = ("sh", "step", "text")


@dataclass(slots=True)
class _Parsed:
    """What was found in a page so far."""

    source: str
    headings: list[Heading] = field(default_factory=list)
    steps: list[RunbookStep] = field(default_factory=list)
    commands: list[CommandBlock] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add_problem(self, line: int, message: str) -> None:
        self.problems.append(Problem(Place(self.source, line, 1), (), message))


def read_page(text: str, source: str) -> tuple[Runbook | None, list[Problem]]:
    """Read a page; no page where its front matter cannot be used, and never an error raised, whatever the text."""
    found = _Parsed(source)
    head, body = _split(text, found)
    if body is not None:
        _walk(body, found)
    front = _front(head, found) if head is not None else None
    if front is None:
        return None, found.problems
    runbook = Runbook(
        source=source,
        text=text,
        headings=tuple(found.headings),
        steps=tuple(found.steps),
        commands=tuple(found.commands),
        links=tuple(found.links),
        **front,
    )
    return runbook, found.problems


def read_links(text: str, source: str) -> tuple[Link, ...]:
    """Give the links of a page without front matter: the folder's README."""
    found = _Parsed(source)
    _walk(text, found)
    return tuple(found.links)


# -------------------------------------------------- front matter


def _split(text: str, found: _Parsed) -> tuple[str | None, str | None]:
    """Give the front matter, and the rest with empty lines in its place, so that lines keep their numbers."""
    lines = text.splitlines()
    if not lines or lines[0].strip() != "---":
        found.add_problem(1, "has no front matter: it begins with a line ---")
        return None, text
    end = next((number for number, line in enumerate(lines[1:], 1) if line.strip() == "---"), None)
    if end is None:
        found.add_problem(1, "its front matter has no end: a line --- closes it")
        return None, None
    return "\n" + "\n".join(lines[1:end]), "\n".join(["", *([""] * end), *lines[end + 1 :]])


def _front(head: str, found: _Parsed) -> dict[str, Any] | None:
    tree = read_tree(head, found.source)
    data = tree.value
    problems: list[Problem] = [*tree.problems]
    found.problems += problems
    if tree.broken or not isinstance(data, dict):
        if not problems:
            found.add_problem(1, "its front matter must be a mapping, like id: rollback-expose")
        return None
    values = dict(_values(data))
    for key in data:
        if key not in _KEYS:
            place = tree.places.of_key((key,))
            found.problems.append(Problem(place, (key,), f"unknown key: {suggest(str(key), _KEYS)}"))
    for key, complaint in _problems(data, found.source):
        place = tree.places.of((key,)) if key in data else Place(found.source, 1, 1)
        found.problems.append(Problem(place, (key,), complaint))
        values.pop(key, None)
    return values if set(values) == set(_KEYS) else None


def _values(data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in _KEYS:
        value = data.get(key)
        if key == "stage":
            yield key, StageName(value) if value in set(StageName) else None
        elif key == "severity":
            yield key, Urgency(value) if value in set(Urgency) else None
        else:
            yield key, value


def _problems(data: Mapping[str, Any], source: str) -> Iterator[tuple[str, str]]:
    for key in _KEYS:
        value = data.get(key)
        if key == "stage" and value is None:
            continue
        if key not in data:
            yield key, "is missing"
        elif not isinstance(value, str) or not value:
            yield key, "must be text"
        elif key == "stage" and value not in set(StageName):
            yield key, f'unknown stage "{short(value)}": {suggest(value, list(StageName))}'
        elif key == "severity" and value not in set(Urgency):
            yield key, f'unknown value "{short(value)}": {suggest(value, list(Urgency))}'
        elif key == "id" and value != PurePath(source).stem:
            yield key, f'must be the name of its file, "{short(PurePath(source).stem)}"'


# -------------------------------------------------- the body


@cache
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt  # --help does not need it

    return MarkdownIt("commonmark").enable("table")


def _walk(body: str, found: _Parsed) -> None:
    section, line = "", 1
    tokens = _markdown().parse(body)
    for at, token in enumerate(tokens):
        line = token.map[0] + 1 if token.map else line
        if token.type == "heading_open":
            text = tokens[at + 1].content
            found.headings.append(Heading(line, int(token.tag[1:]), text))
            section = text if token.tag == "h2" else section
        elif token.type == "fence":
            _fence(token, line, section, found)
        elif token.type == "code_block":
            found.add_problem(line, "is an indented block: fence commands with ```sh")
        for child in token.children or []:
            if child.type == "link_open":
                found.links.append(Link(line, str(child.attrs.get("href", ""))))


def _fence(token: Token, line: int, section: str, found: _Parsed) -> None:
    kind = token.info.strip()
    if kind == "step":
        step, problems = read_step("\n" * line + token.content, found.source, line)
        found.problems += problems
        if step is not None:
            found.steps.append(step)
    elif kind == "sh":
        found.commands.append(CommandBlock(line + 1, section, token.content))
    elif kind not in _FENCES:
        found.add_problem(line, f'unknown block "{short(kind)}": {suggest(kind, _FENCES)}')
