"""Every way back written down before a cutover begins, for the day on which seimigrate itself cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seimigrate.cli.looking import Look
from seimigrate.domain import byhand, changes, shapes
from seimigrate.domain.byhand import Patches
from seimigrate.domain.plan import Plan, StageName, Strategy
from seimigrate.domain.record import Record
from seimigrate.domain.seen import Seen
from seimigrate.engine.errors import SeimigrateError
from seimigrate.engine.results import Key
from seimigrate.runbook import Page, Runbooks, read_runbooks
from seimigrate.runbook.filling import fill, values_of
from seimigrate.runbook.folder import INDEX, index


def write(folder: str, look: Look, keys: Sequence[Key], strategy: Strategy, source: str | None) -> None:
    """Write all pages, filled in, for each node: ``DIR/NAMESPACE/NODE/PAGE.md``; ``source`` has the runbooks.

    Raises ``SeimigrateError`` if a file cannot be written; nothing in the cluster was changed by then.
    """
    root = Path(folder)
    runbooks, overview = read_runbooks(source), index(source)
    try:
        for key in keys:
            place = root.joinpath(*key)
            # What stands between the fields that we change, like arguments of seid, is the node owner's business.
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name, text in _pages(look, key, strategy, runbooks).items():
                _write(place / name, text)
            _write(place / INDEX, overview)
    except OSError as error:
        raise SeimigrateError(
            f"--break-glass {folder}: {error.filename} cannot be written: {error.strerror}",
            hint="name another folder; nothing was changed",
        ) from error


def _write(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text, "utf-8")


def _pages(look: Look, key: Key, strategy: Strategy, runbooks: Runbooks) -> dict[str, str]:
    record, view = look.records[key], look.at(key)
    texts = {}
    for page in runbooks.pages:
        stage = page.stage or StageName.RELEASE
        try:
            patches = byhand.of_stage(stage, record, view, look.plan, strategy)
        except (LookupError, shapes.NotWired, changes.ConflictingChange):
            patches = byhand.NOTHING  # such a node is blocked, and nothing will be written on it
        told = (
            f"Filled in for {'/'.join(key)} before its cutover began, for a node at the end of stage {stage}.",
            f"While seimigrate works, seimigrate runbook show {page.id} --node {'/'.join(key)} knows it better.",
        )
        texts[f"{page.id}.md"] = filled(page, key, view, look.plan, patches, told)
    return texts


def told_of_now(key: Key, record: Record | None) -> tuple[str, ...]:
    """Say what a page was filled in from."""
    if record is None:
        return (f"Filled in for {'/'.join(key)}, which has no journal: nothing of it was changed by seimigrate.",)
    way = "back from" if record.direction.value == "back" else "at"
    return (f"Filled in for {'/'.join(key)} from its journal of run {record.run}, {way} stage {record.stage}.",)


def filled(page: Page, key: Key, view: Seen, plan: Plan, patches: Patches, told: Sequence[str]) -> str:
    """Give a page's text for one node."""
    left = [f"Left alone, since somebody else changed it: {path}" for path in patches.left]
    return fill(page.text, values_of(*key, view, plan, patches), (*told, *left))
