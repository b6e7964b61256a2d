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
from seimigrate.domain.plan.plan import StageName
from seimigrate.domain.plan.rollback_steps import REVERTING_STEPS, RollbackRunbooks, StepName
from seimigrate.planfile.problems import Place, Problem, short, suggest
from seimigrate.runbook.model import AUTOMATED, Runbook, RunbookError
from seimigrate.runbook.parse import read_page

INDEX = "README.md"
"""The page that says which page to open; it binds nothing and has no front matter."""

_LABELS_ALONE = (StageName.HOLD, StageName.CHECK)
"""The stages before which nothing was written but labels: their way back may be the release alone."""
_HINT = "seimigrate runbook check names all that is wrong with runbooks"
_MAX_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class RunbookSet:
    """The pages of a folder by their ids, the names of all its files, and a digest of what is in them."""

    source: str
    digest: str
    runbooks: tuple[Runbook, ...]
    files: tuple[str, ...]

    @property
    def rollback_runbooks(self) -> RollbackRunbooks:
        """Give every stage's way back."""
        return RollbackRunbooks(
            self.digest,
            tuple(runbook.rollback(runbook.stage) for runbook in self.runbooks if runbook.stage is not None),
        )

    def get(self, name: str) -> Runbook:
        """Give a page; raises ``RunbookError`` naming the nearest one if there is none of that id."""
        for runbook in self.runbooks:
            if runbook.id == name:
                return runbook
        message = f'there is no page "{short(name)}": {suggest(name, [runbook.id for runbook in self.runbooks])}'
        raise RunbookError(self.source, [Problem(Place(self.source), (), message)], hint="seimigrate runbook list")


def read_runbooks(folder: str | None) -> RunbookSet:
    """Read a folder of runbooks, by default those that came along; raises ``RunbookError`` with all that is wrong."""
    runbooks, problems = load(folder)
    if problems:
        raise RunbookError(runbooks.source, problems, hint=_HINT)
    return runbooks


def load(folder: str | None) -> tuple[RunbookSet, list[Problem]]:
    """Read what there is of a folder, and give what is wrong with it; raises ``RunbookError`` if it is none."""
    place = Path(folder) if folder is not None else resources.runbooks_dir()
    source = short(folder, 200) if folder is not None else "runbooks"
    texts, problems = _texts(place, source)
    pages = []
    for name, text in texts.items():
        if name != INDEX:
            runbook, found = read_page(text, f"{source}/{name}")
            pages += [runbook] if runbook is not None else []
            problems += found or (_check_steps(runbook) if runbook is not None else [])
    digest = hashlib.sha256(repr(sorted(texts.items())).encode()).hexdigest()[:12]
    runbooks = RunbookSet(source, digest, tuple(sorted(pages, key=lambda runbook: runbook.id)), tuple(texts))
    # A page that could not be read may be the one that a stage lacks.
    complete = len(pages) == len(texts.keys() - {INDEX})
    return runbooks, [*problems, *_check_stages(runbooks, complete=complete)]


def read_index(folder: str | None) -> str:
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
            if len(data) > _MAX_BYTES:
                problems.append(Problem(Place(f"{source}/{file.name}"), (), f"has more than {_MAX_BYTES} bytes"))
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


def _check_steps(runbook: Runbook) -> list[Problem]:
    """Whatever way back a page declares is a whole one, in the one order that brings a node back."""
    complaints = list(_problems(runbook))
    return [Problem(Place(runbook.source, line, 1), (), message) for line, message in complaints]


def _problems(runbook: Runbook) -> Iterator[tuple[int, str]]:
    changing = [each for each in runbook.steps if each.step.action in REVERTING_STEPS]
    before: list[StepName] = []
    for each in changing:
        name = each.step.action
        later = [known for known in before if REVERTING_STEPS.index(known) > REVERTING_STEPS.index(name)]
        if name in before:
            yield each.line, f'step "{name}" is there already'
        elif later:
            yield each.line, f'step "{name}" must come before "{later[0]}"; the order is {", ".join(REVERTING_STEPS)}'
        before.append(name)
    if runbook.stage is None and not runbook.steps:
        return
    needed: Sequence[StepName] = (StepName.RELEASE,) if runbook.stage in _LABELS_ALONE else REVERTING_STEPS
    line = runbook.steps[-1].line if runbook.steps else 1
    for name in needed:
        if name not in before:
            yield line, f'step "{name}" is missing: a rollback needs {", ".join(needed)}'
    confirms = [each.line for each in runbook.steps if each.step.action is StepName.CONFIRM]
    first = changing[0].line if changing else line
    if runbook.approver != AUTOMATED and not any(at < first for at in confirms):
        who = f'"{short(runbook.approver)}" approves'
        yield first, f'{who}, so a step "{StepName.CONFIRM}" must come before this one (or approver: {AUTOMATED})'
    if StepName.RELEASE in before and runbook.steps[-1].step.action is not StepName.RELEASE:
        yield (
            runbook.steps[-1].line,
            f'step "{runbook.steps[-1].step.action}" comes after "release", which ends the way back',
        )


def _check_stages(runbooks: RunbookSet, *, complete: bool) -> Iterator[Problem]:
    bound: dict[StageName, str] = {}
    for runbook in runbooks.runbooks:
        if runbook.stage is not None and runbook.stage in bound:
            message = f'stage "{runbook.stage}" has its way back already, in {bound[runbook.stage]}'
            yield Problem(Place(runbook.source, 1, 1), ("stage",), message)
        elif runbook.stage is not None:
            bound[runbook.stage] = runbook.source
    for stage in StageName:
        if complete and stage not in bound:
            message = f'no page binds the way back from stage "{stage}": one needs stage: {stage} in its front matter'
            yield Problem(Place(runbooks.source), (), message)
