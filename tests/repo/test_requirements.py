"""The locked dependencies are whole and name no registry."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = {name: (ROOT / name).read_text() for name in ("requirements.lock", "requirements-mutants.lock")}
LOCKED_IN = dict.fromkeys(PROJECT["optional-dependencies"], "requirements.lock") | {
    "mutants": "requirements-mutants.lock"
}


def pinned(lock: str) -> dict[str, str]:
    """Give what follows the name of each package of a lock: its version, then its hashes."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==(.*(?:\n .*)*)", LOCKS[lock], re.M)
    return {re.sub(r"[-_.]+", "-", name).lower(): rest for name, rest in found}


@pytest.mark.parametrize("group", PROJECT["optional-dependencies"])
def test_every_dependency_is_locked(group: str) -> None:
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"][group]]
    names = {re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", entry)[0]).lower() for entry in wanted}
    assert names <= set(pinned(LOCKED_IN[group]))


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes(lock: str) -> None:
    assert [name for name, rest in pinned(lock).items() if "--hash=sha256:" not in rest] == []


def test_what_both_locks_have_is_of_the_same_version() -> None:
    one, other = ({name: rest.split()[0] for name, rest in pinned(lock).items()} for lock in LOCKS)
    assert {name: (one[name], other[name]) for name in one.keys() & other.keys() if one[name] != other[name]} == {}


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_names_no_registry_and_no_place_on_a_machine(lock: str) -> None:
    places = r"https?://|file:|--index|--extra-index|--find-links|--trusted-host|^/|\s/\w+/"
    assert re.findall(places, LOCKS[lock], re.M) == []
