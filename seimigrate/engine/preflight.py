"""Preflight: check the nodes of a run before it starts, and each node when it is about to start."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from seimigrate.domain.findings import AcceptedFindings
from seimigrate.domain.fleet import wave_planning
from seimigrate.domain.fleet.campaign import Campaign
from seimigrate.domain.fleet.wave_planning import Candidate, Wave
from seimigrate.domain.kube.kinds import Kind
from seimigrate.domain.node import observation, preflight, preview, start
from seimigrate.domain.node.observation import NodeObservation
from seimigrate.domain.node.preflight import Blocker
from seimigrate.domain.node.preview import NodePlan
from seimigrate.domain.node.record import Outcome, Record
from seimigrate.domain.node.run_spec import RunSpec
from seimigrate.domain.node.start import PlanMismatch
from seimigrate.domain.plan.plan import Plan
from seimigrate.engine.access_review import AccessReviewer
from seimigrate.engine.errors import SeimigrateError, UsageError
from seimigrate.engine.journal import Journal
from seimigrate.engine.node_observer import Observer
from seimigrate.engine.ports import ObjectCache

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Preflight:
    """The nodes of a run: the candidates that have something to change, and those that are done."""

    candidates: tuple[Candidate, ...]
    done: tuple[Key, ...]

    def matches(self, campaign: Campaign) -> bool:
        """Return whether a campaign is about these nodes; some may have finished since it started."""
        ours = {candidate.key for candidate in self.candidates}
        return ours <= set(campaign.keys) <= ours | {"/".join(key) for key in self.done}

    def plan_waves(self, plan: Plan, canary: str | None) -> tuple[Wave, ...]:
        """Return the waves of the candidates; raises ``UsageError`` for a canary that is not one of them."""
        try:
            return wave_planning.plan_waves(self.candidates, plan.fleet, canary, ["/".join(key) for key in self.done])
        except wave_planning.UnknownCanary as error:
            raise UsageError(
                f"canary {error} is not one of the nodes to cut over", hint="name another one: --canary NAMESPACE/NAME"
            ) from None


def run_preflight(
    observer: Observer,
    journal: Journal,
    access_reviewer: AccessReviewer,
    plan: Plan,
    spec: RunSpec,
    keys: Sequence[Key],
) -> Preflight:
    """Check each node.

    Raises ``UsageError`` for a missing node, ``SeimigrateError`` for one in progress by another plan.
    """
    candidates: list[Candidate] = []
    done: list[Key] = []
    for namespace, name in keys:
        observed = observer.observe(namespace, name)
        last = start.current_record(journal.load(namespace, name), observed)
        if observed.seinode is None:
            raise UsageError(f"SeiNode {namespace}/{name} was not found", hint=f"kubectl -n {namespace} get seinodes")
        if last is not None and last.unfinished:
            _next_record(observed, last, plan, spec, "", 0.0)
            candidates.append(candidate(observed, ready=True))
            continue
        node = _node_plan(replace(observed, access_review=access_reviewer.review(observed)), last, plan, spec)
        if node.done and observation.hold_of(observed.statefulset) is None:
            done.append((namespace, name))
        else:
            held_done = last is not None and last.outcome is Outcome.DONE_HELD
            candidates.append(candidate(observed, ready=held_done or not node.blockers))
    return Preflight(tuple(candidates), tuple(done))


def candidate(observed: NodeObservation, *, ready: bool) -> Candidate:
    """Return a node as the planning of waves sees it."""
    node = observed.seinode
    assert node is not None
    key = f"{node['metadata']['namespace']}/{node['metadata']['name']}"
    return Candidate(key, observation.mode_of(node), node["spec"].get("chainId", ""), observation.labels(node), ready)


def start_node(
    key: str, observed: NodeObservation, previous: Record | None, plan: Plan, spec: RunSpec, run: str, now: float
) -> Record | tuple[Blocker, ...]:
    """Return the record with which a node starts, or its blockers; no blocker means that nothing has to change."""
    previous = start.current_record(previous, observed)
    if previous is None or not previous.unfinished:
        if observed.seinode is None:
            return tuple(preflight.blockers(observed, plan, accepted=AcceptedFindings.VIOLATIONS))
        node = _node_plan(observed, previous, plan, spec)
        if node.done and observation.hold_of(observed.statefulset) is None:
            return ()
        if node.blockers and (previous is None or previous.outcome is not Outcome.DONE_HELD):
            return node.blockers
    return _next_record(observed, previous, plan, spec, run, now)


def hold_blocker(observed: NodeObservation, plan: Plan) -> Blocker | None:
    """Return why a node cannot be held, ``None`` if it can."""
    if observation.owned_by(observed.statefulset, observed.seinode):
        return None
    return preflight.blockers(observed, plan, accepted=AcceptedFindings.VIOLATIONS)[0]


def children(cache: ObjectCache, networks: Collection[str]) -> list[Key]:
    """Return all SeiNodes that belong to the given SeiNetworks."""
    nodes = (node for node in cache.list(Kind.SEI_NODE) if observation.network_of(node) in networks)
    return [(node["metadata"]["namespace"], node["metadata"]["name"]) for node in nodes]


def _node_plan(observed: NodeObservation, previous: Record | None, plan: Plan, spec: RunSpec) -> NodePlan:
    return preview.plan_node(observed, plan, spec.strategy, previous, accepted=spec.accepted_findings)


def _next_record(
    observed: NodeObservation, previous: Record | None, plan: Plan, spec: RunSpec, run: str, now: float
) -> Record:
    if previous is None:
        return start.start(observed, plan, spec, run, now)
    try:
        return start.resume(previous, observed, plan, spec, run, now)
    except PlanMismatch as error:
        raise SeimigrateError(
            f"{error} is in progress by plan {previous.plan}, but plan {plan.digest} was given",
            hint="use the plan and --set of that run, or roll the node back: "
            f"seimigrate rollback --node {previous.key}",
        ) from error
