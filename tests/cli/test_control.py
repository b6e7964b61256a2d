"""The brake from any terminal: a live run acts on it, and without one it is refused politely."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import pytest

from seimigrate.domain.fleet.control import ControlCommand, ControlReply
from seimigrate.domain.kube.kinds import LEASE_NAME, SYSTEM_NAMESPACE, Kind
from seimigrate.engine.run_control import NAME, ControlServer
from seimigrate.simulation.world import World
from tests.cli.world import WorldSession, hold_lock, say

WORDS = [["pause"], ["resume"], ["promote"], ["abort"], ["skip", "sei/a"], ["retry", "sei/a"]]


@pytest.fixture
def session() -> Iterator[WorldSession]:
    """A session on whose clock time passes while a command waits."""
    world = World()
    with patch("seimigrate.cli.commands.control.time.sleep", world.run):
        yield WorldSession(world)


def answering(session: WorldSession, reply: ControlReply) -> list[tuple[ControlCommand, str, bool]]:
    """Let a run live that answers each wish; gives what it was asked for."""
    hold_lock(session.world)
    asked: list[tuple[ControlCommand, str, bool]] = []
    control = ControlServer(session.world.cluster, session.world.cache, "r9-aaaaaa")

    def live(seconds: float) -> None:
        session.world.run(seconds)
        for request in control.pending_requests():
            asked.append((request.command, request.node, request.rollback))
            control.reply({request.id: reply})

    patch("seimigrate.cli.commands.control.time.sleep", live).start()
    return asked


@pytest.mark.parametrize(
    "words", [["pause"], ["resume"], ["promote"], ["abort"], ["skip", "sei/a"], ["retry", "sei/a"]]
)
def test_without_a_live_run_it_is_refused_and_nothing_is_written(session: WorldSession, words: list[str]) -> None:
    said = say(session, *words)
    assert said.code == 1
    assert f"there is no live run to {words[0]}" in said.err
    assert "hint: see how things are: seimigrate status" in said.err
    assert (SYSTEM_NAMESPACE, NAME) not in session.world.cluster.objects[Kind.CONFIG_MAP]


def test_a_run_that_does_not_answer_gets_its_wish_taken_back(session: WorldSession) -> None:
    hold_lock(session.world)
    said = say(session, "pause")
    assert said.code == 1
    assert "did not reply within 10 s; the request was withdrawn" in said.err
    board = session.world.cluster.objects[Kind.CONFIG_MAP][SYSTEM_NAMESPACE, NAME]["data"]["record"]
    assert '"requests": []' in board


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["pause"], (ControlCommand.PAUSE, "", False)),
        (["skip", "sei/full-1"], (ControlCommand.SKIP, "sei/full-1", False)),
        (["abort", "--rollback"], (ControlCommand.ABORT, "", True)),
    ],
)
def test_a_live_run_is_asked_and_its_answer_is_told(
    session: WorldSession, words: list[str], asked: tuple[ControlCommand, str, bool]
) -> None:
    heard = answering(session, ControlReply(True, "so be it"))
    said = say(session, *words)
    assert (said.code, heard) == (0, [asked])
    assert said.out.startswith("so be it\n")
    patch.stopall()


def test_a_refusal_is_told_with_exit_code_1_and_as_json(session: WorldSession) -> None:
    answering(session, ControlReply(False, "the run is not paused"))
    said = say(session, "resume", "-o", "json")
    assert said.code == 1
    assert said.json == {
        "version": 1, "command": "resume", "node": None, "accepted": False, "message": "the run is not paused",
    }  # fmt: skip
    patch.stopall()


def test_a_wish_for_a_run_that_is_gone_reaches_no_other(session: WorldSession) -> None:
    hold_lock(session.world)
    say(session, "pause")
    control = ControlServer(session.world.cluster, session.world.cache, "r10-bbbbbb")
    assert control.pending_requests() == []
    assert session.world.cluster.objects[Kind.LEASE][SYSTEM_NAMESPACE, LEASE_NAME]


def test_a_node_is_named_with_its_namespace(session: WorldSession) -> None:
    said = say(session, "skip", "full-0")
    assert said.code == 2
    assert "expected NAMESPACE/NAME" in said.err
