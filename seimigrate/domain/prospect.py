"""What the cutover would do to a node: the plan's line for it, before anything is touched."""

from __future__ import annotations

from dataclasses import dataclass

from seimigrate.domain import checks, fingerprints, seen, shapes, transforms
from seimigrate.domain.changes import Change
from seimigrate.domain.checks import Blocker
from seimigrate.domain.finding import Acceptance, Severity
from seimigrate.domain.fingerprints import Fields
from seimigrate.domain.kinds import Object
from seimigrate.domain.plan import Parameters, Plan, StageName, Strategy
from seimigrate.domain.record import Record
from seimigrate.domain.seen import Seen
from seimigrate.domain.shapes import Shape

_GITOPS = {
    "argocd.argoproj.io/tracking-id": "Argo CD",
    "argocd.argoproj.io/instance": "Argo CD",
    "kustomize.toolkit.fluxcd.io/name": "Flux",
    "helm.toolkit.fluxcd.io/name": "Flux",
}


@dataclass(frozen=True, slots=True)
class Prospect:
    """One node's line in a plan; shapes are ``None`` where there is nothing that could be read.

    ``fields`` is its fingerprint, on which a saved plan depends.
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
        """Tell whether nothing is left to change, in the template or by a restart."""
        return not self.changes and not self.restarts and self.template is Shape.ENFORCED


def prospect(view: Seen, plan: Plan, strategy: Strategy, record: Record | None, *, accepted: Acceptance) -> Prospect:
    """Say what the cutover would do to a node; ``view.seinode`` is there."""
    node = view.seinode
    assert node is not None
    made, restarts = _way(view, plan, strategy)
    template = _shape(view.statefulset, plan.parameters)
    finished = not made and not restarts and template is Shape.ENFORCED
    found = [] if finished else checks.blockers(view, plan, accepted=accepted)
    mode = seen.mode_of(node)
    return Prospect(
        namespace=node["metadata"]["namespace"],
        name=node["metadata"]["name"],
        mode=mode.value if mode else "unknown",
        chain=node["spec"].get("chainId", ""),
        template=template,
        pod=shapes.shape_of(view.pod["spec"], plan.parameters) if view.pod else None,
        stage=_stage(record, made, finished=finished),
        restarts=restarts,
        changes=made,
        blockers=tuple(found),
        warnings=_warnings(view, plan, accepted),
        fields=fingerprints.take(view, made),
    )


def changes(view: Seen, plan: Plan) -> tuple[Change, ...]:
    """Give what the cutover would still change on a node; nothing where its pod is no SeiNode's."""
    return _way(view, plan, Strategy.STAGED)[0]


def _way(view: Seen, plan: Plan, strategy: Strategy) -> tuple[tuple[Change, ...], int]:
    if view.statefulset is None:
        return (), 0
    try:
        ahead = checks.outlook(view, plan)
        merged = strategy is Strategy.MERGED
        writes = transforms.batches(view.statefulset, ahead.changes, plan.parameters, merged=merged)
    except shapes.NotWired:
        return (), 0
    observed = view.pod is not None and seen.rollout_observed(view.statefulset)
    current = observed and seen.at_update_revision(view.pod or {}, view.statefulset)
    written = {stage for stage, batch in writes if any(c.kind == transforms.STATEFUL_SET for c in batch)}
    if merged:
        return ahead.changes, int(bool(written) or not current)
    first = not current or bool(written - {StageName.ENFORCE})
    return ahead.changes, first + (StageName.ENFORCE in written)


def _shape(statefulset: Object | None, parameters: Parameters) -> Shape | None:
    return shapes.shape_of(statefulset["spec"]["template"]["spec"], parameters) if statefulset else None


def _stage(record: Record | None, changes: tuple[Change, ...], *, finished: bool) -> str:
    if record is not None and record.open:
        return record.stage
    if finished:
        return "done"
    return changes[0].stage if changes else StageName.READY


def _warnings(view: Seen, plan: Plan, accepted: Acceptance) -> tuple[str, ...]:
    node = view.seinode
    assert node is not None
    found: list[str] = []
    if view.statefulset is not None:
        try:
            wiring = shapes.read(view.statefulset["spec"]["template"]["spec"], plan.parameters)
            found += checks.choose_image(node, wiring.image, plan.parameters).warnings
        except shapes.NotWired:
            pass
    if view.judgement is not None:
        refused = view.judgement.against(accepted)
        found += [f"accepted: {finding.text}" for finding in view.judgement.against() if finding not in refused]
        everything = (*view.judgement.policy, *view.judgement.consumers)
        found += [finding.text for finding in everything if finding.severity is Severity.WARNING]
    marks = {**seen.labels(node), **(node["metadata"].get("annotations") or {})}
    for tool in sorted({tool for mark, tool in _GITOPS.items() if mark in marks}):
        found.append(f"{tool} manages this SeiNode: change its image there, or it is changed back")
    return tuple(found)
