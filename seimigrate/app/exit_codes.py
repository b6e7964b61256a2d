"""The exit codes, and how the outcomes of several nodes determine one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum

from seimigrate.domain.node.record import Outcome
from seimigrate.engine.results import Result


class Exit(IntEnum):
    """The exit codes; docs/output.md explains them for scripts."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    PENDING = 3
    BLOCKED = 4
    PAUSED = 5
    ROLLED_BACK = 6
    LOCKED = 7
    FAILED = 8
    HELD = 9
    TERMINATED = 143


_WORST_FIRST = (Exit.FAILED, Exit.ROLLED_BACK, Exit.PAUSED, Exit.HELD)
_FORWARD = {
    Outcome.FAILED: Exit.FAILED,
    Outcome.ROLLED_BACK: Exit.ROLLED_BACK,
    Outcome.ROLLED_BACK_HELD: Exit.ROLLED_BACK,
    Outcome.PAUSED: Exit.PAUSED,
    Outcome.DONE_HELD: Exit.HELD,
    Outcome.BLOCKED: Exit.BLOCKED,
    Outcome.DONE: Exit.DONE,
}


def exit_of_apply(results: Iterable[Result]) -> Exit:
    """Return the exit code of a cutover: that of the worst outcome; 4 only if nodes were blocked and none changed."""
    codes = [_forward(result) for result in results]
    for code in _WORST_FIRST:
        if code in codes:
            return code
    changed = any(result.record is not None and not blocked(result) for result in results)
    return Exit.BLOCKED if Exit.BLOCKED in codes and not changed else Exit.DONE


def blocked(result: Result) -> bool:
    """Return whether a node was left unchanged because of blockers; a node that was held before stays held."""
    return result.outcome is Outcome.BLOCKED or bool(result.record is not None and result.record.blocked)


def _forward(result: Result) -> Exit:
    outcome = result.outcome
    if result.unchanged or outcome is None:
        return Exit.DONE
    if blocked(result):
        return Exit.BLOCKED
    if outcome is Outcome.HELD:
        failed = result.record is not None and result.record.failure is not None
        return Exit.ROLLED_BACK if failed else Exit.HELD
    return _FORWARD[outcome]


def exit_of_rollback(results: Sequence[Result], *, all_the_way: bool) -> Exit:
    """Return the exit code of a rollback: 4 if a node is blocked; 9 if one should be released but is still held."""
    outcomes = {result.outcome for result in results if not result.unchanged}
    if Outcome.FAILED in outcomes:
        return Exit.FAILED
    if Outcome.PAUSED in outcomes:
        return Exit.PAUSED
    if any(result.blockers for result in results):
        return Exit.BLOCKED
    return Exit.HELD if all_the_way and Outcome.ROLLED_BACK_HELD in outcomes else Exit.DONE


def exit_of_hold(results: Sequence[Result], held: Sequence[bool]) -> Exit:
    """Return the exit code of a hold: 0 only if every node is held, because a controller upgrade may depend on it."""
    not_held = {result.outcome for result, is_held in zip(results, held, strict=True) if not is_held}
    if not not_held:
        return Exit.DONE
    return Exit.FAILED if Outcome.FAILED in not_held else Exit.PAUSED if Outcome.PAUSED in not_held else Exit.BLOCKED
