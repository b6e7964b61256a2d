"""``runbook``: what it lists, shows, checks and runs, and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from seimigrate.resources import runbooks_dir
from seimigrate.simulation.world import World
from tests.cli.world import GO, SEI, SPLIT, WorldSession, say

KEY = f"{SEI}/node-0"
NODE = ("--node", KEY)


@pytest.fixture
def session() -> WorldSession:
    world = World()
    world.add_node(SEI, "node-0", "fullNode")
    return WorldSession(world)


def cut_over(session: WorldSession, *more: str) -> None:
    assert say(session, "apply", *NODE, *GO, "--yes", "--no-guard", *more).code == 9


def mine(folder: Path) -> Path:
    return Path(shutil.copytree(runbooks_dir(), folder / "mine"))


def test_every_page_is_listed_without_a_cluster(session: WorldSession) -> None:
    listed = say(session, "runbook", "list", "-o", "json").json
    assert {page["id"] for page in listed["runbooks"]} == {f.stem for f in runbooks_dir().glob("*.md")} - {"README"}
    assert "rollback-enforce" in say(session, "runbook", "list").out
    assert session.opened == []


def test_a_page_is_shown_as_it_is_or_filled_in_for_a_node(session: WorldSession) -> None:
    plain = say(session, "runbook", "show", "rollback-release")
    assert plain.out == (runbooks_dir() / "rollback-release.md").read_text()
    cut_over(session)
    filled = say(session, "runbook", "show", "rollback-release", *NODE, *SPLIT)
    assert 'kubectl -n sei patch statefulset node-0 --type=json -p \'[{"op": "test"' in filled.out
    assert "NAMESPACE" not in filled.out
    assert "STATEFULSET_PATCH" not in filled.out
    data = say(session, "runbook", "show", "rollback-release", *NODE, *SPLIT, "-o", "json").json
    assert (data["node"], data["markdown"]) == (KEY, filled.out)


def test_a_page_for_a_node_that_was_never_touched_patches_nothing(session: WorldSession) -> None:
    shown = say(session, "runbook", "show", "rollback-release", *NODE).out
    assert "patch statefulset node-0 --type=json -p '[]'" in shown
    assert "seimigrate has not changed it" in shown


def test_an_unknown_page_or_node_is_refused_with_what_there_is(session: WorldSession) -> None:
    unknown = say(session, "runbook", "show", "rollback-relase")
    assert unknown.code == 2
    assert 'did you mean "rollback-release"?' in unknown.err
    assert say(session, "runbook", "show", "cutover", "--node", "node-0").code == 2
    assert "there is no StatefulSet sei/other" in say(session, "runbook", "show", "cutover", "--node", "sei/other").err


def test_check_names_file_and_line_and_changes_its_exit_code(session: WorldSession, tmp_path: Path) -> None:
    assert say(session, "runbook", "check").code == 0
    folder = mine(tmp_path)
    assert say(session, "runbook", "check", str(folder)).code == 0
    page = folder / "rollback-ready.md"
    page.write_text(page.read_text().replace("do: verify", "do: verfy"))
    said = say(session, "runbook", "check", str(folder))
    assert said.code == 2
    line = page.read_text()[: page.read_text().index("do: verfy")].count("\n") + 1
    assert f'rollback-ready.md:{line}:1: do: unknown step "verfy": did you mean "verify"?' in said.err


@pytest.mark.parametrize("command", ["apply", "rollback", "hold"])
def test_broken_runbooks_are_refused_before_anything_is_asked_of_the_cluster(
    session: WorldSession, tmp_path: Path, command: str
) -> None:
    folder = mine(tmp_path)
    (folder / "rollback-hold.md").write_text("# no front matter\n")
    said = say(session, command, *NODE, "--yes", "--runbooks", str(folder))
    assert said.code == 2
    assert "rollback-hold.md:1:1: has no front matter" in said.err
    assert session.opened == []


def test_a_run_brings_a_node_back_by_the_page_that_was_named(session: WorldSession) -> None:
    cut_over(session)
    said = say(session, "runbook", "run", "stranded-split-sidecar", *NODE, *SPLIT, "--yes", "-o", "json")
    assert (said.code, said.json["nodes"][0]["outcome"]) == (0, "rolled-back")
    assert "confirmed: restore the old template, with one more restart" in said.json["nodes"][0]["notes"]


def test_a_dry_run_says_what_comes_next_and_changes_nothing(session: WorldSession) -> None:
    cut_over(session)
    version, opened = session.world.cluster.version, len(session.opened)
    shown = say(session, "runbook", "run", "rollback-release", *NODE, *SPLIT, "--dry-run", "-o", "json").json
    [node] = shown["nodes"]
    assert [(step["action"], step["state"]) for step in node["steps"]][:3] == [
        ("confirm", "next"),
        ("revert", "pending"),
        ("replace-pod", "pending"),
    ]
    shown = say(
        session, "runbook", "run", "rollback-release", *NODE, *SPLIT, "--dry-run", "--from-step", "revert", "-o", "json"
    )
    assert [step["state"] for step in shown.json["nodes"][0]["steps"]][:2] == ["skipped", "next"]
    assert session.world.cluster.version == version
    assert not {"lock"} & set(session.opened[opened:])


def test_what_a_run_asks_is_answered_by_a_person_or_by_yes(session: WorldSession) -> None:
    cut_over(session)
    words = ("runbook", "run", "rollback-release", *NODE, *SPLIT)
    silent = say(session, *words)
    assert silent.code == 2
    assert "confirmation required" in silent.err
    refused = say(session, *words, typed="n\n")
    assert refused.code == 1
    assert "to confirm  restore the old template, with one more restart, although the node was cut over" in refused.err
    assert say(session, *words, typed="y\n").code == 0


def test_rollback_asks_what_the_page_of_the_stage_asks(session: WorldSession) -> None:
    cut_over(session)
    asked = say(session, "rollback", *NODE, *SPLIT, typed="n\n")
    assert "to confirm" in asked.err
    assert "though the node was cut over" in asked.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("cutover", *NODE), "runbook cutover has no steps to run"),
        (("rollback-release",), "runbook run needs a node"),
        (("rollback-release", *NODE, "--from-step", "rever"), 'no such step: did you mean "revert"?'),
        (("rollback-release", *NODE, "--from-step", "9"), "no such step"),
        (("rollback-releas", *NODE), 'did you mean "rollback-release"?'),
    ],
)
def test_a_run_that_makes_no_sense_is_refused(session: WorldSession, words: tuple[str, ...], told: str) -> None:
    said = say(session, "runbook", "run", *words, "--yes")
    assert said.code == 2
    assert told in said.err
    assert not {"lock"} & set(session.opened)


def test_a_users_own_pages_are_those_that_bring_the_node_back(session: WorldSession, tmp_path: Path) -> None:
    folder = mine(tmp_path)
    page = folder / "rollback-release.md"
    page.write_text(page.read_text().replace("do: revert", "do: notify\nsay: call us\n```\n\n```step\ndo: revert", 1))
    own = ("--runbooks", str(folder))
    cut_over(session, *own)
    back = say(session, "rollback", *NODE, *SPLIT, *own, "--yes", "-o", "json")
    assert "call us" in back.json["nodes"][0]["notes"]


def test_the_bundle_has_every_page_for_every_node_that_moves(session: WorldSession, tmp_path: Path) -> None:
    cut_over(session, "--break-glass", str(tmp_path / "glass"))
    written = tmp_path / "glass" / SEI / "node-0"
    assert {file.name for file in written.iterdir()} == {file.name for file in runbooks_dir().glob("*.md")}
    page = (written / "rollback-release.md").read_text()
    assert "Generated for sei/node-0 before its cutover" in page
    now = say(session, "runbook", "show", "rollback-release", *NODE, *SPLIT).out
    patches = [line for line in now.splitlines() if line.startswith("kubectl -n sei patch ")]
    assert len(patches) == 2
    assert all(patch in page for patch in patches), "the bundle knew what the journal says now"


def test_a_bundle_that_cannot_be_written_stops_the_cutover_before_it_begins(
    session: WorldSession, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    said = say(session, "apply", *NODE, *GO, "--yes", "--break-glass", str(tmp_path / "file"))
    assert said.code == 1
    assert "--break-glass" in said.err
    assert "nothing was changed" in said.err
    assert not {"lock"} & set(session.opened)
