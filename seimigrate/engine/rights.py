"""What a run must be allowed to do, asked before it reads anything: all that is missing is named while nothing changed.

``deploy/rbac.yaml`` grants people exactly these, and what plan, status and verify read; ``deploy/apply`` the Job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from seimigrate.domain import rights
from seimigrate.domain.kinds import LEASE_NAME, RUN_NAME, SYSTEM_NAMESPACE, Kind
from seimigrate.domain.leases import GUARD_LEASE
from seimigrate.domain.rights import Lack, Right, Source, Where
from seimigrate.engine import guardjournal
from seimigrate.engine.errors import ApiError, Forbidden
from seimigrate.engine.survey import BEYOND, MONITORS

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
IDENTITY = (Right(("get",), Kind.NAMESPACE, Where.CLUSTER, name="kube-system"),)
"""What tells whether this is the cluster that a saved plan is for."""

GUARD = (
    Right(WATCH, Kind.SEI_NODE, Where.NODES),
    Right(WATCH, Kind.SEI_NODE_TASK, Where.NODES),
    Right(WATCH, Kind.SEI_NODE_WORKFLOW, Where.NODES),
    Right(WATCH, Kind.STATEFUL_SET, Where.NODES),
    Right(WATCH, Kind.POD, Where.NODES),
    Right(("get", "create"), Kind.POD, Where.NODES, subresource="portforward"),
    Right(("get",), Kind.CONFIG_MAP, Where.NODES),
    Right(("create",), Kind.CONFIG_MAP, Where.SYSTEM),
    Right(("get", "update"), Kind.CONFIG_MAP, Where.SYSTEM, name=guardjournal.NAME),
    Right(("get",), Kind.CONFIG_MAP, Where.SYSTEM, name=RUN_NAME),
    Right(("create",), Kind.LEASE, Where.SYSTEM),
    Right(("get", "update"), Kind.LEASE, Where.SYSTEM, name=GUARD_LEASE),
    Right(("get",), Kind.LEASE, Where.SYSTEM, name=LEASE_NAME),
)

GATES = (
    Right(("get",), Kind.SERVICE, Where.GATES),
    Right(("list",), Kind.POD, Where.GATES),
    Right(("get", "create"), Kind.POD, Where.GATES, subresource="portforward"),
)
"""What gates need that are asked by port-forward."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a run is about to do, as far as its rights go.

    ``namespaces`` are those of the nodes (``""``: all), ``gates`` those where gates are asked. ``account`` is namespace
    and name of the ServiceAccount whose token the run cannot do without. ``identity`` tells that its plan was saved.
    """

    namespaces: Sequence[str]
    holds: bool = True
    gates: Sequence[str] = ()
    account: tuple[str, str] | None = None
    identity: bool = False

    def rights(self) -> Iterator[Right]:
        """Give what a run needs for it."""
        yield from (*NODES, *AROUND, *SURVEY)
        yield from GATES if self.gates else ()
        yield from HOLD if self.holds else ()
        yield from IDENTITY if self.identity else ()
        yield from token_of(self.account)

    def places(self) -> Mapping[Where, Sequence[str]]:
        """Give the namespaces that each place stands for."""
        token = self.account[:1] if self.account else ()
        near = {Where.NODES: self.namespaces, Where.GATES: self.gates, Where.TOKEN: token}
        return {**near, Where.SYSTEM: (SYSTEM_NAMESPACE,), Where.CLUSTER: ("",)}


class Reviewer(Protocol):
    """Whoever can say what we may do."""

    def may(self, verb: str, kind: Kind, namespace: str, subresource: str = "", name: str = "") -> bool:
        """Tell whether the API server would let us; namespace ``""`` means all of them, name ``""`` all objects."""

    def user(self) -> str:
        """Give the name by which the API server knows us."""


def token_of(account: tuple[str, str] | None) -> Iterator[Right]:
    """Give the right to ask for an account's token, none where none is needed."""
    if account is not None:
        yield Right(("create",), Kind.SERVICE_ACCOUNT, Where.TOKEN, subresource="token", name=account[1])


def require(reviewer: Reviewer, needs: Needs) -> None:
    """Raise ``Forbidden`` naming all that a run lacks of what it needs."""
    _require(reviewer, missing(reviewer, needs.rights(), needs.places()), rights.source_for)


def require_guard(reviewer: Reviewer, namespaces: Sequence[str], account: tuple[str, str]) -> None:
    """Raise ``Forbidden`` naming all that a guard lacks; ``account`` is the one whose token the sidecars get."""
    places = {Where.NODES: namespaces, Where.SYSTEM: (SYSTEM_NAMESPACE,), Where.TOKEN: account[:1]}
    _require(reviewer, missing(reviewer, (*GUARD, *token_of(account)), places), lambda user: rights.FOR_GUARD)


def missing(reviewer: Reviewer, wanted: Iterable[Right], places: Mapping[Where, Sequence[str]]) -> Sequence[Lack]:
    """Ask for each verb of each right where it is needed; give those that we lack."""
    return [
        Lack(verb, right, namespace)
        for right in wanted
        for namespace in places[right.where]
        for verb in right.verbs
        if not reviewer.may(verb, right.kind, namespace, right.subresource, right.name)
    ]


def _require(reviewer: Reviewer, lacks: Sequence[Lack], source_for: Callable[[str], Source]) -> None:
    if lacks:
        user = _user(reviewer)
        message, hint = rights.told(user, lacks, source_for(user))
        raise Forbidden(message, hint=hint)


def _user(reviewer: Reviewer) -> str:
    try:
        return reviewer.user()
    except ApiError:  # it is what is missing that matters
        return ""
