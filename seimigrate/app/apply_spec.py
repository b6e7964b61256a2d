"""What ``apply`` was told to do: by the words of the command line, or by a saved plan that says it all."""

from __future__ import annotations

from dataclasses import dataclass, replace

from seimigrate.app import arguments, names, selection, snapshot
from seimigrate.app.options import ApplyOptions, NodeSelection, PlanOptions
from seimigrate.app.selection import Selection
from seimigrate.app.session import Session, cluster_id
from seimigrate.app.snapshot import ClusterSnapshot
from seimigrate.domain.findings import AcceptedFindings
from seimigrate.domain.fleet.saved_plan import SavedNode, SavedPlan
from seimigrate.domain.node import fingerprints, preview
from seimigrate.domain.node.fingerprints import Difference
from seimigrate.domain.node.observation import NodeObservation
from seimigrate.domain.node.preflight import Blocker
from seimigrate.domain.node.record import Record
from seimigrate.domain.plan.plan import Plan, Strategy
from seimigrate.domain.plan.rollback_steps import RollbackRunbooks
from seimigrate.engine import readers
from seimigrate.engine.errors import SeimigrateError, UsageError
from seimigrate.planfile import read_saved
from seimigrate.render import formatting

MAX_SHOWN = 20
"""Lines of what does not fit any more that are printed."""


@dataclass(frozen=True)
class ApplySpec:
    """What to do with which nodes; ``file`` is the saved plan's, if there is one.

    ``made_by`` are the words that the plan was made with, ``said`` those that say the same again, ``plan_words`` those
    of them that name the plan.
    """

    plan: Plan
    runbooks: RollbackRunbooks
    strategy: Strategy
    accepted_findings: AcceptedFindings
    canary: str | None
    target: NodeSelection
    original_args: tuple[str, ...]
    repeat_args: tuple[str, ...]
    plan_args: tuple[str, ...] = ()
    file: str = ""
    saved: SavedPlan | None = None

    def namespaces(self, session: Session) -> tuple[str, ...]:
        """Give the namespaces of the nodes (``""``: all), before the cluster is asked."""
        if self.saved is None:
            return selection.namespaces_of(self.target, session.namespace)
        return tuple(sorted({node.namespace for node in self.saved.nodes}))

    def select(self, session: Session) -> Selection:
        """Find the nodes; raises ``SeimigrateError`` if there are none, or if the plan is another cluster's."""
        if self.saved is None:
            return selection.select(session.cluster, self.target, session.namespace)
        if cluster_id(session.cluster) != self.saved.cluster:
            raise SeimigrateError(
                f"the plan in {self.file} was saved for another cluster than {session.server}: nothing was changed",
                hint="name the right one: --context NAME",
            )
        keys = tuple((node.namespace, node.name) for node in self.saved.nodes)
        return Selection(keys, self.namespaces(session))

    def require_current(self, snapshot: ClusterSnapshot) -> None:
        """Raise ``SeimigrateError`` naming each field that is not as it was when the plan was saved."""
        if self.saved is None:
            return
        found = [
            f"{node.key}: {_describe_difference(each)}"
            for node in self.saved.nodes
            for each in _stale_fields(snapshot, node)
        ]
        if found:
            more = [f"... and {len(found) - MAX_SHOWN} more"] if len(found) > MAX_SHOWN else []
            lines = "\n".join(f"  {line}" for line in (*found[:MAX_SHOWN], *more))
            raise SeimigrateError(
                f"the plan in {self.file} does not fit any more, and nothing was changed:\n{lines}",
                hint=f"make it anew, and look at it: {self.command_line('plan')} --out {self.file}",
            )

    def stale_blockers(self, key: str, observed: NodeObservation, record: Record | None) -> tuple[Blocker, ...]:
        """Say why a node must not begin, whose turn has come: waves take hours, and it may have changed meanwhile."""
        node = next((each for each in self.saved.nodes if each.key == key), None) if self.saved else None
        if node is None:
            return ()
        told = "; ".join(map(_describe_difference, _differences(self.plan, node, observed, record)))
        remedy = f"look at it anew: {self.command_line('plan')}"
        return (Blocker("plan-stale", f"it is not as it was when the plan was saved: {told}", remedy),) if told else ()

    def to_args(self) -> list[str]:
        """Give the words that say the same again."""
        return [*self.repeat_args]

    def target_args(self) -> list[str]:
        """Give the words that name the nodes, or the namespaces where they are."""
        if self.saved is None:
            return self.target.to_args()
        namespaces = {node.namespace for node in self.saved.nodes}
        return ["-n", *namespaces] if len(namespaces) == 1 else ["-A"]

    def command_line(self, command: str) -> str:
        """Give the command that looks at the same nodes by the same plan."""
        return arguments.command_line(command, self.original_args)


def read(target: NodeSelection, file: PlanOptions, apply_options: ApplyOptions, saved: str | None) -> ApplySpec:
    """Read the plan, or the saved plan; raises ``UsageError`` with all that is wrong with it."""
    if saved is None:
        selection.validate_target(target)
        if apply_options.canary is not None:
            names.parse_namespaced_name("--canary", apply_options.canary)
        plan = snapshot.load_plan_file(file)
        made_by = (*target.to_args(), *file.to_args(), *apply_options.to_args())
        return ApplySpec(
            plan=plan,
            runbooks=snapshot.load_rollback_runbooks(file),
            strategy=snapshot.choose_strategy(apply_options, plan),
            accepted_findings=apply_options.accepted_findings,
            canary=apply_options.canary,
            target=target,
            original_args=made_by,
            repeat_args=made_by,
            plan_args=tuple(file.to_args()),
        )
    if said := [*target.to_args(), *replace(file, runbooks=None).to_args(), *apply_options.to_args()]:
        raise UsageError(
            f"the saved plan {saved} says that already: {said[0]}", hint="leave it out, or plan anew with it"
        )
    found = read_saved(saved)
    return ApplySpec(
        plan=found.plan,
        runbooks=snapshot.load_rollback_runbooks(file),
        strategy=found.strategy,
        accepted_findings=found.accepted_findings,
        canary=found.canary,
        target=target,
        original_args=found.args,
        repeat_args=(saved, *PlanOptions(runbooks=file.runbooks).to_args()),
        file=saved,
        saved=found,
    )


def _stale_fields(snapshot: ClusterSnapshot, node: SavedNode) -> list[Difference]:
    key = (node.namespace, node.name)
    observed = readers.observe(snapshot.cache, *key)
    return _differences(snapshot.plan, node, observed, snapshot.records[key])


def _differences(plan: Plan, node: SavedNode, observed: NodeObservation, record: Record | None) -> list[Difference]:
    if observed.seinode is None:
        return [Difference("SeiNode", "there", "gone")]
    ours = record if record is not None and record.plan == plan.digest else None
    return fingerprints.differences(node.fields, observed, preview.changes(observed, plan), ours)


def _describe_difference(difference: Difference) -> str:
    was, now = (str("absent" if value is None else value) for value in (difference.was, difference.now))
    kind, _, path = difference.field.partition(" ")
    return " ".join(filter(None, (kind, formatting.path_label(path), f"was {was}, is {now}")))
