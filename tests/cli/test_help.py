"""The program starts fast, tells what it can do, and touches no cluster for that."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from seimigrate import __version__
from tests.commandline import Done, begin, finish

COMMANDS = [
    *("plan", "apply", "status", "verify", "rollback", "hold", "guard", "runbook", "unlock", "schema", "completion"),
    *("policy", "pause", "resume", "promote", "skip", "retry", "abort"),
]
PROBE = """
import sys
from seimigrate.cli.main import main
code = main(sys.argv[1:])
heavy = {"kubernetes", "urllib3", "tenacity", "websocket", "structlog"} & set(sys.modules)
print("imported:", sorted(heavy), file=sys.stderr)
sys.exit(code)
"""


def run(*words: str) -> Done:
    return finish(begin(words, Path.cwd()))


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["schema"], ["plan", "--help"], ["apply", "--help"]], ids=" ".join
)
def test_what_needs_no_cluster_imports_no_client(words: list[str]) -> None:
    probe = [sys.executable, "-c", PROBE, *words]
    done = subprocess.run(probe, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == "imported: []"


def test_help_names_every_command() -> None:
    listed = run("--help").out.partition("Commands:")[2].splitlines()
    assert sorted(line.split()[0] for line in listed if line.strip()) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_is_explained(command: str) -> None:
    done = run(command, "--help")
    assert done.code == 0
    options = [line for line in done.out.splitlines() if line.strip().startswith("-")]
    assert all(len(line) <= 100 for line in done.out.splitlines())
    assert options


def test_the_version_is_the_packages() -> None:
    assert run("--version").out == f"seimigrate {__version__}\n"


def test_the_schema_is_json() -> None:
    schema = json.loads(run("schema").out)
    assert schema["title"] == "seimigrate plan"


def test_unknown_words_are_a_usage_error_on_stderr() -> None:
    for words in (["plan", "--nonsense"], ["nonsense"], ["apply", "--hold", "tight"], ["plan", "--strategy", "both"]):
        done = run(*words)
        assert (done.code, done.out) == (2, "")
        told, hint, *_ = done.err.splitlines()
        assert told.startswith("error: ")
        assert "Value error" not in told
        assert hint.startswith("  hint: seimigrate")
        assert hint.endswith(" --help")


def test_unknown_words_are_told_as_json_to_who_asked_for_it() -> None:
    for words in (["plan", "--nonsense", "-o", "json"], ["apply", "--strategy", "both", "--output=json"]):
        done = run(*words)
        assert (done.code, done.out) == (2, "")
        error = json.loads(done.err.splitlines()[0])["error"]
        assert (error["exitCode"], error["hint"]) == (2, f"seimigrate {words[0]} --help")


def test_no_words_at_all_are_answered_with_the_help() -> None:
    for words in ([], ["runbook"]):
        done = run(*words)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("Usage: seimigrate")
        assert "Commands:" in done.err


def test_it_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "seimigrate", "--version"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"seimigrate {__version__}\n")
