"""The prose linter refuses the terms of its list, accepts the field's own, and reads every kind of place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from tests.prose import (
    LONGEST_SENTENCE,
    Finding,
    Kind,
    Passage,
    check_help,
    check_passage,
    main,
    passages,
    python_passages,
)

REFUSED = {
    "Whoever asked waits.": ["whoever"],
    "Each stage has a way back.": ["way back"],
    "Nodes on their way\nare counted.": ["on their way"],
    "A node on its way back is held.": ["on its way"],
    "A page of the runbook, and all its pages.": ["page", "pages"],
    "The run goes on after a crash.": ["goes on"],
    "Take the failed nodes back.": ["take the failed nodes back"],
    "Two pods restart at once.": ["at once"],
    "The lock expires by itself.": ["by itself"],
    "The run is told of it.": ["told"],
    "The policy was judged before.": ["judged"],
    "Go on in spite of it.": ["go on", "in spite of"],
    "The object was made anew.": ["anew"],
    "One line, and one validator a chain.": ["one validator a chain"],
    "The guard looks after held nodes.": ["looks after"],
    "Put the brake on, and let go of it.": ["brake", "let go"],
    "Who finds it held watches it.": ["who finds"],
    "The field is as it was.": ["as it was"],
    "What differs is no difference.": ["is no difference"],
    "The machine was lost.": ["machine"],
    "The clocks of two machines differ.": ["machines"],
    "The [people](x.md) who read it.": ["people"],
    "The plan is off.": ["plan is off"],
    "The wave begins.": ["begins"],
}

ACCEPTED = [
    "That depends on the plan; depending on it, the run continues.",
    "The state machine is pure, and its output is machine-readable.",
    "The list has two pages of a list, and the first page expires; 404 page not found.",
    "seimigrate rolls back: it takes over the lease and rolls back.",
    "The retries back off, and a client that takes 3 retries with back-off may give up.",
    "The controller gives each pod 30 seconds to stop.",
    "Who can reach the nodes? Any client: the port is reachable by everyone.",
    "There is no plan, and there are no nodes.",
    "The lock is no longer held.",
    "The patch was restored as it was written.",
    "The rules set out in RFC 6902 apply.",
    "Run `seimigrate told --at once`, see https://example.com/told and [this](told/pages.md).",
    "A node once a run has finished is unchanged.",
    "The feature is off by default, and the host is powered off.",
    "The way that Kubernetes evicts pods, in the way that it documents.",
    "A judgmental foretold breakage of homepages.",
]

LONG = "word " * LONGEST_SENTENCE + "word"
HELP = "Show a thing.\n\nExamples:\n  seimigrate show\n  $ seimigrate show --all"


def found(text: str, kind: Kind = Kind.TEXT) -> list[str]:
    return [finding.found.lower() for finding in check_passage(Passage("file", 1, text, kind))]


@pytest.mark.parametrize(("text", "terms"), REFUSED.items(), ids=REFUSED)
def test_listed_term_is_refused(text: str, terms: list[str]) -> None:
    assert found(text) == terms


@pytest.mark.parametrize("text", ACCEPTED)
def test_field_term_is_accepted(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize("text", [LONG, f"Short. {LONG}", f"{LONG}: short", f"{LONG}; [a link](a.md)"])
def test_long_sentence_is_refused(text: str) -> None:
    [finding] = check_passage(Passage("file", 1, text, Kind.PARAGRAPH))
    assert finding.found.endswith(f"({LONGEST_SENTENCE + 1} words)")


@pytest.mark.parametrize(
    "text", [LONG.replace(" ", ". "), f"{LONG[: -2 * 5]}`a b c`, e.g. `d e`", f"word ({LONG[: -4 * 5]}). {LONG[:-5]}"]
)
def test_short_sentence_and_inline_code_are_accepted(text: str) -> None:
    assert found(text, Kind.PARAGRAPH) == []


def test_sentence_length_applies_to_paragraphs_only() -> None:
    assert found(LONG) == []


@pytest.mark.parametrize("first", ["Give", "Tell", "Say", "Let"])
def test_docstring_opening_is_refused_once(first: str) -> None:
    assert found(f"{first} the number of nodes.", Kind.DOCSTRING) == [f"{first.lower()} ..."]
    assert found("Return the number of nodes.", Kind.DOCSTRING) == []


PLACES = {
    "README.md": "# Title\n\nText\nthat was told.\n",
    "CHANGELOG.md": "- one\n- two\n  and meanwhile three\n",
    "docs/deploy.md": "Text.\n\n| a | b |\n|---|---|\n| c | whoever |\n",
    "runbooks/hold.md": "---\nid: hold\ntitle: Let go\n---\n\n# Hold\n",
    "tests/README.md": "Text\n\n## The brake\n",
    "docs/generate.py": '"""Return text."""\n\nprint("to be\\n", "used by", "somebody else")\n',
    "seimigrate/a.py": '"""Module.\n\nIt is told.\n"""\n',
    "seimigrate/b.py": "x = 1\n# The first line,\n# which goes\n# on here.\n",
    "seimigrate/c.py": 'x = 1\nprint(\n    f"first {x} "\n    f"then anew {x}"\n)\n',
    "seimigrate/d.py": 'X = 1\n\n"""Give X."""\n',
    "tests/x/test_a.py": "import a\n\n\ndef test_run_goes_on() -> None:\n    a.b('told at once')\n",
    "tests/x/test_b.py": '"""Module."""\n\nx = 1  # in spite of it\n',
}


def test_each_kind_of_place_is_read_with_its_line(tmp_path: Path) -> None:
    for file, text in PLACES.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    findings = [finding for passage in passages(tmp_path) for finding in check_passage(passage)]
    assert {(each.file, each.line): each.found.lower() for each in findings} == {
        ("README.md", 4): "told",
        ("CHANGELOG.md", 3): "meanwhile",
        ("docs/deploy.md", 5): "whoever",
        ("runbooks/hold.md", 3): "let go",
        ("tests/README.md", 3): "brake",
        ("docs/generate.py", 3): "somebody",
        ("seimigrate/a.py", 3): "told",
        ("seimigrate/b.py", 3): "goes on",
        ("seimigrate/c.py", 4): "anew",
        ("seimigrate/d.py", 3): "give ...",
        ("tests/x/test_a.py", 4): "goes on",
        ("tests/x/test_b.py", 3): "in spite of",
    }


def test_sentence_length_applies_to_docs_and_runbooks_but_not_to_the_changelog(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for file in ("README.md", "CHANGELOG.md", "docs/a.md"):
        (tmp_path / file).write_text(f"# {LONG}\n\n* {LONG}\n\n```\n{LONG}\n```\n\n| {LONG} |\n|---|\n| {LONG} |\n")
    findings = [finding for passage in passages(tmp_path) for finding in check_passage(passage)]
    assert [(each.file, each.line) for each in findings] == [("README.md", 3), ("docs/a.md", 3)]


def test_literal_without_space_and_code_of_markdown_are_not_read() -> None:
    assert [each.text for each in python_passages("seimigrate/a.py", "x = {'told': 'a b'}\n")] == ["a b"]


def help_findings(text: str, option: str = "A number.", **places: tuple[str, int]) -> list[str]:
    app = typer.Typer(rich_markup_mode=None)
    app.callback()(lambda: None)

    number: Any = typer.Option(1, help=option)

    @app.command(help=text)
    def show(number: int = number) -> None: ...

    return [each.kind for each in check_help(typer.main.get_command(app), places)]


def test_help_with_examples_is_accepted() -> None:
    assert help_findings(HELP) == []


def test_help_without_examples_or_with_long_summary_is_refused() -> None:
    assert help_findings(HELP.replace("  $ seimigrate show --all", "")) == ["help without examples"]
    assert help_findings(f"{'x' * 61}\n\n{HELP}") == ["long summary"]


def test_help_of_option_is_read_unless_its_literal_was() -> None:
    assert help_findings(HELP, option="Told") == ["told"]
    assert help_findings(HELP, option="Told", Told=("a.py", 1)) == []


def test_finding_names_place_term_and_replacement() -> None:
    assert str(Finding("a.md", 3, "anew", "again", "anew")) == 'a.md:3: "anew": write "again"'


def test_main_prints_findings_or_counts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    two = [Finding("a.md", 3, "anew", "again", "anew"), Finding("a.md", 4, "Anew", "again", "anew")]
    monkeypatch.setattr("tests.prose.findings", lambda root: two)
    assert main([]) == 1
    assert capsys.readouterr().out == "".join(f"{each}\n" for each in two)
    assert main(["--count"]) == 1
    assert " ".join(capsys.readouterr().out.split()) == "2 findings by file 2 a.md 2 findings by term 2 anew"
    monkeypatch.setattr("tests.prose.findings", lambda root: [])
    assert main([]) == 0
