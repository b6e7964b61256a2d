"""The brake from any terminal: a live run acts on it, and without one it is refused politely."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import pytest

from seimigrate.domain.fleet.wishes import Answer, Word
from seimigrate.domain.kinds import LEASE_NAME, SYSTEM_NAMESPACE, Kind
from seimigrate.engine.brake import NAME, Brake
from seimigrate.simulation.world import World
from tests.cli.world import WorldSession, hold_lock, say

WORDS = [["pause"], ["resume"], ["promote"], ["abort"], ["skip", "sei/a"], ["retry", "sei/a"]]


@pytest.fixture
def session() -> Iterator[WorldSession]:
    """A session on whose clock time passes while a command waits."""
    world = World()
    with patch("seimigrate.cli.brake.time.sleep", world.run):
        yield WorldSession(world)


def answering(session: WorldSession, answer: Answer) -> list[tuple[Word, str, bool]]:
    """Let a run live that answers each wish; gives what it was asked for."""
    hold_lock(session.world)
    asked: list[tuple[Word, str, bool]] = []
    brake = Brake(session.world.cluster, session.world.view, "r9-aaaaaa")

    def live(seconds: float) -> None:
        session.world.run(seconds)
        for wish in brake.heard():
            asked.append((wish.word, wish.node, wish.rollback))
            brake.answer({wish.id: answer})

    patch("seimigrate.cli.brake.time.sleep", live).start()
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
    assert "has not answered for 10 s, and the wish was taken back" in said.err
    board = session.world.cluster.objects[Kind.CONFIG_MAP][SYSTEM_NAMESPACE, NAME]["data"]["record"]
    assert '"wishes": []' in board


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["pause"], (Word.PAUSE, "", False)),
        (["skip", "sei/full-1"], (Word.SKIP, "sei/full-1", False)),
        (["abort", "--rollback"], (Word.ABORT, "", True)),
    ],
)
def test_a_live_run_is_asked_and_its_answer_is_told(
    session: WorldSession, words: list[str], asked: tuple[Word, str, bool]
) -> None:
    heard = answering(session, Answer(True, "so be it"))
    said = say(session, *words)
    assert (said.code, heard) == (0, [asked])
    assert said.out.startswith("so be it\n")
    patch.stopall()


def test_a_refusal_is_told_with_exit_code_1_and_as_json(session: WorldSession) -> None:
    answering(session, Answer(False, "it is not paused"))
    said = say(session, "resume", "-o", "json")
    assert said.code == 1
    assert said.json == {
        "version": 1, "wish": "resume", "node": None, "granted": False, "answer": "it is not paused",
    }  # fmt: skip
    patch.stopall()


def test_a_wish_for_a_run_that_is_gone_reaches_no_other(session: WorldSession) -> None:
    hold_lock(session.world)
    say(session, "pause")
    brake = Brake(session.world.cluster, session.world.view, "r10-bbbbbb")
    assert brake.heard() == []
    assert session.world.cluster.objects[Kind.LEASE][SYSTEM_NAMESPACE, LEASE_NAME]


def test_a_node_is_named_with_its_namespace(session: WorldSession) -> None:
    said = say(session, "skip", "full-0")
    assert said.code == 2
    assert "this is not NAMESPACE/NAME" in said.err
