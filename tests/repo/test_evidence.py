"""A test that fails says in its first line what was claimed and what was seen, and where its logs are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.repo.test_required_parts import run

SUITE = """
import pytest
from tests.evidence import logging_into

@pytest.fixture(scope="session")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    (folder / "server.log").write_text("it starts\\n")
    with logging_into(folder):
        yield folder / "server.log"

def test_the_first_one_logs(server):
    with server.open("a") as log:
        log.write("not of interest\\n")

@pytest.mark.parametrize("moon", ["cheese"])
def test_the_moon_is_round(server, moon):
    with server.open("a") as log:
        log.write("the moon rises\\n")
    assert moon == "round"
"""


@pytest.mark.parametrize("arguments", [(), ("-n", "1")], ids=["alone", "in a worker"])
def test_a_failure_is_headed_by_claim_observation_and_its_own_logs(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = run(tmp_path, SUITE, *arguments)
    assert done.returncode == 1, done.stderr
    headed = re.search(
        r"^_+ claimed: the moon is round \[cheese\]; seen: (.*); logs: (\S+) _*$", done.stdout, re.MULTILINE
    )
    assert headed, done.stdout
    assert headed[1].startswith("AssertionError: assert 'cheese' == 'round'")
    kept = list(Path(headed[2]).iterdir())
    assert [each.read_text() for each in kept] == ["the moon rises\n"]


def test_the_seeds_of_random_tests_are_printed_and_can_be_given(tmp_path: Path) -> None:
    suite = "import os\ndef test_it(): assert os.environ['SEIMIGRATE_SEED'] == '7'\n"
    done = run(tmp_path, suite, "--hypothesis-seed=5", SEIMIGRATE_SEED="7", CI="")
    assert done.returncode == 0, done.stdout
    assert "seeds: SEIMIGRATE_SEED=7, --hypothesis-seed=5" in done.stdout.splitlines()
