"""Helpers that unpack an action of a node, for tests that expect one kind of action."""

from __future__ import annotations

from seimigrate.domain.node.actions import Action, SaveRecord
from seimigrate.domain.node.record import Intent, Record


def saved_record(action: Action | None) -> Record:
    """Return the record that an action saves."""
    assert isinstance(action, SaveRecord), action
    return action.record


def saved_intent(action: Action | None) -> Intent:
    """Return the intent in the record that an action saves."""
    intent = saved_record(action).intent
    assert intent is not None
    return intent
