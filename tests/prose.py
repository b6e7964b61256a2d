"""Check the project's prose: terms that are not the field's, long sentences, openings of docstrings, help texts.

``python -m tests.prose`` prints a line for each finding and exits with 1 if there is any; ``--count`` prints counts by
file and by term instead. The terms are in prose.toml. Inline code, code blocks and addresses are not prose.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from inspect import cleandoc
from pathlib import Path
from typing import Any

import typer
from markdown_it import MarkdownIt

from seimigrate.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
LONGEST_SENTENCE = 25
"""In words; inline code counts as one."""
LONGEST_SUMMARY = 60
"""In characters: as many of a command's summary fit the listing of ``--help`` at 80 columns."""
EXAMPLES = 2
"""How many each command's help has, at least."""

_CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
_ADDRESS = re.compile(r"\]\([^)\s]*\)|https?://[^\s)>]+")
_SENTENCE_END = re.compile(r"[.:;?!][\"')*_\]]*(?:\s+|$)")
_EXAMPLE = re.compile(r"^\s*(?:\$ )?(?:\S+=\S+ |\S+ <\()?(?:kubectl )?seimigrate\b", re.MULTILINE)
_MARKDOWN = MarkdownIt("commonmark").enable("table")


class Kind(Enum):
    """What is checked in a passage besides its terms."""

    TEXT = "nothing else"
    PARAGRAPH = "the length of sentences"
    DOCSTRING = "the first word"


@dataclass(frozen=True)
class Passage:
    """A text, the line that it starts on, and, for a literal of several lines, these lines."""

    file: str
    line: int
    text: str
    kind: Kind = Kind.TEXT
    source: tuple[str, ...] = ()

    def line_of(self, offset: int) -> int:
        """Return the line of an offset; in a literal, the first line that has the word at this offset."""
        if not self.source:
            return self.line + self.text.count("\n", 0, offset)
        found = re.match(r"\w+", self.text[offset:])
        word = re.compile(rf"\b{found[0]}\b" if found else "$^")
        return self.line + next((n for n, line in enumerate(self.source) if word.search(line)), 0)


@dataclass(frozen=True, order=True)
class Finding:
    """A fault, its place, and what to write instead; faults of the same ``kind`` are counted together."""

    file: str
    line: int
    found: str
    write: str
    kind: str

    def __str__(self) -> str:
        return f'{self.file}:{self.line}: "{self.found}": write "{self.write}"'


class Term:
    """A pattern that is refused, what to write instead, and the pattern that excuses a match where they overlap."""

    def __init__(self, find: str, write: str, unless: str = "$^") -> None:
        self.find, self.unless, self.write = _whole_words(find), _whole_words(unless), write

    def matches(self, text: str) -> Iterator[re.Match[str]]:
        """Return the matches that nothing excuses."""
        excused = [match.span() for match in self.unless.finditer(text)]
        for match in self.find.finditer(text):
            if not any(start < match.end() and match.start() < end for start, end in excused):
                yield match


def _whole_words(pattern: str) -> re.Pattern[str]:
    spaced = pattern.replace(" ", r"\s+")
    return re.compile(rf"(?<!\w)(?:{spaced})(?!\w)", re.IGNORECASE)


_LIST: dict[str, Any] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
TERMS = [Term(**term) for term in _LIST["terms"]]
OPENINGS: dict[str, str] = _LIST["openings"]


def markdown_passages(file: str, text: str) -> Iterator[Passage]:
    """Return the texts of a Markdown file; those of paragraphs and list items are sentences."""
    line, before = 1, ""
    for token in _MARKDOWN.parse(text):
        if token.map is not None:
            line = token.map[0] + 1
        if token.type == "inline":
            kind = Kind.PARAGRAPH if before == "paragraph_open" else Kind.TEXT
            yield Passage(file, line, token.content, kind)
        before = token.type


def python_passages(file: str, source: str) -> Iterator[Passage]:
    """Return the docstrings, comments and messages of a Python file; of tests, names instead of messages."""
    tree, lines = ast.parse(source), source.splitlines()
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text)) as literal):
                skipped.add(literal)
                yield Passage(file, node.lineno, text, Kind.DOCSTRING)
            case ast.FunctionDef(name=name) if name.startswith("test_"):
                yield Passage(file, node.lineno, name.replace("_", " "))
            case ast.JoinedStr(values=values) if not file.startswith("tests/"):
                skipped.update(values)
                text = "".join(str(each.value) if isinstance(each, ast.Constant) else "_" for each in values)
                yield Passage(file, node.lineno, text, source=_span(node, lines))
            case ast.Constant(value=str(text)) if node not in skipped and " " in text and not file.startswith("tests/"):
                yield Passage(file, node.lineno, text, source=_span(node, lines))
    yield from _comments(file, source)


def _span(node: ast.expr, lines: list[str]) -> tuple[str, ...]:
    return tuple(lines[node.lineno - 1 : node.end_lineno])


def _comments(file: str, source: str) -> Iterator[Passage]:
    """Return the comments; those in lines that follow each other, in the same column, are one text."""
    start, end, text = (0, 0), (0, 0), ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        words = token.string.lstrip("#: ")
        if text and token.start == (end[0] + 1, end[1]):
            text = f"{text}\n{words}"
        else:
            if text:
                yield Passage(file, start[0], text)
            start, text = token.start, words
        end = token.start
    if text:
        yield Passage(file, start[0], text)


