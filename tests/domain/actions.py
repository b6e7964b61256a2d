"""What an action of the machine says, for tests that know which kind it has to be."""

from __future__ import annotations

from seimigrate.domain.node.actions import Action, SaveRecord
from seimigrate.domain.node.record import Intent, Record


def noted(action: Action | None) -> Record:
    """Give the record that an action journals."""
    assert isinstance(action, SaveRecord), action
    return action.record


def intended(action: Action | None) -> Intent:
    """Give the intent that an action journals."""
    intent = noted(action).intent
    assert intent is not None
    return intent
