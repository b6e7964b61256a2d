"""What each test costs, in seconds: of the clock, of its worker's CPU, of the programs' and of the real servers' CPU.

A pytest plugin: with SEIMIGRATE_COSTS=FILE it writes one JSON object a test. ``python -m tests.costs FILE`` makes the
tables of docs/development.md from it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

SERVERS = ("etcd", "kube-apiserver", "kube-controller", "prometheus")
"""Which descendants of a worker are real servers, by how their names begin in /proc (15 characters)."""
FILE = "SEIMIGRATE_COSTS"
KEY = "costs"
_TICKS = os.sysconf("SC_CLK_TCK")


class Cost(NamedTuple):
    """Seconds since the worker began."""

    wall: float
    worker: float
    programs: float
    servers: float

    def since(self, earlier: Cost) -> Cost:
        """Give the difference."""
        return Cost(*(now - then for now, then in zip(self, earlier, strict=True)))


_servers: dict[int, float] = {}
"""What each server had spent when it was last looked at: once it has ended it counts among the ended children."""


def spent() -> Cost:
    """Give what this process and its descendants have spent so far, those that have ended included."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    programs, alive = ended.ru_utime + ended.ru_stime, set()
    for pid, name, seconds in _descendants(os.getpid()):
        if name.startswith(SERVERS):
            _servers[pid] = seconds
            alive.add(pid)
        else:
            programs += seconds
    programs -= sum(seconds for pid, seconds in _servers.items() if pid not in alive)
    return Cost(time.monotonic(), time.process_time(), programs, sum(_servers.values()))


def _descendants(ancestor: int) -> Iterator[tuple[int, str, float]]:
    """Yield number, name and CPU seconds of each live descendant, with those of its children that have ended."""
    found: dict[int, tuple[str, float]] = {}
    children: dict[int, list[int]] = defaultdict(list)
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            text = (folder / "stat").read_text()
        except OSError:
            continue  # it ended just now
        # proc(5): the name stands in parentheses and may hold anything; the fields after it are numbered from 3.
        name, _, rest = text.partition("(")[2].rpartition(")")
        fields = rest.split()
        found[int(folder.name)] = (name, sum(map(int, fields[11:15])) / _TICKS)
        children[int(fields[1])].append(int(folder.name))
    left = list(children[ancestor])
    while left:
        each = left.pop()
        yield each, *found[each]
        left += children[each]


# The plugin.


class _Worker:
    """Measures each test where it runs."""

    def __init__(self) -> None:
        self._last = spent()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Give the report of a test's end what the test has cost."""
        report = yield
        if call.when == "teardown":
            now = spent()
            report.user_properties.append((KEY, [round(each, 3) for each in now.since(self._last)]))
            self._last = now
        return report


class _Writer:
    """Writes down what the workers have measured."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", buffering=1)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write a line for each test that has ended."""
        for key, value in report.user_properties:
            if key == KEY and isinstance(value, list):
                self._file.write(json.dumps({"test": report.nodeid} | dict(zip(Cost._fields, value, strict=True))))
                self._file.write("\n")

    def pytest_unconfigure(self) -> None:
        """Close the file."""
        self._file.close()


def pytest_configure(config: pytest.Config) -> None:
    """Measure in workers, write in the process that started them, or do both where there are no workers."""
    path = os.environ.get(FILE)
    if not path:
        return
    if not getattr(config.option, "numprocesses", None):
        config.pluginmanager.register(_Worker())
        del os.environ[FILE]  # tests that run pytest themselves must not write into it
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Writer(Path(path)))


# The tables.


def main(path: Path, longest: int = 25) -> None:
    """Print a table of all folders, and one of the tests that cost most."""
    costs = {}
    for line in path.read_text().splitlines():
        test, *figures = json.loads(line).values()
        costs[test] = Cost(*figures)
    folders: dict[str, list[Cost]] = defaultdict(list)
    for test, cost in costs.items():
        folders[test.rpartition("/")[0].partition("::")[0]].append(cost)
    _table("folder | tests", [(f"{name} | {len(of)}", _sum(of)) for name, of in folders.items()])
    print()
    _table("test", sorted(costs.items(), key=lambda each: -each[1].wall)[:longest])


def _table(head: str, rows: list[tuple[str, Cost]]) -> None:
    print(f"| {head} | clock | worker's CPU | programs' CPU | servers' CPU |")
    print("|---" * (head.count("|") + 5) + "|")
    for name, cost in [*sorted(rows, key=lambda row: -row[1].wall)]:
        print(f"| {name} | {cost.wall:.1f} | {cost.worker:.1f} | {cost.programs:.1f} | {cost.servers:.1f} |")


def _sum(costs: list[Cost]) -> Cost:
    return Cost(*(sum(column) for column in zip(*costs, strict=True)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
