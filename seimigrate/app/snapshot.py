"""Reading the cluster once, for a plan, a question or a status: no lock, no token, no write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

from seimigrate.app.options import ApplyOptions, PlanFileOptions, PlanOptions
from seimigrate.app.selection import Selection
from seimigrate.domain.findings import AcceptedFindings
from seimigrate.domain.kube import managed_fields
from seimigrate.domain.kube.kinds import CONTROLLER_MANAGER
from seimigrate.domain.node import fingerprints, observation, preview, transforms
from seimigrate.domain.node.preview import NodePlan
from seimigrate.domain.node.record import Record
from seimigrate.domain.plan.plan import Plan, Strategy
from seimigrate.domain.plan.rollback_steps import RollbackRunbooks
from seimigrate.engine import node_observer, readers
from seimigrate.engine.access_review import AccessReviewer
from seimigrate.engine.errors import SeimigrateError, UsageError
from seimigrate.engine.journal import Journal
from seimigrate.engine.ports import Clock, Cluster
from seimigrate.engine.results import Key
from seimigrate.planfile import read_plan
from seimigrate.runbook import read_runbooks


def load_plan_file(file: PlanFileOptions) -> Plan:
    """Load the plan; raises ``PlanError`` with all that is wrong."""
    return read_plan(file.plan, file.set_)


def load_rollback_runbooks(file: PlanOptions) -> RollbackRunbooks:
    """Read the ways back that the runbooks bind; raises ``RunbookError`` with all that is wrong."""
    return read_runbooks(file.runbooks).rollback_runbooks


def choose_strategy(runbook: ApplyOptions, plan: Plan) -> Strategy:
    """Give the strategy: as said, else as the plan says."""
    return runbook.strategy or plan.strategy


class ClusterSnapshot:
    """Some nodes as they are now, with their records."""

    def __init__(self, cluster: Cluster, selection: Selection, plan: Plan, clock: Clock) -> None:
        self.plan = plan
        self.keys = selection.keys
        self.access_reviewer = AccessReviewer(cluster, clock, plan)
        self.cache = readers.Snapshot(cluster, node_observer.WATCHED, selection.namespaces)
        journal = Journal(cluster, plan.migration)
        journal.read_all(selection.namespaces)
        self.records: dict[Key, Record | None] = {key: journal.load(*key) for key in selection.keys}

    def observe(self, key: Key) -> observation.NodeObservation:
        """See one node."""
        return readers.observe(self.cache, *key)

    def node_plans(
        self, strategy: Strategy, *, accepted: AcceptedFindings, only: Sequence[Key] | None = None
    ) -> list[NodePlan]:
        """Say what the cutover would do to each node, or to some; one that was deleted meanwhile is left out."""
        lines = []
        for key in self.keys if only is None else only:
            observed = self.observe(key)
            if observed.seinode is None:
                continue
            observed = replace(observed, access_review=self.access_reviewer.review(observed))
            node = preview.plan_node(observed, self.plan, strategy, self.records[key], accepted=accepted)
            if node.done and observation.hold_of(observed.statefulset) is not None:
                held = "done, but still held: apply hands it back once the controller agrees"
                node = replace(node, warnings=(*node.warnings, held))
            lines.append(node)
        return lines


def plan_digest(plan: Plan, lines: Sequence[NodePlan]) -> str:
    """Digest everything that a saved plan depends on."""
    content = [plan.digest, sorted([node.namespace, node.name, fingerprints.digest(node.fields)] for node in lines)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def require_unowned_fields(snapshot: ClusterSnapshot, lines: Sequence[NodePlan]) -> None:
    """Refuse to go without a hold where the controller would take our changes back.

    Raises ``SeimigrateError`` naming the first field that managedFields say is the controller's; ``UsageError`` for
    a node that is on its way with a hold, whose proof must not be left out in the middle.
    """
    for node in lines:
        key = (node.namespace, node.name)
        observed, record = snapshot.observe(key), snapshot.records[key]
        if record is not None and record.unfinished and record.holds:
            raise UsageError(
                f"{record.key} is on its way with a hold, and cannot go on without one", hint="leave --hold none out"
            )
        for change in node.changes:
            obj = observed.statefulset if change.kind == transforms.STATEFUL_SET else observed.service
            if obj is not None and managed_fields.owns(obj, CONTROLLER_MANAGER, change.path):
                raise SeimigrateError(
                    f"{node.namespace}/{node.name} cannot go without a hold: {CONTROLLER_MANAGER} owns "
                    f"{change.kind} {change.path}, and would take the change back",
                    hint="leave --hold none out",
                )
