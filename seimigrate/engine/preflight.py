"""Looks over the nodes of a run before it sets out, and at each one when its turn comes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from seimigrate.domain.findings import AcceptedFindings
from seimigrate.domain.fleet import wave_planning
from seimigrate.domain.fleet.campaign import UNCHANGED, Campaign
from seimigrate.domain.fleet.wave_planning import Candidate, Wave
from seimigrate.domain.kube.kinds import Kind
from seimigrate.domain.node import observation, preflight, preview, start
from seimigrate.domain.node.observation import NodeObservation
from seimigrate.domain.node.preflight import Blocker
from seimigrate.domain.node.preview import NodePlan
from seimigrate.domain.node.record import Outcome, Record
from seimigrate.domain.node.start import PlanMismatch, StartOptions
from seimigrate.domain.plan.plan import Plan
from seimigrate.engine.access_review import AccessReviewer
from seimigrate.engine.errors import SeimigrateError, UsageError
from seimigrate.engine.journal import Journal
from seimigrate.engine.node_observer import Observer
from seimigrate.engine.ports import ObjectCache

Key = tuple[str, str]
OUTCOME_WITHOUT_START = {True: Outcome.BLOCKED.value, False: UNCHANGED}
"""How a node ended that did not set out, by whether something stands in its way."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """The nodes of a run: those that have to move, and those with which nothing is left to do."""

    candidates: tuple[Candidate, ...]
    done: tuple[Key, ...]

    def matches(self, campaign: Campaign) -> bool:
        """Tell whether a campaign is over these nodes; some may have come to their end since it began."""
        mine = {candidate.key for candidate in self.candidates}
        return mine <= set(campaign.keys) <= mine | {"/".join(key) for key in self.done}

    def plan_waves(self, plan: Plan, canary: str | None) -> tuple[Wave, ...]:
        """Put the nodes into waves; raises ``UsageError`` for a canary that is not among them."""
        try:
            return wave_planning.plan_waves(self.candidates, plan.fleet, canary, ["/".join(key) for key in self.done])
        except wave_planning.UnknownCanary as error:
            raise UsageError(
                f"the canary {error} is not among the nodes that have to move", hint="name another: --canary NS/NAME"
            ) from None


def run_preflight(
    observer: Observer,
    journal: Journal,
    access_reviewer: AccessReviewer,
    plan: Plan,
    options: StartOptions,
    keys: Sequence[Key],
) -> Preflight:
    """Look at each node; raises ``UsageError`` for one that is not there, and for one on its way by another plan."""
    candidates: list[Candidate] = []
    done: list[Key] = []
    for namespace, name in keys:
        observed = observer.observe(namespace, name)
        last = start.current_record(journal.load(namespace, name), observed)
        if observed.seinode is None:
            raise UsageError(f"there is no SeiNode {namespace}/{name}", hint=f"kubectl -n {namespace} get seinodes")
        if last is not None and last.unfinished:
            _next_record(observed, last, plan, options, 0.0)
            candidates.append(candidate(observed, ready=True))
            continue
        node = _node_plan(replace(observed, access_review=access_reviewer.review(observed)), last, plan, options)
        if node.done and observation.hold_of(observed.statefulset) is None:
            done.append((namespace, name))
        else:
            returning = last is not None and last.outcome is Outcome.DONE_HELD
            candidates.append(candidate(observed, ready=returning or not node.blockers))
    return Preflight(tuple(candidates), tuple(done))


def candidate(observed: NodeObservation, *, ready: bool) -> Candidate:
    """Give a node as the order of a run sees it."""
    node = observed.seinode
    assert node is not None
    key = f"{node['metadata']['namespace']}/{node['metadata']['name']}"
    return Candidate(key, observation.mode_of(node), node["spec"].get("chainId", ""), observation.labels(node), ready)


def start_node(
    key: str, observed: NodeObservation, previous: Record | None, plan: Plan, options: StartOptions, now: float
) -> Record | tuple[Blocker, ...]:
    """Give the record with which a node sets out, or what stands in its way: nothing, where nothing is to be done."""
    previous = start.current_record(previous, observed)
    if previous is None or not previous.unfinished:
        if observed.seinode is None:
            return tuple(preflight.blockers(observed, plan, accepted=AcceptedFindings.VIOLATIONS))
        node = _node_plan(observed, previous, plan, options)
        if node.done and observation.hold_of(observed.statefulset) is None:
            return ()
        if node.blockers and (previous is None or previous.outcome is not Outcome.DONE_HELD):
            return node.blockers
    return _next_record(observed, previous, plan, options, now)


def hold_blocker(observed: NodeObservation, plan: Plan) -> Blocker | None:
    """Give why a node cannot even be held."""
    if observation.owned_by(observed.statefulset, observed.seinode):
        return None
    return preflight.blockers(observed, plan, accepted=AcceptedFindings.VIOLATIONS)[0]


def children(cache: ObjectCache, networks: Collection[str]) -> list[Key]:
    """Give all SeiNodes that belong to some SeiNetworks."""
    nodes = (node for node in cache.list(Kind.SEI_NODE) if observation.network_of(node) in networks)
    return [(node["metadata"]["namespace"], node["metadata"]["name"]) for node in nodes]


def _node_plan(observed: NodeObservation, previous: Record | None, plan: Plan, options: StartOptions) -> NodePlan:
    return preview.plan_node(observed, plan, options.strategy, previous, accepted=options.accepted_findings)


def _next_record(
    observed: NodeObservation, previous: Record | None, plan: Plan, options: StartOptions, now: float
) -> Record:
    if previous is None:
        return start.start(observed, plan, options, now)
    try:
        return start.resume(previous, observed, plan, options, now)
    except PlanMismatch as error:
        raise SeimigrateError(
            f"{error} is on its way by plan {previous.plan}, and {plan.digest} was given",
            hint=f"run with the same plan and --set as before, or bring it back: seimigrate rollback --node {previous.key}",
        ) from error
