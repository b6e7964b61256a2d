"""The preview of a node's cutover, before anything is changed."""

from __future__ import annotations

from dataclasses import dataclass

from seimigrate.domain.findings import AcceptedFindings, FindingSeverity
from seimigrate.domain.kube.changes import Change
from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.node import fingerprints, observation, preflight, shapes, transforms
from seimigrate.domain.node.fingerprints import Fields
from seimigrate.domain.node.observation import NodeObservation
from seimigrate.domain.node.preflight import Blocker
from seimigrate.domain.node.record import Record
from seimigrate.domain.node.shapes import Shape
from seimigrate.domain.plan.plan import Parameters, Plan, StageName, Strategy

_GITOPS = {
    "argocd.argoproj.io/tracking-id": "Argo CD",
    "argocd.argoproj.io/instance": "Argo CD",
    "kustomize.toolkit.fluxcd.io/name": "Flux",
    "helm.toolkit.fluxcd.io/name": "Flux",
}


@dataclass(frozen=True, slots=True)
class NodePlan:
    """The plan of one node; shapes are ``None`` if the object is missing or unreadable.

    ``fields`` is the fingerprint on which a saved plan depends.
    """

    namespace: str
    name: str
    mode: str
    chain: str
    template: Shape | None
    pod: Shape | None
    stage: str
    restarts: int
    changes: tuple[Change, ...]
    blockers: tuple[Blocker, ...]
    warnings: tuple[str, ...]
    fields: Fields

    @property
    def done(self) -> bool:
        """Return whether no change and no restart is left."""
        return not self.changes and not self.restarts and self.template is Shape.ENFORCED


def plan_node(
    observed: NodeObservation, plan: Plan, strategy: Strategy, record: Record | None, *, accepted: AcceptedFindings
) -> NodePlan:
    """Return the plan of a node; ``observed.seinode`` must not be ``None``."""
    node = observed.seinode
    assert node is not None
    pending, restarts = _changes_and_restarts(observed, plan, strategy)
    template = _shape(observed.statefulset, plan.parameters)
    finished = not pending and not restarts and template is Shape.ENFORCED
    found = [] if finished else preflight.blockers(observed, plan, accepted=accepted)
    mode = observation.mode_of(node)
    return NodePlan(
        namespace=node["metadata"]["namespace"],
        name=node["metadata"]["name"],
        mode=mode.value if mode else "unknown",
        chain=node["spec"].get("chainId", ""),
        template=template,
        pod=shapes.shape_of(observed.pod["spec"], plan.parameters) if observed.pod else None,
        stage=_stage(record, pending, finished=finished),
        restarts=restarts,
        changes=pending,
        blockers=tuple(found),
        warnings=_warnings(observed, plan, accepted),
        fields=fingerprints.fingerprint(observed, pending),
    )


def changes(observed: NodeObservation, plan: Plan) -> tuple[Change, ...]:
    """Return what the cutover would still change on a node; nothing if its pod is not a SeiNode's."""
    return _changes_and_restarts(observed, plan, Strategy.STAGED)[0]


def _changes_and_restarts(view: NodeObservation, plan: Plan, strategy: Strategy) -> tuple[tuple[Change, ...], int]:
    if view.statefulset is None:
        return (), 0
    try:
        ahead = preflight.pending_changes(view, plan)
        merged = strategy is Strategy.MERGED
        writes = transforms.batches(view.statefulset, ahead.changes, plan.parameters, merged=merged)
    except shapes.NotASeiNodePod:
        return (), 0
    observed = view.pod is not None and observation.is_rollout_observed(view.statefulset)
    current = observed and observation.is_at_update_revision(view.pod or {}, view.statefulset)
    written = {stage for stage, batch in writes if any(c.kind == transforms.STATEFUL_SET for c in batch)}
    if merged:
        return ahead.changes, int(bool(written) or not current)
    first_restart = not current or bool(written - {StageName.ENFORCE})
    return ahead.changes, first_restart + (StageName.ENFORCE in written)


def _shape(statefulset: Object | None, parameters: Parameters) -> Shape | None:
    return shapes.shape_of(statefulset["spec"]["template"]["spec"], parameters) if statefulset else None


def _stage(record: Record | None, changes: tuple[Change, ...], *, finished: bool) -> str:
    if record is not None and record.unfinished:
        return record.stage
    if finished:
        return "done"
    return changes[0].stage if changes else StageName.READY


def _warnings(observed: NodeObservation, plan: Plan, accepted: AcceptedFindings) -> tuple[str, ...]:
    node = observed.seinode
    assert node is not None
    found: list[str] = []
    if observed.statefulset is not None:
        try:
            wiring = shapes.read(observed.statefulset["spec"]["template"]["spec"], plan.parameters)
            found += preflight.choose_image(node, wiring.image, plan.parameters).warnings
        except shapes.NotASeiNodePod:
            pass
    if observed.access_review is not None:
        unaccepted = observed.access_review.unaccepted(accepted)
        found += [
            f"accepted: {finding.text}" for finding in observed.access_review.unaccepted() if finding not in unaccepted
        ]
        findings = (*observed.access_review.policy, *observed.access_review.consumers)
        found += [finding.text for finding in findings if finding.severity is FindingSeverity.WARNING]
    marks = {**observation.labels(node), **(node["metadata"].get("annotations") or {})}
    for tool in sorted({tool for mark, tool in _GITOPS.items() if mark in marks}):
        found.append(f"{tool} manages this SeiNode: change the image in its source, or {tool} reverts it")
    return tuple(found)