def check_passage(passage: Passage) -> Iterator[Finding]:
    """Return what is wrong with a passage."""
    text = _CODE.sub(lambda match: re.sub(r"[^\n]", "_", match[0]), passage.text)
    text = _ADDRESS.sub(lambda match: " " * len(match[0]), text)
    opening = re.match(r"\w+", text) if passage.kind is Kind.DOCSTRING else None
    if opening and opening[0] in OPENINGS:
        found, write = f"{opening[0]} ...", f"{OPENINGS[opening[0]]} ..."
        yield Finding(passage.file, passage.line, found, write, f"docstring: {found}")
        text = "_" * opening.end() + text[opening.end() :]
    for match, write in _term_matches(text):
        found = " ".join(match[0].split())
        yield Finding(passage.file, passage.line_of(match.start()), found, write, found.lower())
    if passage.kind is Kind.PARAGRAPH:
        yield from _long_sentences(passage, text)


def _term_matches(text: str) -> Iterator[tuple[re.Match[str], str]]:
    """Return the matches of all terms with what to write instead; of matches that overlap, the first and longest."""
    found = [(match, term.write) for term in TERMS for match in term.matches(text)]
    end = 0
    for match, write in sorted(found, key=lambda each: (each[0].start(), -each[0].end())):
        if match.start() >= end:
            yield match, write
            end = match.end()


def _long_sentences(passage: Passage, text: str) -> Iterator[Finding]:
    start = 0
    for end in (*(match.end() for match in _SENTENCE_END.finditer(text)), len(text)):
        words = [word for word in text[start:end].split() if re.search(r"\w", word)]
        if len(words) > LONGEST_SENTENCE:
            opening = " ".join(passage.text[start:].split()[:6])
            found, write = f"{opening} ... ({len(words)} words)", f"sentences of at most {LONGEST_SENTENCE} words"
            yield Finding(passage.file, passage.line_of(start), found, write, f"more than {LONGEST_SENTENCE} words")
        start = end


def check_help(root: Any, places: dict[str, tuple[str, int]]) -> Iterator[Finding]:
    """Return what is wrong with the help texts of a program; ``places`` has the literals that are checked already."""
    for command in _commands(root):
        text = command.help or ""
        file, line = places.get(cleandoc(text), ("seimigrate/cli/main.py", 1))
        for each in (text, command.epilog, *(getattr(param, "help", None) for param in command.params)):
            if each and cleandoc(each) not in places:
                yield from check_passage(Passage(file, line, each, source=("",)))
        yield from _help_shape(command, text, file, line, listed=command is not root)


def _help_shape(command: Any, text: str, file: str, line: int, *, listed: bool) -> Iterator[Finding]:
    """Return what is wrong with the summary, if a listing shows it, and with the examples of a command."""
    summary = " ".join(text.partition("\n\n")[0].split())
    if listed and len(summary) > LONGEST_SUMMARY:
        found, write = f"{summary} ({len(summary)} characters)", f"a summary of at most {LONGEST_SUMMARY} characters"
        yield Finding(file, line, found, write, "long summary")
    examples = _EXAMPLE.findall(f"{text}\n{command.epilog or ''}".partition("Examples:")[2])
    if not hasattr(command, "commands") and len(examples) < EXAMPLES:
        write = f"Examples: with at least {EXAMPLES} commands"
        yield Finding(file, line, f"help of {command.name}", write, "help without examples")


def _commands(command: Any) -> Iterator[Any]:
    """Return a command and all commands and groups below it."""
    yield command
    for each in getattr(command, "commands", {}).values():
        yield from _commands(each)


def passages(root: Path) -> Iterator[Passage]:
    """Return all passages of a checkout."""
    for path in (root / "CHANGELOG.md", root / "tests/README.md"):
        if path.exists():
            for each in markdown_passages(str(path.relative_to(root)), path.read_text()):
                yield replace(each, kind=Kind.TEXT)
    for path in (root / "README.md", *root.glob("docs/*.md"), *root.glob("runbooks/*.md")):
        yield from markdown_passages(str(path.relative_to(root)), path.read_text())
    for path in (*root.glob("docs/*.py"), *root.glob("seimigrate/**/*.py"), *root.glob("tests/**/*.py")):
        yield from python_passages(str(path.relative_to(root)), path.read_text())


def findings(root: Path) -> list[Finding]:
    """Return everything that is wrong in a checkout and in the help texts of its program."""
    read = list(passages(root))
    literals = {cleandoc(each.text): (each.file, each.line) for each in read if each.file.startswith("seimigrate/")}
    found = {finding for each in read for finding in check_passage(each)}
    return sorted({*found, *check_help(typer.main.get_command(app), literals)})


def main(argv: list[str]) -> int:
    """Print the findings, or their counts; return 1 if there is any."""
    parser = argparse.ArgumentParser(prog="python -m tests.prose", description="Check the project's prose.")
    parser.add_argument("--count", action="store_true", help="print counts by file and by term")
    parser.add_argument("paths", nargs="*", help="check only what is below these paths")
    options = parser.parse_args(argv)
    wanted = tuple(options.paths)
    found = [finding for finding in findings(ROOT) if not wanted or finding.file.startswith(wanted)]
    if options.count:
        _print_counts("findings by file", Counter(each.file for each in found))
        _print_counts("findings by term", Counter(each.kind for each in found))
    else:
        print("".join(f"{each}\n" for each in found), end="")
    return 1 if found else 0


def _print_counts(title: str, counts: Counter[str]) -> None:
    print(f"{counts.total()} {title}")
    for name, count in counts.most_common():
        print(f"{count:6} {name}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
