"""What ``apply`` was told to do: by the words of the command line, or by a saved plan that says it all."""

from __future__ import annotations

from dataclasses import dataclass, replace

from seimigrate.cli import looking, naming, selection
from seimigrate.cli.looking import Look
from seimigrate.cli.options import PlanFile, Target, Way
from seimigrate.cli.selection import Selection
from seimigrate.cli.session import Session, cluster_id
from seimigrate.domain import fingerprints, prospect
from seimigrate.domain.checks import Blocker
from seimigrate.domain.finding import Acceptance
from seimigrate.domain.fingerprints import Difference
from seimigrate.domain.plan import Plan, Strategy
from seimigrate.domain.record import Record
from seimigrate.domain.savedplan import SavedNode, SavedPlan
from seimigrate.domain.seen import Seen
from seimigrate.domain.steps import Ways
from seimigrate.engine import reading
from seimigrate.engine.errors import SeimigrateError, UsageError
from seimigrate.planfile import read_saved
from seimigrate.render import values

MOST = 20
"""Lines of what does not fit any more that are printed."""


@dataclass(frozen=True)
class Orders:
    """What to do with which nodes; ``file`` is the saved plan's, if there is one.

    ``made_by`` are the words that the plan was made with, ``said`` those that say the same again, ``plan_words`` those
    of them that name the plan.
    """

    plan: Plan
    ways: Ways
    strategy: Strategy
    accepted: Acceptance
    canary: str | None
    target: Target
    made_by: tuple[str, ...]
    said: tuple[str, ...]
    plan_words: tuple[str, ...] = ()
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

    def require_fit(self, look: Look) -> None:
        """Raise ``SeimigrateError`` naming each field that is not as it was when the plan was saved."""
        if self.saved is None:
            return
        found = [f"{node.key}: {_told(each)}" for node in self.saved.nodes for each in _misfit(look, node)]
        if found:
            more = [f"... and {len(found) - MOST} more"] if len(found) > MOST else []
            lines = "\n".join(f"  {line}" for line in (*found[:MOST], *more))
            raise SeimigrateError(
                f"the plan in {self.file} does not fit any more, and nothing was changed:\n{lines}",
                hint=f"make it anew, and look at it: {self.again('plan')} --out {self.file}",
            )

    def unfit(self, key: str, view: Seen, record: Record | None) -> tuple[Blocker, ...]:
        """Say why a node must not begin, whose turn has come: waves take hours, and it may have changed meanwhile."""
        node = next((each for each in self.saved.nodes if each.key == key), None) if self.saved else None
        if node is None:
            return ()
        told = "; ".join(map(_told, _differences(self.plan, node, view, record)))
        remedy = f"look at it anew: {self.again('plan')}"
        return (
            (Blocker("plan-outdated", f"it is not as it was when the plan was saved: {told}", remedy),) if told else ()
        )

    def words(self) -> list[str]:
        """Give the words that say the same again."""
        return [*self.said]

    def where(self) -> list[str]:
        """Give the words that name the nodes, or the namespaces where they are."""
        if self.saved is None:
            return self.target.words()
        namespaces = {node.namespace for node in self.saved.nodes}
        return ["-n", *namespaces] if len(namespaces) == 1 else ["-A"]

    def again(self, command: str) -> str:
        """Give the command that looks at the same nodes by the same plan."""
        from seimigrate.cli import words

        return words.command(command, self.made_by)


def read(target: Target, file: PlanFile, way: Way, saved: str | None) -> Orders:
    """Read the plan, or the saved plan; raises ``UsageError`` with all that is wrong with it."""
    if saved is None:
        selection.check(target)
        if way.canary is not None:
            naming.pair("--canary", way.canary)
        plan = looking.the_plan(file)
        made_by = (*target.words(), *file.words(), *way.words())
        return Orders(
            plan=plan,
            ways=looking.the_ways(file),
            strategy=looking.strategy_of(way, plan),
            accepted=way.accepted,
            canary=way.canary,
            target=target,
            made_by=made_by,
            said=made_by,
            plan_words=tuple(file.words()),
        )
    if said := [*target.words(), *replace(file, runbooks=None).words(), *way.words()]:
        raise UsageError(
            f"the saved plan {saved} says that already: {said[0]}", hint="leave it out, or plan anew with it"
        )
    found = read_saved(saved)
    return Orders(
        plan=found.plan,
        ways=looking.the_ways(file),
        strategy=found.strategy,
        accepted=found.accepted,
        canary=found.canary,
        target=target,
        made_by=found.words,
        said=(saved, *PlanFile(runbooks=file.runbooks).words()),
        file=saved,
        saved=found,
    )


def _misfit(look: Look, node: SavedNode) -> list[Difference]:
    key = (node.namespace, node.name)
    view = reading.look(look.view, *key)
    return _differences(look.plan, node, view, look.records[key])


def _differences(plan: Plan, node: SavedNode, view: Seen, record: Record | None) -> list[Difference]:
    if view.seinode is None:
        return [Difference("SeiNode", "there", "gone")]
    ours = record if record is not None and record.plan == plan.digest else None
    return fingerprints.differences(node.fields, view, prospect.changes(view, plan), ours)


def _told(difference: Difference) -> str:
    was, now = (str("absent" if value is None else value) for value in (difference.was, difference.is_now))
    kind, _, path = difference.field.partition(" ")
    return " ".join(filter(None, (kind, values.place(path), f"was {was}, is {now}")))
