"""The locked dependencies are whole and name no registry."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINNED = {
    re.sub(r"[-_.]+", "-", name).lower(): rest
    for name, rest in re.findall(r"^([A-Za-z0-9._-]+)==(.*(?:\n .*)*)", LOCK, re.M)
}


@pytest.mark.parametrize("group", ["runtime", *PROJECT["optional-dependencies"]])
def test_every_dependency_is_locked(group: str) -> None:
    wanted = PROJECT["dependencies"] if group == "runtime" else PROJECT["optional-dependencies"][group]
    names = {re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", entry)[0]).lower() for entry in wanted}
    assert names <= set(PINNED)


def test_every_locked_package_has_hashes() -> None:
    assert [name for name, rest in PINNED.items() if "--hash=sha256:" not in rest] == []


def test_the_lock_names_no_registry_and_no_place_on_a_machine() -> None:
    assert re.findall(r"https?://|file:|--index|--extra-index|--find-links|--trusted-host|^/|\s/\w+/", LOCK, re.M) == []
