"""The brake: a ConfigMap in which people leave wishes for the live run, and the run its answers.

Each write replaces exactly the version that was read. A wish names the run that it is for, so none outlives its run.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

from pydantic import TypeAdapter, ValidationError

from seimigrate.domain.fleet.control import ControlCommand, ControlReply, ControlRequest
from seimigrate.domain.kube import leases
from seimigrate.domain.kube.kinds import LEASE_NAME, SYSTEM_NAMESPACE, Kind, Object
from seimigrate.engine.errors import Conflict, SeimigrateError, Unreachable
from seimigrate.engine.journal import KEY, MANAGED_BY
from seimigrate.engine.ports import Clock, Cluster, ObjectCache

NAME = "seimigrate-control"
REPLIES_KEPT = 20
REPLY_TIMEOUT = 10.0
"""Seconds for which a person waits for the run's answer; it comes within one if the run lives."""
MAX_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class _Replied:
    id: str
    accepted: bool
    message: str


@dataclass(frozen=True, slots=True)
class _Mailbox:
    requests: tuple[ControlRequest, ...] = ()
    replies: tuple[_Replied, ...] = ()
    version: int = 1


_READER = TypeAdapter(_Mailbox)


def _read(config_map: Object | None) -> _Mailbox:
    """Read the board; one that somebody damaged is an empty one, since nothing is lost with it but wishes."""
    try:
        return _READER.validate_json((config_map or {}).get("data", {}).get(KEY, ""))
    except ValidationError:
        return _Mailbox()


def _change(cluster: Cluster, change: Callable[[_Mailbox], _Mailbox]) -> None:
    """Change what the board says now; raises ``Conflict`` if others always write it first."""
    for attempt in range(MAX_ATTEMPTS):
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
            if attempt == MAX_ATTEMPTS - 1:
                raise


class ControlServer:
    """The run's side: what it is asked for, and what it answers."""

    def __init__(self, cluster: Cluster, cache: ObjectCache, token: str) -> None:
        self._cluster = cluster
        self._view = cache
        self._token = token
        self._heard: set[str] = set()

    def pending_requests(self) -> list[ControlRequest]:
        """Give the wishes for this run that were not heard before."""
        found = self._view.get(Kind.CONFIG_MAP, SYSTEM_NAMESPACE, NAME)
        if found is None:
            return []
        wishes = [
            request for request in _read(found).requests if request.run == self._token and request.id not in self._heard
        ]
        self._heard |= {request.id for request in wishes}
        return wishes

    def reply(self, answers: Mapping[str, ControlReply]) -> None:
        """Answer wishes, and take them off; without an answer a person asks again, so failing is no harm."""
        new = tuple(_Replied(key, reply.accepted, reply.message) for key, reply in answers.items())

        def change(board: _Mailbox) -> _Mailbox:
            wishes = tuple(request for request in board.requests if request.id not in answers)
            return replace(board, requests=wishes, replies=(*board.replies, *new)[-REPLIES_KEPT:])

        try:
            _change(self._cluster, change)
        except (Conflict, Unreachable):
            self._heard -= set(answers)


@dataclass
class ControlClient:
    """A person's side, from any terminal; ``wait`` lets some seconds pass."""

    cluster: Cluster
    clock: Clock
    wait: Callable[[float], None]
    by: str

    def send(self, command: ControlCommand, node: str = "", *, rollback: bool = False) -> ControlReply:
        """Ask the live run for something, and wait for its answer; raises ``SeimigrateError`` without a live run."""
        lease = self.cluster.get(Kind.LEASE, SYSTEM_NAMESPACE, LEASE_NAME) or {}
        if not leases.holder(lease):
            raise SeimigrateError(f"there is no live run to {command}", hint="see how things are: seimigrate status")
        request = ControlRequest(secrets.token_hex(8), command, self.by, leases.token(lease), node, rollback)
        _change(self.cluster, lambda board: _with_request(board, request))
        if (reply := self._answer(request)) is not None:
            return reply
        _change(self.cluster, lambda board: _without_request(board, request))
        if (reply := self._answer(request, look_once=True)) is not None:
            return reply
        raise SeimigrateError(
            f"the run of {leases.holder(lease)} did not reply within {REPLY_TIMEOUT:.0f} s; the request was withdrawn",
            hint="check whether it is running: seimigrate status; if it is not, rerun apply to resume",
        )

    def _answer(self, request: ControlRequest, *, look_once: bool = False) -> ControlReply | None:
        until = self.clock.now() + REPLY_TIMEOUT
        while True:
            board = _read(self.cluster.get(Kind.CONFIG_MAP, SYSTEM_NAMESPACE, NAME))
            for answer in board.replies:
                if answer.id == request.id:
                    return ControlReply(answer.accepted, answer.message)
            if look_once or self.clock.now() >= until:
                return None
            self.wait(0.2)


def _with_request(board: _Mailbox, request: ControlRequest) -> _Mailbox:
    """Add a wish; those for runs that are gone go."""
    return replace(board, requests=(*(each for each in board.requests if each.run == request.run), request))


def _without_request(board: _Mailbox, request: ControlRequest) -> _Mailbox:
    return replace(board, requests=tuple(each for each in board.requests if each.id != request.id))
