"""How far a run is: its waves, and of each node where it stands, since when, and what it waits for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from seimigrate.domain.fleet.actions import FleetAction, FleetWait
from seimigrate.domain.fleet.campaign import Campaign
from seimigrate.domain.fleet.wave_planning import Wave
from seimigrate.domain.node.actions import Action, ExecuteIntent, SaveRecord, Stop, Wait
from seimigrate.domain.node.record import Record

PENDING, IN_PROGRESS = "pending", "in-progress"
"""The states of a node that has yet to begin, and of one that is on its way; after that it is its outcome."""


@dataclass(frozen=True, slots=True)
class NodeProgress:
    """Where a node stands; ``since`` is when it entered its stage, in seconds since 1970."""

    key: str
    stage: str
    direction: str
    since: float
    restarts: int = 0
    wait_reason: str = ""
    outcome: str | None = None
    failure: str | None = None

    @property
    def state(self) -> str:
        """Give ``in-progress``, or how its way ended."""
        return self.outcome or IN_PROGRESS


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is; ``told`` is why nothing starts just now."""

    nodes: Mapping[str, NodeProgress] = field(default_factory=dict)
    campaign: Campaign | None = None
    wait_reason: str = ""

    @property
    def waves(self) -> tuple[Wave, ...]:
        """Give the waves; none where the nodes just follow each other."""
        return self.campaign.waves if self.campaign is not None else ()

    def state(self, key: str) -> str:
        """Give a node's state."""
        if key in self.nodes and (self.campaign is None or key not in self.campaign.finished):
            return self.nodes[key].state
        return self.campaign.finished.get(key, PENDING) if self.campaign is not None else PENDING

    def counts(self) -> dict[str, int]:
        """Count the nodes by their state."""
        keys = dict.fromkeys((*(self.campaign.keys if self.campaign is not None else ()), *self.nodes))
        return dict(Counter(self.state(key) for key in keys))

    def at(self, campaign: Campaign, step: FleetAction) -> Progress:
        """Give the progress of the run as a whole: its campaign, and why nothing starts just now."""
        return replace(
            self, campaign=campaign, wait_reason="; ".join(step.reasons) if isinstance(step, FleetWait) else ""
        )

    def after(self, record: Record, action: Action, now: float) -> Progress:
        """Give the progress when an action is about to be done for a node."""
        known = self.nodes.get(record.key)
        node = node_progress(action.record if isinstance(action, SaveRecord) else record)
        if known is not None and (known.stage, known.direction) == (node.stage, node.direction):
            node = replace(node, since=known.since, wait_reason=known.wait_reason)
        elif known is not None:
            node = replace(node, since=now)
        if isinstance(action, Wait):
            node = replace(node, wait_reason=action.reason)
        elif isinstance(action, ExecuteIntent | Stop):
            node = replace(node, wait_reason="")
        return replace(self, nodes={**self.nodes, node.key: node})


def node_progress(record: Record, waits: str = "") -> NodeProgress:
    """Give where a node stands as its journal says; the time in its stage counts from its last step then."""
    return NodeProgress(
        key=record.key,
        stage=record.stage.value,
        direction=record.direction.value,
        since=record.since,
        restarts=len(record.replaced_pods),
        wait_reason=waits,
        outcome=record.outcome.value if record.outcome else None,
        failure=record.failure,
    )
