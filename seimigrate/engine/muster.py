"""Looks over the nodes of a run before it sets out, and at each one when its turn comes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from seimigrate.domain import beginning, checks, prospect, seen
from seimigrate.domain.beginning import AnotherPlan, Options
from seimigrate.domain.checks import Blocker
from seimigrate.domain.finding import Acceptance
from seimigrate.domain.fleet import order
from seimigrate.domain.fleet.campaign import NOTHING_TO_DO, Campaign
from seimigrate.domain.fleet.order import Candidate, Wave
from seimigrate.domain.kinds import Kind
from seimigrate.domain.plan import Plan
from seimigrate.domain.prospect import Prospect
from seimigrate.domain.record import Outcome, Record
from seimigrate.domain.seen import Seen
from seimigrate.engine.errors import SeimigrateError, UsageError
from seimigrate.engine.journal import Journal
from seimigrate.engine.observer import Observer
from seimigrate.engine.ports import View
from seimigrate.engine.survey import Survey

Key = tuple[str, str]
WITHOUT_WAY = {True: Outcome.BLOCKED.value, False: NOTHING_TO_DO}
"""How a node ended that did not set out, by whether something stands in its way."""


@dataclass(frozen=True, slots=True)
class Muster:
    """The nodes of a run: those that have to move, and those with which nothing is left to do."""

    candidates: tuple[Candidate, ...]
    done: tuple[Key, ...]

    def same(self, campaign: Campaign) -> bool:
        """Tell whether a campaign is over these nodes; some may have come to their end since it began."""
        mine = {candidate.key for candidate in self.candidates}
        return mine <= set(campaign.keys) <= mine | {"/".join(key) for key in self.done}

    def arrange(self, plan: Plan, canary: str | None) -> tuple[Wave, ...]:
        """Put the nodes into waves; raises ``UsageError`` for a canary that is not among them."""
        try:
            return order.arrange(self.candidates, plan.fleet, canary, ["/".join(key) for key in self.done])
        except order.UnknownCanary as error:
            raise UsageError(
                f"the canary {error} is not among the nodes that have to move", hint="name another: --canary NS/NAME"
            ) from None


def muster(
    observer: Observer, journal: Journal, survey: Survey, plan: Plan, options: Options, keys: Sequence[Key]
) -> Muster:
    """Look at each node; raises ``UsageError`` for one that is not there, and for one on its way by another plan."""
    candidates: list[Candidate] = []
    done: list[Key] = []
    for namespace, name in keys:
        view = observer.look(namespace, name)
        last = beginning.known(journal.load(namespace, name), view)
        if view.seinode is None:
            raise UsageError(f"there is no SeiNode {namespace}/{name}", hint=f"kubectl -n {namespace} get seinodes")
        if last is not None and last.open:
            _next_record(view, last, plan, options, 0.0)
            candidates.append(candidate(view, ready=True))
            continue
        line = _prospect(replace(view, judgement=survey.judge(view)), last, plan, options)
        if line.done and seen.hold_of(view.statefulset) is None:
            done.append((namespace, name))
        else:
            returning = last is not None and last.outcome is Outcome.DONE_HELD
            candidates.append(candidate(view, ready=returning or not line.blockers))
    return Muster(tuple(candidates), tuple(done))


def candidate(view: Seen, *, ready: bool) -> Candidate:
    """Give a node as the order of a run sees it."""
    node = view.seinode
    assert node is not None
    key = f"{node['metadata']['namespace']}/{node['metadata']['name']}"
    return Candidate(key, seen.mode_of(node), node["spec"].get("chainId", ""), seen.labels(node), ready)


def begin(
    key: str, view: Seen, last: Record | None, plan: Plan, options: Options, now: float
) -> Record | tuple[Blocker, ...]:
    """Give the record with which a node sets out, or what stands in its way: nothing, where nothing is to be done."""
    last = beginning.known(last, view)
    if last is None or not last.open:
        if view.seinode is None:
            return tuple(checks.blockers(view, plan, accepted=Acceptance.FINDINGS))
        line = _prospect(view, last, plan, options)
        if line.done and seen.hold_of(view.statefulset) is None:
            return ()
        if line.blockers and (last is None or last.outcome is not Outcome.DONE_HELD):
            return line.blockers
    return _next_record(view, last, plan, options, now)


def unheld(view: Seen, plan: Plan) -> Blocker | None:
    """Give why a node cannot even be held."""
    if seen.owned_by(view.statefulset, view.seinode):
        return None
    return checks.blockers(view, plan, accepted=Acceptance.FINDINGS)[0]


def children(view: View, networks: Collection[str]) -> list[Key]:
    """Give all SeiNodes that belong to some SeiNetworks."""
    nodes = (node for node in view.list(Kind.SEI_NODE) if seen.network_of(node) in networks)
    return [(node["metadata"]["namespace"], node["metadata"]["name"]) for node in nodes]


def _prospect(view: Seen, last: Record | None, plan: Plan, options: Options) -> Prospect:
    return prospect.prospect(view, plan, options.strategy, last, accepted=options.accepted)


def _next_record(view: Seen, last: Record | None, plan: Plan, options: Options, now: float) -> Record:
    if last is None:
        return beginning.begin(view, plan, options, now)
    try:
        return beginning.go_on(last, view, plan, options, now)
    except AnotherPlan as error:
        raise SeimigrateError(
            f"{error} is on its way by plan {last.plan}, and {plan.digest} was given",
            hint=f"run with the same plan and --set as before, or bring it back: seimigrate rollback --node {last.key}",
        ) from error
