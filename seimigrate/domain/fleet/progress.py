"""The progress of a run: its waves, and per node the stage, the time of entry and the wait reason."""

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
"""The states of a node that has not started and of a node in progress; afterwards the state is the outcome."""


@dataclass(frozen=True, slots=True)
class NodeProgress:
    """The progress of a node; ``since`` is when it entered its stage, in seconds since 1970."""

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
        """Return the outcome, or ``in-progress`` without one."""
        return self.outcome or IN_PROGRESS


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run; ``wait_reason`` is why no node starts now."""

    nodes: Mapping[str, NodeProgress] = field(default_factory=dict)
    campaign: Campaign | None = None
    wait_reason: str = ""

    @property
    def waves(self) -> tuple[Wave, ...]:
        """Return the waves; empty if the run has no campaign."""
        return self.campaign.waves if self.campaign is not None else ()

    def state(self, key: str) -> str:
        """Return a node's state."""
        if key in self.nodes and (self.campaign is None or key not in self.campaign.finished):
            return self.nodes[key].state
        return self.campaign.finished.get(key, PENDING) if self.campaign is not None else PENDING

    def counts(self) -> dict[str, int]:
        """Return the number of nodes per state."""
        keys = dict.fromkeys((*(self.campaign.keys if self.campaign is not None else ()), *self.nodes))
        return dict(Counter(self.state(key) for key in keys))

    def at(self, campaign: Campaign, step: FleetAction) -> Progress:
        """Return the progress with the campaign and the reason why no node starts now."""
        return replace(
            self, campaign=campaign, wait_reason="; ".join(step.reasons) if isinstance(step, FleetWait) else ""
        )

    def after(self, record: Record, action: Action, now: float) -> Progress:
        """Return the progress right before an action is executed for a node."""
        previous = self.nodes.get(record.key)
        node = node_progress(action.record if isinstance(action, SaveRecord) else record)
        if previous is not None and (previous.stage, previous.direction) == (node.stage, node.direction):
            node = replace(node, since=previous.since, wait_reason=previous.wait_reason)
        elif previous is not None:
            node = replace(node, since=now)
        if isinstance(action, Wait):
            node = replace(node, wait_reason=action.reason)
        elif isinstance(action, ExecuteIntent | Stop):
            node = replace(node, wait_reason="")
        return replace(self, nodes={**self.nodes, node.key: node})


def node_progress(record: Record, wait_reason: str = "") -> NodeProgress:
    """Return a node's progress from its journal; ``since`` is then the time of the last step in its stage."""
    return NodeProgress(
        key=record.key,
        stage=record.stage.value,
        direction=record.direction.value,
        since=record.since,
        restarts=len(record.replaced_pods),
        wait_reason=wait_reason,
        outcome=record.outcome.value if record.outcome else None,
        failure=record.failure,
    )
