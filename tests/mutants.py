"""Change one operator at a time in the modules that decide, and say which share of these mutants the tests notice.

``python -m tests.mutants [NAME...]`` tries all mutants, or those of these names (``*`` stands for anything), and then
prints what is known of all that were ever tried. Which modules and which tests, ``[tool.mutmut]`` in pyproject.toml
says. Texts are left alone: what is said is no decision. ``mutmut show NAME`` shows a mutant.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from mutmut.__main__ import cli
from mutmut.mutation import mutators
from mutmut.stats import status_by_exit_code

FOLDER = Path("mutants")
"""Where mutmut keeps its mutants, and what became of them."""

TEXTS = (
    mutators.operator_string,
    mutators.operator_symmetric_string_methods_swap,
    mutators.operator_unsymmetrical_string_methods_swap,
)

NOTICED = ("killed", "timeout")
"""What mutmut calls a mutant that a test has noticed: it failed, or what it looks at never came."""


class Module(NamedTuple):
    """What became of the mutants of one module."""

    name: str
    outcomes: Counter[str]
    others: list[str]
    """Those that nothing noticed."""

    @property
    def share(self) -> float:
        """Give the share that was noticed, between 0 and 1."""
        return sum(self.outcomes[each] for each in NOTICED) / max(self.outcomes.total(), 1)


def read(folder: Path) -> list[Module]:
    """Read the outcomes of all mutants that have been tried, by module."""
    modules = []
    for path in sorted(folder.rglob("*.py.meta")):
        tried = json.loads(path.read_text())["exit_code_by_key"].items()
        said = {key: status_by_exit_code[code] for key, code in tried if code is not None}
        others = [key for key, status in said.items() if status not in NOTICED]
        if said:
            name = str(path.relative_to(folder)).removesuffix(".meta")
            modules.append(Module(name, Counter(said.values()), others))
    return modules


def main(names: list[str]) -> None:
    """Try the mutants, print a table, and name those that nothing noticed."""
    mutators.mutation_operators[:] = [each for each in mutators.mutation_operators if each[1] not in TEXTS]
    cli.main(["run", *names], standalone_mode=False)
    modules = read(FOLDER)
    print("\n| module | mutants | killed | never ended | survived | noticed |")
    print("|---|---|---|---|---|---|")
    for module in modules:
        found = module.outcomes
        print(f"| `{module.name}` | {found.total()} | {found['killed']} | {found['timeout']} ", end="")
        print(f"| {len(module.others)} | {module.share:.1%} |")
    for module in modules:
        print("", *module.others, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
