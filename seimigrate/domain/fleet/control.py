"""Run control: the requests that operators send to a live run, and the run's replies."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from seimigrate.domain.fleet.campaign import CANARY_PASSED, SKIPPED, Campaign
from seimigrate.domain.plan.plan import RollbackScope


class ControlCommand(StrEnum):
    """The commands of a control request."""

    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    SKIP = "skip"
    RETRY = "retry"
    ABORT = "abort"


SWEEP_COMMANDS = frozenset({ControlCommand.PAUSE, ControlCommand.RESUME, ControlCommand.SKIP, ControlCommand.ABORT})
"""The commands that ``hold`` and ``rollback`` accept."""


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """A request to a live run; ``run`` is the token of the addressed run, ``node`` is namespace/name."""

    id: str
    command: ControlCommand
    by: str
    run: str
    node: str = ""
    rollback: bool = False


@dataclass(frozen=True, slots=True)
class ControlReply:
    """The run's reply to a request."""

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
    """Return the campaign after a request, with the reply; a rejected request changes nothing."""
    if request.command not in commands or (request.rollback and ControlCommand.RETRY not in commands):
        command = f"{request.command} --rollback" if request.rollback else request.command
        return campaign, ControlReply(False, f"{command} applies to a cutover only; this run is a hold or a rollback")
    if campaign.stopped and request.command is not ControlCommand.ABORT:
        return campaign, ControlReply(False, f"the run is already stopping: {campaign.stopped}")
    running = set(in_progress)
    match request.command:
        case ControlCommand.PAUSE:
            return campaign.pause(f"by {request.by}"), ControlReply(
                True, "paused: nodes in progress will finish; no new nodes start"
            )
        case ControlCommand.RESUME:
            return _resume(campaign, now)
        case ControlCommand.PROMOTE:
            return _promote(campaign)
        case ControlCommand.SKIP:
            return _skip(campaign, request.node, running)
        case ControlCommand.RETRY:
            return _retry(campaign, request.node, running)
        case ControlCommand.ABORT:
            scope = RollbackScope.ALL if request.rollback else RollbackScope.NONE
            text = (
                "aborting: nodes in progress and nodes already cut over will be rolled back"
                if request.rollback
                else "aborting: nodes in progress will finish; no new nodes start"
            )
            return campaign.stop(f"aborted by {request.by}", scope), ControlReply(True, text)


def _resume(campaign: Campaign, now: float) -> tuple[Campaign, ControlReply]:
    if not campaign.paused:
        return campaign, ControlReply(False, "the run is not paused")
    # The operator has seen the failures, so the count is reset. Each validator gets its full deadline again.
    signing = {key: replace(baseline, since=now) for key, baseline in campaign.awaiting_signature.items()}
    return replace(campaign, paused="", failed=(), awaiting_signature=signing), ControlReply(
        True, "resumed: the failure count is reset"
    )


def _promote(campaign: Campaign) -> tuple[Campaign, ControlReply]:
    if campaign.wave_finished_at is None:
        return campaign, ControlReply(False, "nothing to promote: the current wave is still in progress")
    return replace(campaign, promoted=True, paused=""), ControlReply(
        True, "promoted: skipping the remaining soak and gates"
    )


def _skip(campaign: Campaign, node: str, in_progress: set[str]) -> tuple[Campaign, ControlReply]:
    if node not in campaign.keys:
        return campaign, ControlReply(False, f"{node} is not part of this run")
    if node in campaign.awaiting_signature and node not in in_progress:
        return campaign.expect_signature(node, None), ControlReply(True, f"no longer waiting for {node} to sign")
    if node in in_progress:
        return campaign, ControlReply(False, f"{node} is in progress; to roll it back: seimigrate abort --rollback")
    if node in campaign.finished:
        return campaign, ControlReply(False, f"{node} has already finished: {campaign.finished[node]}")
    return campaign.with_finished({node: SKIPPED}), ControlReply(True, f"{node} will be skipped")


def _retry(campaign: Campaign, node: str, in_progress: set[str]) -> tuple[Campaign, ControlReply]:
    if node not in campaign.keys:
        return campaign, ControlReply(False, f"{node} is not part of this run")
    if node in in_progress or node not in campaign.finished:
        return campaign, ControlReply(False, f"{node} is in progress or has not started")
    if campaign.finished[node] in CANARY_PASSED:
        return campaign, ControlReply(False, f"{node} has already finished: {campaign.finished[node]}")
    finished = {key: outcome for key, outcome in campaign.finished.items() if key != node}
    failed = tuple(key for key in campaign.failed if key != node)
    waves = list(campaign.waves)
    if node not in waves[campaign.wave].nodes:
        # The node's wave has passed, so the node joins the current one.
        waves = [replace(wave, nodes=tuple(key for key in wave.nodes if key != node)) for wave in waves]
        waves[campaign.wave] = replace(waves[campaign.wave], nodes=(*waves[campaign.wave].nodes, node))
    retried = replace(campaign, waves=tuple(waves), finished=finished, failed=failed, wave_finished_at=None)
    return retried, ControlReply(True, f"{node} will be retried")
