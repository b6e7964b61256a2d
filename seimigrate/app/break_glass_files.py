"""Manual rollback instructions, written before a cutover starts, for use when seimigrate is unavailable."""

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
    """Write every runbook for each node, with its values: ``DIR/NAMESPACE/NODE/ID.md``; ``source`` has the runbooks.

    Raises ``SeimigrateError`` if a file cannot be written; nothing in the cluster has been changed at that point.
    """
    root = Path(folder)
    runbooks, overview = read_runbooks(source), read_index(source)
    try:
        for key in keys:
            directory = root.joinpath(*key)
            # The files hold values of the pod template, such as seid's arguments, that other users must not read.
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name, text in _runbooks(snapshot, key, strategy, runbooks).items():
                _write(directory / name, text)
            _write(directory / INDEX, overview)
    except OSError as error:
        raise SeimigrateError(
            f"--break-glass {folder}: {error.filename} cannot be written: {error.strerror}",
            hint="name another directory; nothing was changed",
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
        node = "/".join(key)
        origin = (
            f"Generated for {node} before its cutover, for a node at the end of stage {stage}.",
            f"If seimigrate is available, use instead: seimigrate runbook show {runbook.id} --node {node}",
        )
        texts[f"{runbook.id}.md"] = fill_runbook(runbook, key, observed, snapshot.plan, patches, origin)
    return texts


def provenance(key: Key, record: Record | None) -> tuple[str, ...]:
    """Describe what a runbook was generated from."""
    if record is None:
        return (f"Generated for {'/'.join(key)}, which has no journal: seimigrate has not changed it.",)
    state = "rolling back" if record.direction.value == "rollback" else "at"
    return (f"Generated for {'/'.join(key)} from its journal of run {record.run}, {state} stage {record.stage}.",)


def fill_runbook(
    runbook: Runbook, key: Key, observed: NodeObservation, plan: Plan, patches: Patches, origin: Sequence[str]
) -> str:
    """Return a runbook's text for one node; ``origin`` are the lines that describe what it was generated from."""
    skipped = [f"Not reverted (modified by another client): {path}" for path in patches.skipped]
    return substitute(runbook.text, values_of(*key, observed, plan, patches), (*origin, *skipped))
