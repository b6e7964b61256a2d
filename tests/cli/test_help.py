"""The help texts, usage errors and start of the command line; none of them needs a cluster."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from seimigrate import __version__
from seimigrate.cli.command_tree import command_tree, commands
from seimigrate.cli.help import PANELS
from seimigrate.cli.main import app
from tests.commandline import Done, begin, finish

ROOT: Any = typer.main.get_command(app)
ALL: dict[str, Any] = dict(commands(ROOT))
"""All commands by their names, without groups."""
GROUPS = ("runbook", "policy")
COMMANDS = sorted({name.split()[0] for name in ALL})
PROBE = """
import sys
from seimigrate.cli.main import main
code = main(sys.argv[1:])
heavy = {"kubernetes", "urllib3", "tenacity", "websocket", "structlog"} & set(sys.modules)
print("imported:", sorted(heavy), file=sys.stderr)
sys.exit(code)
"""
every_command = pytest.mark.parametrize("name", ALL)


def run(*args: str) -> Done:
    return finish(begin(args, Path.cwd()))


def help_of(name: str, width: int) -> list[str]:
    """Return the lines of a command's help on a terminal of this width."""
    context = ROOT.context_class(ALL[name], info_name=f"seimigrate {name}", terminal_width=width)
    return str(ALL[name].get_help(context)).splitlines()


def examples(name: str) -> list[str]:
    lines = help_of(name, 80)
    return [line.strip() for line in lines[lines.index("Examples:") + 1 :]]


@pytest.mark.parametrize(
    "args", [["--help"], ["--version"], ["schema"], ["plan", "--help"], ["apply", "--help"]], ids=" ".join
)
def test_command_without_cluster_imports_no_client(args: list[str]) -> None:
    probe = [sys.executable, "-c", PROBE, *args]
    done = subprocess.run(probe, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == "imported: []"


def test_help_lists_every_command() -> None:
    listed = run("--help").out.partition("Commands:")[2].splitlines()
    assert sorted(line.split()[0] for line in listed if line.strip()) == COMMANDS


@pytest.mark.parametrize("command", [ROOT, *(ROOT.commands[name] for name in GROUPS)], ids=lambda each: each.name)
def test_summary_in_listing_at_80_columns_is_whole(command: Any) -> None:
    context = command.context_class(command, info_name="seimigrate", terminal_width=80)
    listing = command.get_help(context).partition("Commands:\n")[2].splitlines()
    assert len(listing) == len(command.commands)  # a summary that is too long continues on the next line
    assert not [line for line in listing if line.endswith("...") or len(line) > 80]


@every_command
def test_summary_is_one_line_of_60_characters(name: str) -> None:
    summary = ALL[name].help.strip()
    assert "\n" not in summary
    assert 0 < len(summary) <= 60
    assert summary.endswith(".")


@pytest.mark.parametrize("command", [*COMMANDS, *ALL])
def test_help_of_command_fits_100_columns(command: str) -> None:
    done = run(*command.split(), "--help")
    assert done.code == 0
    assert all(len(line) <= 100 for line in done.out.splitlines())


@every_command
def test_every_option_has_help_and_a_panel(name: str) -> None:
    for param in ALL[name].params:
        assert param.help.endswith("."), param.name
        assert param.param_type_name == "argument" or param.rich_help_panel in PANELS, param.name


@every_command
def test_panels_have_the_same_order_in_every_command(name: str) -> None:
    order = ["Arguments:", *(f"{panel}:" for panel in PANELS), "Options:", "Examples:"]
    headings = [line for line in help_of(name, 80) if line.endswith(":") and not line.startswith(" ")]
    assert headings == [heading for heading in order if heading in headings]


@every_command
def test_names_and_values_are_never_broken_at_a_hyphen(name: str) -> None:
    assert not [line for line in help_of(name, 60) if line.endswith("-")]


@every_command
def test_two_examples_are_shown_line_by_line_at_any_width(name: str) -> None:
    shown = examples(name)
    assert len(shown) == 2
    assert all(line.startswith(f"seimigrate {name}") for line in shown)
    assert [line.strip() for line in help_of(name, 20)[-2:]] == shown


@every_command
def test_examples_are_valid_command_lines(name: str) -> None:
    options = command_tree(ROOT)
    for example in examples(name):
        args = shlex.split(example.partition("|")[0].partition(">")[0])[1 + len(name.split()) :]
        assert {arg for arg in args if arg.startswith("-")} <= options[name] | options[""]
        ALL[name].make_context(name, args)  # raises an error for anything that the command refuses


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("unlock", "--metrics-port"),
        ("unlock", "--lease-duration"),
        *((name, "--runbooks") for name in ("guard", "status", "verify", "policy render")),
    ],
)
def test_option_without_effect_is_not_offered(name: str, option: str) -> None:
    assert option not in command_tree(ROOT)[name]


def test_version_is_the_packages() -> None:
    assert run("--version").out == f"seimigrate {__version__}\n"


def test_schema_is_json() -> None:
    schema = json.loads(run("schema").out)
    assert schema["title"] == "seimigrate plan"


def test_invalid_arguments_are_a_usage_error_on_stderr() -> None:
    for args in (["plan", "--nonsense"], ["nonsense"], ["apply", "--hold", "tight"], ["plan", "--strategy", "both"]):
        done = run(*args)
        assert (done.code, done.out) == (2, "")
        error, hint, *_ = done.err.splitlines()
        assert error.startswith("error: ")
        assert "Value error" not in error
        assert hint.startswith("  hint: seimigrate")
        assert hint.endswith(" --help")


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("plan --nonsense -o json", "seimigrate plan --help"),
        ("plan -o json --nonsense", "seimigrate plan --help"),
        ("apply --strategy both --output=json", "seimigrate apply --help"),
        ("rollback --to nowhere --output json", "seimigrate rollback --help"),
        ("hold --lease-duration -ojson", "seimigrate hold --help"),
        ("status -Avo json --nonsense", "seimigrate status --help"),
        ("skip -o json", "seimigrate skip --help"),
        ("nonsense -o json", "seimigrate --help"),
        ("--nonsense plan -o json", "seimigrate --help"),
        ("runbook nonsense -o json", "seimigrate runbook --help"),
        ("policy render -o json", "seimigrate policy render --help"),
        ("apply --job -o json", "save one: seimigrate plan --out FILE"),
        ("rollback --to release -o json", "name an earlier stage, or none"),
        ("runbook run rollback-enforce -o json", "name it: --node NAMESPACE/NAME"),
    ],
)
def test_usage_error_is_json_on_stderr_if_requested_anywhere(line: str, hint: str) -> None:
    done = run(*line.split())
    assert (done.code, done.out) == (2, "")
    error = json.loads(done.err)["error"]
    assert (error["exitCode"], error["hint"]) == (2, hint)


@pytest.mark.parametrize(
    "line", ["plan --nonsense -o table", "plan --nonsense -n json", "plan --nonsense -o jsonl", "plan --out json -l"]
)
def test_usage_error_is_text_unless_json_is_requested(line: str) -> None:
    done = run(*line.split())
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")


def test_no_arguments_print_the_help() -> None:
    for args in ([], *([group] for group in GROUPS)):
        done = run(*args)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("Usage: seimigrate")
        assert "Commands:" in done.err


def test_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "seimigrate", "--version"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"seimigrate {__version__}\n")
