"""Everything that is wrong with a folder of runbooks: also what only people need, like links, headings and commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from urllib.parse import urlsplit

from seimigrate.planfile.problems import Place, Problem, short, suggest
from seimigrate.runbook import command_lint
from seimigrate.runbook import folder as folders
from seimigrate.runbook.command_lint import CommandTree
from seimigrate.runbook.folder import INDEX, RunbookSet
from seimigrate.runbook.model import SECTIONS, Heading, Link, Runbook
from seimigrate.runbook.parse import read_links


def check(folder: str | None, seimigrate: CommandTree) -> tuple[RunbookSet, list[Problem]]:
    """Give the runbooks and all that is wrong with them, in the files' order; ``seimigrate`` are its own commands.

    Raises ``RunbookError`` where there is no folder.
    """
    runbooks, problems = folders.load(folder)
    index = folders.read_index(folder)
    for runbook in runbooks.runbooks:
        problems += [
            Problem(Place(runbook.source, line, 1), (), message) for line, message in _check_runbook(runbook, runbooks)
        ]
        for block in runbook.commands:
            for line, message in command_lint.findings(block.text, seimigrate):
                problems.append(Problem(Place(runbook.source, block.line + line, 1), (), message))
    problems += _check_index(runbooks, index)
    return runbooks, sorted(problems, key=lambda each: (each.place.source, each.place.line, each.place.column))


def _check_runbook(runbook: Runbook, runbooks: RunbookSet) -> Iterator[tuple[int, str]]:
    yield from _headings(runbook)
    for link in runbook.links:
        if message := _check_link(link, runbooks.files, runbook.headings):
            yield link.line, message


def _headings(runbook: Runbook) -> Iterator[tuple[int, str]]:
    titles = [heading for heading in runbook.headings if heading.level == 1]
    if [heading.text for heading in titles] != [runbook.title]:
        yield titles[0].line if titles else 1, f'needs one title, that of its front matter: "# {short(runbook.title)}"'
    sections = [heading for heading in runbook.headings if heading.level == 2]
    for heading in sections:
        if heading.text not in SECTIONS:
            yield heading.line, f'unknown heading "{short(heading.text)}": {suggest(heading.text, SECTIONS)}'
    there = [heading for heading in sections if heading.text in SECTIONS]
    names = [heading.text for heading in there]
    for section in SECTIONS:
        if section not in names:
            yield 1, f'heading "## {section}" is missing: a page has {", ".join(SECTIONS)}'
    if names != sorted(set(names), key=SECTIONS.index) and set(names) == set(SECTIONS):
        yield there[0].line, f"its headings come in another order, or twice: {', '.join(SECTIONS)}"


def _check_link(link: Link, files: tuple[str, ...], headings: tuple[Heading, ...]) -> str:
    url = urlsplit(link.target)
    if url.scheme or url.netloc:
        return f"{short(link.target)} leads out: at three in the morning a page must say it all itself"
    if url.path and url.path not in files:
        return f"{short(link.target)} leads nowhere: {suggest(url.path, files)}"
    anchors = [_anchor(heading.text) for heading in headings]
    if url.fragment and not url.path and url.fragment not in anchors:
        return f"#{short(url.fragment)} is no heading of this page: {suggest(url.fragment, anchors)}"
    return ""


def _anchor(heading: str) -> str:
    kept = "".join(c for c in heading.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def _check_index(runbooks: RunbookSet, index: str) -> Iterator[Problem]:
    """Every page can be found from the index, by whatever way of links."""
    source = f"{runbooks.source}/{INDEX}"
    if not index:
        yield Problem(Place(source), (), "is missing: it says which page to open when")
        return
    links = {
        PurePath(runbook.source).name: [urlsplit(link.target).path for link in runbook.links]
        for runbook in runbooks.runbooks
    }
    for link in read_links(index, source):
        if message := _check_link(link, runbooks.files, ()):
            yield Problem(Place(source, link.line, 1), (), message)
    reached: set[str] = set()
    open_ = [urlsplit(link.target).path for link in read_links(index, source)]
    while open_:
        name = open_.pop()
        if name in links and name not in reached:
            reached.add(name)
            open_ += links[name]
    for runbook in runbooks.runbooks:
        if PurePath(runbook.source).name not in reached:
            yield Problem(Place(runbook.source, 1, 1), (), f"is an orphan: no link leads from {INDEX} to it")
