"""The brake: what people ask a live run for from any terminal, and what the run makes of it."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from seimigrate.domain.fleet.campaign import CANARY_PASSED, SKIPPED, Campaign
from seimigrate.domain.plan.plan import RollbackScope


class ControlCommand(StrEnum):
    """What can be asked for."""

    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    SKIP = "skip"
    RETRY = "retry"
    ABORT = "abort"


SWEEP_COMMANDS = frozenset({ControlCommand.PAUSE, ControlCommand.RESUME, ControlCommand.SKIP, ControlCommand.ABORT})
"""What ``hold`` and ``rollback`` accept."""


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """What somebody asks for; ``run`` is the token of the run that is meant, ``node`` is namespace/name."""

    id: str
    command: ControlCommand
    by: str
    run: str
    node: str = ""
    rollback: bool = False


@dataclass(frozen=True, slots=True)
class ControlReply:
    """What the run says to a wish."""

    accepted: bool
    message: str


def apply_request(
    campaign: Campaign,
    request: ControlRequest,
    in_progress: Iterable[str],
    now: float,
    *,
    commands: Container[ControlCommand] = frozenset(ControlCommand),
) -> tuple[Campaign, ControlReply]:
    """Give the campaign after a wish, and the answer to it; a wish that makes no sense now changes nothing."""
    if request.command not in commands or (request.rollback and ControlCommand.RETRY not in commands):
        asked = f"{request.command} --rollback" if request.rollback else request.command
        return campaign, ControlReply(False, f"{asked} applies to a cutover only; this run is a hold or a rollback")
    if campaign.stopped and request.command is not ControlCommand.ABORT:
        return campaign, ControlReply(False, f"the run stops already: {campaign.stopped}")
    on_their_way = set(in_progress)
    match request.command:
        case ControlCommand.PAUSE:
            return campaign.pause(f"by {request.by}"), ControlReply(
                True, "paused: nodes on their way go on, no other starts"
            )
        case ControlCommand.RESUME:
            return _resume(campaign, now)
        case ControlCommand.PROMOTE:
            return _promote(campaign)
        case ControlCommand.SKIP:
            return _skip(campaign, request.node, on_their_way)
        case ControlCommand.RETRY:
            return _retry(campaign, request.node, on_their_way)
        case ControlCommand.ABORT:
            undo = RollbackScope.ALL if request.rollback else RollbackScope.NONE
            text = "nodes on their way turn back, and those that moved follow" if undo is RollbackScope.ALL else ""
            return campaign.stop(f"aborted by {request.by}", undo), ControlReply(
                True, text or "nodes on their way come to their end, no other starts"
            )


def _resume(campaign: Campaign, now: float) -> tuple[Campaign, ControlReply]:
    if not campaign.paused:
        return campaign, ControlReply(False, "it is not paused")
    # Whoever goes on after failures has seen them: they count no more. A validator gets its time anew.
    signing = {key: replace(each, since=now) for key, each in campaign.awaiting_signature.items()}
    return replace(campaign, paused="", failed=(), awaiting_signature=signing), ControlReply(True, "goes on")


def _promote(campaign: Campaign) -> tuple[Campaign, ControlReply]:
    if campaign.wave_finished_at is None:
        return campaign, ControlReply(
            False, "nothing waits to be promoted: the wave's nodes have not all come to their end"
        )
    return replace(campaign, promoted=True, paused=""), ControlReply(True, "promoted: the next wave follows")


def _skip(campaign: Campaign, node: str, in_progress: set[str]) -> tuple[Campaign, ControlReply]:
    if node not in campaign.keys:
        return campaign, ControlReply(False, f"{node} is not among the nodes of this run")
    if node in campaign.awaiting_signature and node not in in_progress:
        return campaign.expect_signature(node, None), ControlReply(True, f"it is not waited for {node} to sign again")
    if node in in_progress:
        return campaign, ControlReply(False, f"{node} is on its way: seimigrate abort --rollback turns it back")
    if node in campaign.finished:
        return campaign, ControlReply(False, f"{node} is at an end: {campaign.finished[node]}")
    return campaign.with_finished({node: SKIPPED}), ControlReply(True, f"{node} is skipped")


def _retry(campaign: Campaign, node: str, in_progress: set[str]) -> tuple[Campaign, ControlReply]:
    if node not in campaign.keys:
        return campaign, ControlReply(False, f"{node} is not among the nodes of this run")
    if node in in_progress or node not in campaign.finished:
        return campaign, ControlReply(False, f"{node} is on its way, or has yet to start")
    if campaign.finished[node] in CANARY_PASSED:
        return campaign, ControlReply(False, f"{node} is at an end: {campaign.finished[node]}")
    ended = {key: outcome for key, outcome in campaign.finished.items() if key != node}
    failed = tuple(key for key in campaign.failed if key != node)
    waves = list(campaign.waves)
    if node not in waves[campaign.wave].nodes:
        # Its wave is over: it goes with the present one.
        waves = [replace(wave, nodes=tuple(key for key in wave.nodes if key != node)) for wave in waves]
        waves[campaign.wave] = replace(waves[campaign.wave], nodes=(*waves[campaign.wave].nodes, node))
    again = replace(campaign, waves=tuple(waves), finished=ended, failed=failed, wave_finished_at=None)
    return again, ControlReply(True, f"{node} is tried again")
