"""The brake: a ConfigMap in which people leave wishes for the live run, and the run its answers.

Each write replaces exactly the version that was read. A wish names the run that it is for, so none outlives its run.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from pydantic import TypeAdapter, ValidationError

from seimigrate.domain import leases
from seimigrate.domain.fleet.wishes import Answer, Wish, Word
from seimigrate.domain.kinds import LEASE_NAME, SYSTEM_NAMESPACE, Kind, Object
from seimigrate.engine.errors import Conflict, SeimigrateError, Unreachable
from seimigrate.engine.journal import KEY, MANAGED_BY
from seimigrate.engine.ports import Clock, Cluster, View

NAME = "seimigrate-wishes"
ANSWERS_KEPT = 20
PATIENCE = 10.0
"""Seconds for which a person waits for the run's answer; it comes within one if the run lives."""
ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class _Answered:
    id: str
    granted: bool
    text: str


@dataclass(frozen=True, slots=True)
class _Board:
    wishes: tuple[Wish, ...] = ()
    answers: tuple[_Answered, ...] = ()
    version: int = 1


_READER = TypeAdapter(_Board)


def _read(config_map: Object | None) -> _Board:
    """Read the board; one that somebody damaged is an empty one, since nothing is lost with it but wishes."""
    try:
        return _READER.validate_json((config_map or {}).get("data", {}).get(KEY, ""))
    except ValidationError:
        return _Board()


def _change(cluster: Cluster, change: Callable[[_Board], _Board]) -> None:
    """Change what the board says now; raises ``Conflict`` if others always write it first."""
    for attempt in range(ATTEMPTS):
        found = cluster.get(Kind.CONFIG_MAP, SYSTEM_NAMESPACE, NAME)
        board = change(_read(found))
        metadata = {"namespace": SYSTEM_NAMESPACE, "name": NAME, "labels": {MANAGED_BY: "seimigrate"}}
        body: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        body["data"] = {KEY: json.dumps(asdict(board), indent=1)}
        try:
            if found is None:
                cluster.create(Kind.CONFIG_MAP, body)
            else:
                metadata["resourceVersion"] = found["metadata"]["resourceVersion"]
                cluster.replace(Kind.CONFIG_MAP, body)
            return
        except Conflict:
            if attempt == ATTEMPTS - 1:
                raise


class Brake:
    """The run's side: what it is asked for, and what it answers."""

    def __init__(self, cluster: Cluster, view: View, token: str) -> None:
        self._cluster = cluster
        self._view = view
        self._token = token
        self._heard: set[str] = set()

    def heard(self) -> list[Wish]:
        """Give the wishes for this run that were not heard before."""
        found = self._view.get(Kind.CONFIG_MAP, SYSTEM_NAMESPACE, NAME)
        if found is None:
            return []
        wishes = [wish for wish in _read(found).wishes if wish.run == self._token and wish.id not in self._heard]
        self._heard |= {wish.id for wish in wishes}
        return wishes

    def answer(self, answers: Mapping[str, Answer]) -> None:
        """Answer wishes, and take them off; without an answer a person asks again, so failing is no harm."""
        new = tuple(_Answered(key, answer.granted, answer.text) for key, answer in answers.items())

        def change(board: _Board) -> _Board:
            wishes = tuple(wish for wish in board.wishes if wish.id not in answers)
            return replace(board, wishes=wishes, answers=(*board.answers, *new)[-ANSWERS_KEPT:])

        try:
            _change(self._cluster, change)
        except (Conflict, Unreachable):
            self._heard -= set(answers)


@dataclass
class Pedal:
    """A person's side, from any terminal; ``wait`` lets some seconds pass."""

    cluster: Cluster
    clock: Clock
    wait: Callable[[float], None]
    by: str

    def ask(self, word: Word, node: str = "", *, rollback: bool = False) -> Answer:
        """Ask the live run for something, and wait for its answer; raises ``SeimigrateError`` without a live run."""
        lease = self.cluster.get(Kind.LEASE, SYSTEM_NAMESPACE, LEASE_NAME) or {}
        if not leases.holder(lease):
            raise SeimigrateError(f"there is no live run to {word}", hint="see how things are: seimigrate status")
        wish = Wish(secrets.token_hex(8), word, self.by, leases.token(lease), node, rollback)
        _change(self.cluster, lambda board: _with(board, wish))
        if (answer := self._answer(wish)) is not None:
            return answer
        _change(self.cluster, lambda board: _without(board, wish))
        if (answer := self._answer(wish, look_once=True)) is not None:
            return answer
        raise SeimigrateError(
            f"the run of {leases.holder(lease)} has not answered for {PATIENCE:.0f} s, and the wish was taken back",
            hint="does it live? seimigrate status; where it is gone, the same apply again goes on",
        )

    def _answer(self, wish: Wish, *, look_once: bool = False) -> Answer | None:
        until = self.clock.now() + PATIENCE
        while True:
            board = _read(self.cluster.get(Kind.CONFIG_MAP, SYSTEM_NAMESPACE, NAME))
            for answer in board.answers:
                if answer.id == wish.id:
                    return Answer(answer.granted, answer.text)
            if look_once or self.clock.now() >= until:
                return None
            self.wait(0.2)


def _with(board: _Board, wish: Wish) -> _Board:
    """Add a wish; those for runs that are gone go."""
    return replace(board, wishes=(*(each for each in board.wishes if each.run == wish.run), wish))


def _without(board: _Board, wish: Wish) -> _Board:
    return replace(board, wishes=tuple(each for each in board.wishes if each.id != wish.id))


def without_campaign(wishes: Sequence[Wish]) -> dict[str, Answer]:
    """Answer wishes for a run that has no campaign: a hold or a rollback goes through its nodes by itself."""
    return {wish.id: Answer(False, "it is no apply; ^C in its terminal ends it after its step") for wish in wishes}
