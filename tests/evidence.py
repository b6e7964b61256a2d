"""What a failed test leaves for who has to find out why: a first line that says it, and the logs of what it ran on.

A pytest plugin. The line has what was claimed (the test's name, as a sentence), what was seen instead, and the folder
with what the real parts (API server, models, pods, Prometheus) logged while this test ran, and no other.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import pytest

KEPT = ".failed"
"""Where logs of failed tests are kept, beside pyproject.toml, until the next run of tests begins."""

Source = tuple[Path, str]
"""A folder, and a pattern of the names of logs in it."""

_sources: list[Source] = []
_marks = pytest.StashKey[dict[Path, int]]()


@contextlib.contextmanager
def logging_into(folder: Path, *patterns: str) -> Iterator[None]:
    """Let the logs of a folder be kept for tests that fail while the block lasts; ``*.log`` unless told otherwise."""
    sources = [(folder, pattern) for pattern in patterns or ("*.log",)]
    _sources.extend(sources)
    try:
        yield
    finally:
        for source in sources:
            _sources.remove(source)


def claim(item_name: str) -> str:
    """Give the name of a test as the sentence that it is, its parameters in brackets behind it."""
    name, bracket, parameters = item_name.partition("[")
    return name.removeprefix("test_").replace("_", " ") + (f" [{parameters}" if bracket else "")


def pytest_configure(config: pytest.Config) -> None:
    """Forget the logs of earlier runs, once for all workers."""
    if not hasattr(config, "workerinput"):
        shutil.rmtree(config.rootpath / KEPT, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Remember how far the logs have come."""
    item.stash[_marks] = {path: size for _, path, size in _logs(_sources)}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Head the report of a failure with what was claimed and seen, and keep the logs."""
    report = yield
    if report.failed and call.excinfo is not None:
        seen = (call.excinfo.exconly(tryshort=True).splitlines() or [""])[0][:300]
        folder = _keep(item)
        where = f"; logs: {folder}" if folder is not None else ""
        file, line, _ = report.location
        report.location = (file, line, f"claimed: {claim(item.name)}; seen: {seen}{where}")
    return report


def _logs(sources: Sequence[Source]) -> Iterator[tuple[str, Path, int]]:
    """Yield a name, the place and the size of each log; one that goes away meanwhile is none."""
    for folder, pattern in sources:
        for path in folder.glob(pattern):
            with contextlib.suppress(OSError):
                name = "-".join([folder.name, *path.relative_to(folder).parts])
                yield name, path, path.stat().st_size


def _keep(item: pytest.Item) -> Path | None:
    """Copy what was logged since the test began; gives the folder, ``None`` where nothing was."""
    marks = item.stash.get(_marks, {})
    own = getattr(item, "funcargs", {}).get("tmp_path")
    folder = item.config.rootpath / KEPT / re.sub(r"[^\w.-]+", "_", item.nodeid)[-150:]
    for name, path, size in _logs([*_sources, *([(own, "*.log")] if own is not None else [])]):
        if size > marks.get(path, 0):
            with contextlib.suppress(OSError), path.open("rb") as log:
                log.seek(marks.get(path, 0))
                folder.mkdir(parents=True, exist_ok=True)
                (folder / name[-200:]).write_bytes(log.read())
    return folder if folder.exists() else None
