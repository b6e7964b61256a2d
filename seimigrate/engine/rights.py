"""What a run must be allowed to do, asked before it does anything: a missing rule is named while nothing has changed.

``deploy/rbac.yaml`` grants people exactly these, and what plan, status and verify read; ``deploy/apply`` the Job.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from seimigrate.domain.kinds import SYSTEM_NAMESPACE, Kind
from seimigrate.engine.errors import Forbidden
from seimigrate.engine.survey import BEYOND, MONITORS


class Where(Enum):
    """In which namespaces a right is needed."""

    NODES = "in the nodes' namespaces"
    GATES = "in the namespaces where gates are asked"
    SYSTEM = "in seimigrate's own namespace"
    CLUSTER = "in the whole cluster"


@dataclass(frozen=True, slots=True)
class Right:
    """Some verbs on one resource."""

    verbs: tuple[str, ...]
    kind: Kind
    where: Where
    subresource: str = ""


LOOK = ("get", "list", "watch")
WATCH = ("list", "watch")
KEEP = ("get", "create", "update")

NODES = (
    Right(LOOK, Kind.SEI_NODE, Where.NODES),
    Right(WATCH, Kind.SEI_NODE_TASK, Where.NODES),
    Right(WATCH, Kind.SEI_NODE_WORKFLOW, Where.NODES),
    Right(WATCH, Kind.DISRUPTION_BUDGET, Where.NODES),
    Right((*LOOK, "patch"), Kind.STATEFUL_SET, Where.NODES),
    Right((*LOOK, "patch"), Kind.SERVICE, Where.NODES),
    Right((*LOOK, "patch", "delete"), Kind.POD, Where.NODES),
    Right(("create",), Kind.POD, Where.NODES, subresource="eviction"),
    Right(("get", "create"), Kind.POD, Where.NODES, subresource="portforward"),
    Right(("list", *KEEP), Kind.CONFIG_MAP, Where.NODES),
    Right(("create",), Kind.EVENT, Where.NODES),
)
SURVEY = (
    Right(("list",), Kind.NAMESPACE, Where.CLUSTER),
    Right(("list",), Kind.NETWORK_POLICY, Where.CLUSTER),
    Right(("list",), Kind.POD, Where.CLUSTER),
    *(Right(("list",), kind, Where.CLUSTER) for kind in (*BEYOND, *MONITORS)),
)
"""What it takes to judge who reaches the nodes, and who counts on them; asked also of kinds that are not there."""

AROUND = (
    Right(LOOK, Kind.NODE, Where.CLUSTER),
    Right(WATCH, Kind.DEPLOYMENT, Where.CLUSTER),
    Right(("list", "watch", *KEEP), Kind.CONFIG_MAP, Where.SYSTEM),
    Right(KEEP, Kind.LEASE, Where.SYSTEM),
)
HOLD = (
    Right((*LOOK, "create", "update"), Kind.ADMISSION_POLICY, Where.CLUSTER),
    Right((*LOOK, "create", "update"), Kind.ADMISSION_BINDING, Where.CLUSTER),
)

GUARD = (
    Right(WATCH, Kind.SEI_NODE, Where.NODES),
    Right(WATCH, Kind.SEI_NODE_TASK, Where.NODES),
    Right(WATCH, Kind.SEI_NODE_WORKFLOW, Where.NODES),
    Right(WATCH, Kind.STATEFUL_SET, Where.NODES),
    Right(WATCH, Kind.POD, Where.NODES),
    Right(("get", "create"), Kind.POD, Where.NODES, subresource="portforward"),
    Right(("get",), Kind.CONFIG_MAP, Where.NODES),
    Right(("create",), Kind.CONFIG_MAP, Where.SYSTEM),
    Right(("create",), Kind.LEASE, Where.SYSTEM),
)
"""What a guard needs; to change its Lease and its journal, too, but by their names, which is not asked here."""

GATES = (
    Right(("get",), Kind.SERVICE, Where.GATES),
    Right(("list",), Kind.POD, Where.GATES),
    Right(("get", "create"), Kind.POD, Where.GATES, subresource="portforward"),
)
"""What gates need that are asked by port-forward."""


class Reviewer(Protocol):
    """Whoever can say what we may do."""

    def may(self, verb: str, kind: Kind, namespace: str, subresource: str = "") -> bool:
        """Tell whether the API server would let us; namespace ``""`` means all of them."""


def missing(
    reviewer: Reviewer, rights: Sequence[Right], namespaces: Sequence[str], gates: Sequence[str] = ()
) -> Iterator[str]:
    """Name each verb on each resource that we lack, as one would write it into a Role.

    ``namespaces`` are those of the nodes, ``gates`` those where gates are asked.
    """
    where = {Where.NODES: namespaces, Where.GATES: gates, Where.SYSTEM: (SYSTEM_NAMESPACE,), Where.CLUSTER: ("",)}
    for right in rights:
        places = where[right.where]
        resource = right.kind.resource.qualified
        if right.subresource:
            plural, dot, group = resource.partition(".")
            resource = f"{plural}/{right.subresource}{dot}{group}"
        for place in places:
            for verb in right.verbs:
                if not reviewer.may(verb, right.kind, place, right.subresource):
                    scope = f'in namespace "{place}"' if place else "in all namespaces"
                    yield f'verb "{verb}" on resource "{resource}" {scope}'


def require_guard(reviewer: Reviewer, namespaces: Sequence[str]) -> None:
    """Raise ``Forbidden`` naming every right that a guard lacks."""
    lacking = list(missing(reviewer, GUARD, namespaces))
    if lacking:
        raise Forbidden(
            "a guard may not do what it needs; missing: " + "; ".join(lacking),
            hint="deploy/guard.yaml has its ClusterRole and Role: kubectl apply -k deploy",
        )


def require(reviewer: Reviewer, namespaces: Sequence[str], *, holds: bool, gates: Sequence[str] = ()) -> None:
    """Raise ``Forbidden`` naming every right that we lack; nothing was changed by then."""
    wanted = [*NODES, *AROUND, *SURVEY, *GATES, *(HOLD if holds else ())]
    lacking = list(missing(reviewer, wanted, namespaces, gates))
    if lacking:
        raise Forbidden(
            "you may not do what this needs; missing: " + "; ".join(lacking),
            hint="nothing was changed; bind ClusterRole seimigrate of deploy/rbac.yaml to your user, "
            "or for the Job: kubectl apply -k deploy/apply",
        )
