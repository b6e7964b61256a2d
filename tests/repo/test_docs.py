"""What the documentation says of stages and commands is what the code says; and its links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_stage_table_and_the_command_reference_are_those_of_the_code() -> None:
    for file, text in generator().files().items():
        assert file.read_text() == text, f"{file.name} is not what the code says: make docs"


def test_every_stage_and_every_command_is_in_them() -> None:
    table, reference = generator().stage_table(), generator().command_reference()
    assert table.count("../runbooks/rollback-") == 8
    for command in ("plan", "apply", "rollback", "hold", "guard", "runbook show", "runbook run"):
        assert f"\n## {command}\n" in reference


@pytest.mark.parametrize("page", [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target
