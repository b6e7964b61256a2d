"""Every way back written down before a cutover begins, for the day on which seimigrate itself cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seimigrate.app.snapshot import ClusterSnapshot
from seimigrate.domain.kube import changes
from seimigrate.domain.node import manual_patches, shapes
from seimigrate.domain.node.manual_patches import Patches
from seimigrate.domain.node.observation import NodeObservation
from seimigrate.domain.node.record import Record
from seimigrate.domain.plan.plan import Plan, StageName, Strategy
from seimigrate.engine.errors import SeimigrateError
from seimigrate.engine.results import Key
from seimigrate.runbook import Runbook, RunbookSet, read_runbooks
from seimigrate.runbook.folder import INDEX, read_index
from seimigrate.runbook.substitute import substitute, values_of


def write(folder: str, snapshot: ClusterSnapshot, keys: Sequence[Key], strategy: Strategy, source: str | None) -> None:
    """Write all pages, filled in, for each node: ``DIR/NAMESPACE/NODE/PAGE.md``; ``source`` has the runbooks.

    Raises ``SeimigrateError`` if a file cannot be written; nothing in the cluster was changed by then.
    """
    root = Path(folder)
    runbooks, overview = read_runbooks(source), read_index(source)
    try:
        for key in keys:
            place = root.joinpath(*key)
            # What stands between the fields that we change, like arguments of seid, is the node owner's business.
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name, text in _runbooks(snapshot, key, strategy, runbooks).items():
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


def _runbooks(snapshot: ClusterSnapshot, key: Key, strategy: Strategy, runbooks: RunbookSet) -> dict[str, str]:
    record, observed = snapshot.records[key], snapshot.observe(key)
    texts = {}
    for runbook in runbooks.runbooks:
        stage = runbook.stage or StageName.RELEASE
        try:
            patches = manual_patches.planned_rollback_patches(stage, record, observed, snapshot.plan, strategy)
        except (LookupError, shapes.NotASeiNodePod, changes.ConflictingChange):
            patches = manual_patches.NOTHING  # such a node is blocked, and nothing will be written on it
        told = (
            f"Filled in for {'/'.join(key)} before its cutover began, for a node at the end of stage {stage}.",
            f"While seimigrate works, seimigrate runbook show {runbook.id} --node {'/'.join(key)} knows it better.",
        )
        texts[f"{runbook.id}.md"] = fill_runbook(runbook, key, observed, snapshot.plan, patches, told)
    return texts


def provenance(key: Key, record: Record | None) -> tuple[str, ...]:
    """Say what a page was filled in from."""
    if record is None:
        return (f"Filled in for {'/'.join(key)}, which has no journal: nothing of it was changed by seimigrate.",)
    way = "back from" if record.direction.value == "rollback" else "at"
    return (f"Filled in for {'/'.join(key)} from its journal of run {record.run}, {way} stage {record.stage}.",)


def fill_runbook(
    runbook: Runbook, key: Key, observed: NodeObservation, plan: Plan, patches: Patches, told: Sequence[str]
) -> str:
    """Give a page's text for one node."""
    left = [f"Left alone, since somebody else changed it: {path}" for path in patches.skipped]
    return substitute(runbook.text, values_of(*key, observed, plan, patches), (*told, *left))
