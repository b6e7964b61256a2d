"""Every finding is written down in docs/output.md, and provoked by a test; nothing else is written down there."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def made() -> set[str]:
    """Give the codes that the program gives findings; where a part of one is computed, it is ``*``."""
    text = "".join(path.read_text() for path in (ROOT / "seimigrate").rglob("*.py"))
    return {_pattern(code) for code in re.findall(r'f?"([a-z0-9{}._-]+)",\s*FindingSeverity\.', text)}


def told() -> set[str]:
    """Give the codes of the table in docs/output.md."""
    table = (ROOT / "docs" / "output.md").read_text().partition("| code | found when |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {code for row in rows for code in re.findall(r"`([a-z0-9-]+)`", row)}


def tried() -> set[str]:
    """Give everything in tests that looks like a code."""
    files = [path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)]
    text = "".join(path.read_text() for path in files)
    return {_pattern(each) for each in re.findall(r'"([a-z0-9{}]+(?:-[a-z0-9]+)*)"', text)}


def _pattern(code: str) -> str:
    return re.sub(r"\{.*?\}", "*", code)


def test_every_finding_is_told_of_in_the_docs_and_no_other_is() -> None:
    codes, rows = made(), told()
    assert len(codes) > 35
    assert [code for code in codes if not any(fnmatchcase(row, code) for row in rows)] == []
    assert [row for row in rows if not any(fnmatchcase(row, code) for code in codes)] == []


def test_every_finding_that_is_told_of_is_named_in_a_test() -> None:
    named = [each for each in tried() if "*" not in each or re.search("[a-z]{5}", each)]
    assert [row for row in told() if not any(fnmatchcase(row, each) for each in named)] == []
