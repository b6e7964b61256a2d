"""A folder of runbooks: what the program needs of it is read here, and refused as a whole if any of that is off.

What only people need (sections, links, commands) is the business of ``check``: a page with a broken link must not keep
a node from going back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from seimigrate import resources
from seimigrate.domain.plan import StageName
from seimigrate.domain.steps import CHANGING, StepName, Ways
from seimigrate.planfile.problems import Place, Problem, short, suggest
from seimigrate.runbook.pages import PROGRAM, Page, RunbookError
from seimigrate.runbook.reading import read_page

INDEX = "README.md"
"""The page that says which page to open; it binds nothing and has no front matter."""

_LABELS_ALONE = (StageName.HOLD, StageName.CHECK)
"""The stages before which nothing was written but labels: their way back may be the release alone."""
_HINT = "seimigrate runbook check names all that is wrong with runbooks"
_MOST_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Runbooks:
    """The pages of a folder by their ids, the names of all its files, and a digest of what is in them."""

    source: str
    digest: str
    pages: tuple[Page, ...]
    files: tuple[str, ...]

    @property
    def ways(self) -> Ways:
        """Give every stage's way back."""
        return Ways(self.digest, tuple(page.way(page.stage) for page in self.pages if page.stage is not None))

    def page(self, name: str) -> Page:
        """Give a page; raises ``RunbookError`` naming the nearest one if there is none of that id."""
        for page in self.pages:
            if page.id == name:
                return page
        message = f'there is no page "{short(name)}": {suggest(name, [page.id for page in self.pages])}'
        raise RunbookError(self.source, [Problem(Place(self.source), (), message)], hint="seimigrate runbook list")


def read_runbooks(folder: str | None) -> Runbooks:
    """Read a folder of runbooks, by default those that came along; raises ``RunbookError`` with all that is wrong."""
    runbooks, problems = look(folder)
    if problems:
        raise RunbookError(runbooks.source, problems, hint=_HINT)
    return runbooks


def look(folder: str | None) -> tuple[Runbooks, list[Problem]]:
    """Read what there is of a folder, and give what is wrong with it; raises ``RunbookError`` if it is none."""
    place = Path(folder) if folder is not None else resources.runbooks_dir()
    source = short(folder, 200) if folder is not None else "runbooks"
    texts, problems = _texts(place, source)
    pages = []
    for name, text in texts.items():
        if name != INDEX:
            page, found = read_page(text, f"{source}/{name}")
            pages += [page] if page is not None else []
            problems += found or (_of_steps(page) if page is not None else [])
    digest = hashlib.sha256(repr(sorted(texts.items())).encode()).hexdigest()[:12]
    runbooks = Runbooks(source, digest, tuple(sorted(pages, key=lambda page: page.id)), tuple(texts))
    # A page that could not be read may be the one that a stage lacks.
    complete = len(pages) == len(texts.keys() - {INDEX})
    return runbooks, [*problems, *_of_stages(runbooks, complete=complete)]


def index(folder: str | None) -> str:
    """Give the text of the folder's README, ``""`` if it has none."""
    place = Path(folder) if folder is not None else resources.runbooks_dir()
    file = place / INDEX
    return file.read_text("utf-8", "replace") if file.is_file() else ""


def _texts(place: Path, source: str) -> tuple[dict[str, str], list[Problem]]:
    try:
        files = sorted(file for file in place.iterdir() if file.suffix == ".md")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a folder's name"
        problem = Problem(Place(source), (), f"cannot be read: {reason}")
        raise RunbookError(source, [problem], hint="name a folder of pages: --runbooks DIR; or leave it out") from error
    texts: dict[str, str] = {}
    problems = []
    for file in files:
        try:
            data = file.read_bytes()
            if len(data) > _MOST_BYTES:
                problems.append(Problem(Place(f"{source}/{file.name}"), (), f"has more than {_MOST_BYTES} bytes"))
                continue
            texts[file.name] = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            problems.append(Problem(Place(f"{source}/{file.name}", line, 1), (), "is not UTF-8"))
        except OSError as error:
            problems.append(Problem(Place(f"{source}/{file.name}"), (), f"cannot be read: {error.strerror}"))
    if not texts and not problems:
        problems.append(Problem(Place(source), (), "has no page: runbooks are files *.md"))
    return texts, problems


def _of_steps(page: Page) -> list[Problem]:
    """Whatever way back a page declares is a whole one, in the one order that brings a node back."""
    complaints = list(_complaints(page))
    return [Problem(Place(page.source, line, 1), (), message) for line, message in complaints]


def _complaints(page: Page) -> Iterator[tuple[int, str]]:
    changing = [each for each in page.steps if each.step.do in CHANGING]
    before: list[StepName] = []
    for each in changing:
        name = each.step.do
        later = [known for known in before if CHANGING.index(known) > CHANGING.index(name)]
        if name in before:
            yield each.line, f'step "{name}" is there already'
        elif later:
            yield each.line, f'step "{name}" must come before "{later[0]}"; the order is {", ".join(CHANGING)}'
        before.append(name)
    if page.stage is None and not page.steps:
        return
    needed: Sequence[StepName] = (StepName.RELEASE,) if page.stage in _LABELS_ALONE else CHANGING
    line = page.steps[-1].line if page.steps else 1
    for name in needed:
        if name not in before:
            yield line, f'step "{name}" is missing: a way back needs {", ".join(needed)}'
    confirms = [each.line for each in page.steps if each.step.do is StepName.CONFIRM]
    first = changing[0].line if changing else line
    if page.decides != PROGRAM and not any(at < first for at in confirms):
        who = f'"{short(page.decides)}" decides'
        yield first, f'{who}, so a step "{StepName.CONFIRM}" must come before this one (or decides: {PROGRAM})'
    if StepName.RELEASE in before and page.steps[-1].step.do is not StepName.RELEASE:
        yield page.steps[-1].line, f'step "{page.steps[-1].step.do}" comes after "release", which ends the way back'


def _of_stages(runbooks: Runbooks, *, complete: bool) -> Iterator[Problem]:
    bound: dict[StageName, str] = {}
    for page in runbooks.pages:
        if page.stage is not None and page.stage in bound:
            message = f'stage "{page.stage}" has its way back already, in {bound[page.stage]}'
            yield Problem(Place(page.source, 1, 1), ("stage",), message)
        elif page.stage is not None:
            bound[page.stage] = page.source
    for stage in StageName:
        if complete and stage not in bound:
            message = f'no page binds the way back from stage "{stage}": one needs stage: {stage} in its front matter'
            yield Problem(Place(runbooks.source), (), message)
