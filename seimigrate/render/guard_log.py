"""What a guard does, as log lines: each thing that it does, and once each reason why it leaves a node to others."""

from __future__ import annotations

from seimigrate.domain.node.guard_decision import GuardAction, GuardWait, SaveGuardState, SendMarkReady, Skip
from seimigrate.render.event_log import Log


class GuardLogListener:
    """Tells a log what a guard does; says nothing twice of a node while nothing else is to be said of it."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._told: dict[tuple[str, str], str] = {}

    def __call__(self, key: tuple[str, str], step: GuardAction) -> None:
        """Tell of a step that is about to be done."""
        where = {"node": "/".join(key)}
        match step:
            case SendMarkReady(intent=intent):
                self._told.pop(key, None)
                self._log.warning(f"marks pod {intent.name} ready, task {intent.task}", **where)
            case Skip(reason=reason, needs_operator=needs_operator) if self._told.get(key) != reason:
                self._told[key] = reason
                if needs_operator:
                    self._log.warning(f"leaves it to people: {reason}", **where)
                else:
                    self._log.info(f"leaves it alone: {reason}", **where)
            case GuardWait(reason=reason, pending=True) if self._told.get(key) != reason:
                self._told[key] = reason
                self._log.info(reason, **where)
            case SaveGuardState(state=state):
                self._log.debug("journals a mark-ready" if state.intent else "journals how it went", **where)
            case _:
                pass
