"""The brake: what people ask a live run for from any terminal, and what the run makes of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from seimigrate.domain.fleet.campaign import PROVEN, SKIPPED, Campaign
from seimigrate.domain.plan import Undo


class Word(StrEnum):
    """What can be asked for."""

    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    SKIP = "skip"
    RETRY = "retry"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks for; ``run`` is the token of the run that is meant, ``node`` is namespace/name."""

    id: str
    word: Word
    by: str
    run: str
    node: str = ""
    rollback: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What the run says to a wish."""

    granted: bool
    text: str


def grant(campaign: Campaign, wish: Wish, moving: Iterable[str], now: float) -> tuple[Campaign, Answer]:
    """Give the campaign after a wish, and the answer to it; a wish that makes no sense now changes nothing."""
    if campaign.stopped and wish.word is not Word.ABORT:
        return campaign, Answer(False, f"the run stops already: {campaign.stopped}")
    on_their_way = set(moving)
    match wish.word:
        case Word.PAUSE:
            return campaign.pause(f"by {wish.by}"), Answer(True, "paused: nodes on their way go on, no other starts")
        case Word.RESUME:
            return _resume(campaign, now)
        case Word.PROMOTE:
            return _promote(campaign)
        case Word.SKIP:
            return _skip(campaign, wish.node, on_their_way)
        case Word.RETRY:
            return _retry(campaign, wish.node, on_their_way)
        case Word.ABORT:
            undo = Undo.ALL if wish.rollback else Undo.NONE
            text = "nodes on their way turn back, and those that moved follow" if undo is Undo.ALL else ""
            return campaign.stop(f"aborted by {wish.by}", undo), Answer(
                True, text or "nodes on their way come to their end, no other starts"
            )


def _resume(campaign: Campaign, now: float) -> tuple[Campaign, Answer]:
    if not campaign.paused:
        return campaign, Answer(False, "it is not paused")
    # Whoever goes on after failures has seen them: they count no more. A validator gets its time anew.
    signing = {key: replace(each, since=now) for key, each in campaign.signing.items()}
    return replace(campaign, paused="", failed=(), signing=signing), Answer(True, "goes on")


def _promote(campaign: Campaign) -> tuple[Campaign, Answer]:
    if campaign.rested is None:
        return campaign, Answer(False, "nothing waits to be promoted: the wave's nodes have not all come to their end")
    return replace(campaign, promoted=True, paused=""), Answer(True, "promoted: the next wave follows")


def _skip(campaign: Campaign, node: str, moving: set[str]) -> tuple[Campaign, Answer]:
    if node not in campaign.keys:
        return campaign, Answer(False, f"{node} is not among the nodes of this run")
    if node in campaign.signing and node not in moving:
        return campaign.sign(node, None), Answer(True, f"it is not waited for {node} to sign again")
    if node in moving:
        return campaign, Answer(False, f"{node} is on its way: seimigrate abort --rollback turns it back")
    if node in campaign.ended:
        return campaign, Answer(False, f"{node} is at an end: {campaign.ended[node]}")
    return campaign.come_out({node: SKIPPED}), Answer(True, f"{node} is skipped")


def _retry(campaign: Campaign, node: str, moving: set[str]) -> tuple[Campaign, Answer]:
    if node not in campaign.keys:
        return campaign, Answer(False, f"{node} is not among the nodes of this run")
    if node in moving or node not in campaign.ended:
        return campaign, Answer(False, f"{node} is on its way, or has yet to start")
    if campaign.ended[node] in PROVEN:
        return campaign, Answer(False, f"{node} is at an end: {campaign.ended[node]}")
    ended = {key: outcome for key, outcome in campaign.ended.items() if key != node}
    failed = tuple(key for key in campaign.failed if key != node)
    waves = list(campaign.waves)
    if node not in waves[campaign.wave].nodes:
        # Its wave is over: it goes with the present one.
        waves = [replace(wave, nodes=tuple(key for key in wave.nodes if key != node)) for wave in waves]
        waves[campaign.wave] = replace(waves[campaign.wave], nodes=(*waves[campaign.wave].nodes, node))
    again = replace(campaign, waves=tuple(waves), ended=ended, failed=failed, rested=None)
    return again, Answer(True, f"{node} is tried again")
