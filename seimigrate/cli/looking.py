"""Reading the cluster once, for a plan, a question or a status: no lock, no token, no write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

from seimigrate.cli.options import PlanFile, Way
from seimigrate.cli.selection import Selection
from seimigrate.domain import fingerprints, ownership, prospect, seen, transforms
from seimigrate.domain.finding import Acceptance
from seimigrate.domain.kinds import CONTROLLER_MANAGER
from seimigrate.domain.plan import Plan, Strategy
from seimigrate.domain.prospect import Prospect
from seimigrate.domain.record import Record
from seimigrate.domain.steps import Ways
from seimigrate.engine import observer, reading
from seimigrate.engine.errors import SeimigrateError, UsageError
from seimigrate.engine.journal import Journal
from seimigrate.engine.ports import Clock, Cluster
from seimigrate.engine.results import Key
from seimigrate.engine.survey import Survey
from seimigrate.planfile import read_plan
from seimigrate.runbook import read_runbooks


def the_plan(file: PlanFile) -> Plan:
    """Load the plan; raises ``PlanError`` with all that is wrong."""
    return read_plan(file.plan, file.set_)


def the_ways(file: PlanFile) -> Ways:
    """Read the ways back that the runbooks bind; raises ``RunbookError`` with all that is wrong."""
    return read_runbooks(file.runbooks).ways


def strategy_of(way: Way, plan: Plan) -> Strategy:
    """Give the strategy: as said, else as the plan says."""
    return way.strategy or plan.strategy


class Look:
    """Some nodes as they are now, with their records."""

    def __init__(self, cluster: Cluster, selection: Selection, plan: Plan, clock: Clock) -> None:
        self.plan = plan
        self.keys = selection.keys
        self.survey = Survey(cluster, clock, plan)
        self.view = reading.Snapshot(cluster, observer.WATCHED, selection.namespaces)
        journal = Journal(cluster, plan.migration)
        journal.read_all(selection.namespaces)
        self.records: dict[Key, Record | None] = {key: journal.load(*key) for key in selection.keys}

    def at(self, key: Key) -> seen.Seen:
        """See one node."""
        return reading.look(self.view, *key)

    def prospects(
        self, strategy: Strategy, *, accepted: Acceptance, only: Sequence[Key] | None = None
    ) -> list[Prospect]:
        """Say what the cutover would do to each node, or to some; one that was deleted meanwhile is left out."""
        lines = []
        for key in self.keys if only is None else only:
            view = self.at(key)
            if view.seinode is None:
                continue
            view = replace(view, judgement=self.survey.judge(view))
            line = prospect.prospect(view, self.plan, strategy, self.records[key], accepted=accepted)
            if line.done and seen.hold_of(view.statefulset) is not None:
                held = "done, but still held: apply hands it back once the controller agrees"
                line = replace(line, warnings=(*line.warnings, held))
            lines.append(line)
        return lines


def fingerprint(plan: Plan, lines: Sequence[Prospect]) -> str:
    """Digest everything that a saved plan depends on."""
    content = [plan.digest, sorted([line.namespace, line.name, fingerprints.digest(line.fields)] for line in lines)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def require_no_owner(look: Look, lines: Sequence[Prospect]) -> None:
    """Refuse to go without a hold where the controller would take our changes back.

    Raises ``SeimigrateError`` naming the first field that managedFields say is the controller's; ``UsageError`` for
    a node that is on its way with a hold, whose proof must not be left out in the middle.
    """
    for line in lines:
        key = (line.namespace, line.name)
        view, record = look.at(key), look.records[key]
        if record is not None and record.open and record.holds:
            raise UsageError(
                f"{record.key} is on its way with a hold, and cannot go on without one", hint="leave --hold none out"
            )
        for change in line.changes:
            obj = view.statefulset if change.kind == transforms.STATEFUL_SET else view.service
            if obj is not None and ownership.owns(obj, CONTROLLER_MANAGER, change.path):
                raise SeimigrateError(
                    f"{line.namespace}/{line.name} cannot go without a hold: {CONTROLLER_MANAGER} owns "
                    f"{change.kind} {change.path}, and would take the change back",
                    hint="leave --hold none out",
                )
