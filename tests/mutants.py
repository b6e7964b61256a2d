"""Say which share of the mutants that ``make mutants`` made was noticed, module by module, and name the others.

``python -m tests.mutants FOLDER`` reads what mutmut has left in its folder.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

NOTICED = {1: "killed", 3: "killed", 36: "timeout", 24: "timeout", -24: "timeout", 152: "timeout"}
"""Exit codes of a run over a mutant that a test has noticed: it failed, or what it looks at never came."""


class Module(NamedTuple):
    """What became of the mutants of one module."""

    name: str
    outcomes: Counter[str]
    others: list[str]
    """Those that nothing noticed."""

    @property
    def share(self) -> float:
        """Give the share that was noticed, between 0 and 1."""
        return (self.outcomes["killed"] + self.outcomes["timeout"]) / max(self.outcomes.total(), 1)


def read(folder: Path) -> list[Module]:
    """Read the outcomes of all mutants that have been tried, by module."""
    modules = []
    for path in sorted(folder.rglob("*.py.meta")):
        tried = json.loads(path.read_text())["exit_code_by_key"].items()
        codes = {key: code for key, code in tried if code is not None}
        outcomes = Counter(NOTICED.get(code, "survived") for code in codes.values())
        others = [key for key, code in codes.items() if code not in NOTICED]
        if codes:
            modules.append(Module(str(path.relative_to(folder)).removesuffix(".meta"), outcomes, others))
    return modules


def main(folder: Path) -> None:
    """Print a table, and the names of those that nothing noticed; ``mutmut show NAME`` shows one."""
    modules = read(folder)
    print("| module | mutants | killed | never ended | survived | noticed |")
    print("|---|---|---|---|---|---|")
    for name, outcomes, others in modules:
        share = Module(name, outcomes, others).share
        print(f"| `{name}` | {outcomes.total()} | {outcomes['killed']} | {outcomes['timeout']} ", end="")
        print(f"| {outcomes['survived']} | {share:.1%} |")
    for module in modules:
        print("", *module.others, sep="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
