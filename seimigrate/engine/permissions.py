"""What a run must be allowed to do, asked before it reads anything: all that is missing is named while nothing changed.

``deploy/rbac.yaml`` grants people exactly these, and what plan, status and verify read; ``deploy/apply`` the Job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from seimigrate.domain import permissions
from seimigrate.domain.kube.kinds import LEASE_NAME, RUN_NAME, SYSTEM_NAMESPACE, Kind
from seimigrate.domain.kube.leases import GUARD_LEASE
from seimigrate.domain.permissions import MissingPermission, Permission, PermissionSource, Scope
from seimigrate.engine import guard_journal
from seimigrate.engine.access_review import MONITORS, UNSUPPORTED_POLICY_KINDS
from seimigrate.engine.errors import ApiError, Forbidden

READ_VERBS = ("get", "list", "watch")
WATCH_VERBS = ("list", "watch")
UPSERT_VERBS = ("get", "create", "update")

NODE_PERMISSIONS = (
    Permission(READ_VERBS, Kind.SEI_NODE, Scope.NODES),
    Permission(WATCH_VERBS, Kind.SEI_NODE_TASK, Scope.NODES),
    Permission(WATCH_VERBS, Kind.SEI_NODE_WORKFLOW, Scope.NODES),
    Permission(WATCH_VERBS, Kind.DISRUPTION_BUDGET, Scope.NODES),
    Permission((*READ_VERBS, "patch"), Kind.STATEFUL_SET, Scope.NODES),
    Permission((*READ_VERBS, "patch"), Kind.SERVICE, Scope.NODES),
    Permission((*READ_VERBS, "patch", "delete"), Kind.POD, Scope.NODES),
    Permission(("create",), Kind.POD, Scope.NODES, subresource="eviction"),
    Permission(("get", "create"), Kind.POD, Scope.NODES, subresource="portforward"),
    Permission(("list", *UPSERT_VERBS), Kind.CONFIG_MAP, Scope.NODES),
    Permission(("create",), Kind.EVENT, Scope.NODES),
)
ACCESS_REVIEW_PERMISSIONS = (
    Permission(("list",), Kind.NAMESPACE, Scope.CLUSTER),
    Permission(("list",), Kind.NETWORK_POLICY, Scope.CLUSTER),
    Permission(("list",), Kind.POD, Scope.CLUSTER),
    *(Permission(("list",), kind, Scope.CLUSTER) for kind in (*UNSUPPORTED_POLICY_KINDS, *MONITORS)),
)
"""What it takes to judge who reaches the nodes, and who counts on them; asked also of kinds that are not there."""

CLUSTER_PERMISSIONS = (
    Permission(READ_VERBS, Kind.NODE, Scope.CLUSTER),
    Permission(WATCH_VERBS, Kind.DEPLOYMENT, Scope.CLUSTER),
    Permission(("list", "watch", *UPSERT_VERBS), Kind.CONFIG_MAP, Scope.SYSTEM),
    Permission(UPSERT_VERBS, Kind.LEASE, Scope.SYSTEM),
)
HOLD_PERMISSIONS = (
    Permission((*READ_VERBS, "create", "update"), Kind.ADMISSION_POLICY, Scope.CLUSTER),
    Permission((*READ_VERBS, "create", "update"), Kind.ADMISSION_BINDING, Scope.CLUSTER),
)
CLUSTER_ID_PERMISSION = (Permission(("get",), Kind.NAMESPACE, Scope.CLUSTER, name="kube-system"),)
"""What tells whether this is the cluster that a saved plan is for."""

GUARD_PERMISSIONS = (
    Permission(WATCH_VERBS, Kind.SEI_NODE, Scope.NODES),
    Permission(WATCH_VERBS, Kind.SEI_NODE_TASK, Scope.NODES),
    Permission(WATCH_VERBS, Kind.SEI_NODE_WORKFLOW, Scope.NODES),
    Permission(WATCH_VERBS, Kind.STATEFUL_SET, Scope.NODES),
    Permission(WATCH_VERBS, Kind.POD, Scope.NODES),
    Permission(("get", "create"), Kind.POD, Scope.NODES, subresource="portforward"),
    Permission(("get",), Kind.CONFIG_MAP, Scope.NODES),
    Permission(("create",), Kind.CONFIG_MAP, Scope.SYSTEM),
    Permission(("get", "update"), Kind.CONFIG_MAP, Scope.SYSTEM, name=guard_journal.NAME),
    Permission(("get",), Kind.CONFIG_MAP, Scope.SYSTEM, name=RUN_NAME),
    Permission(("create",), Kind.LEASE, Scope.SYSTEM),
    Permission(("get", "update"), Kind.LEASE, Scope.SYSTEM, name=GUARD_LEASE),
    Permission(("get",), Kind.LEASE, Scope.SYSTEM, name=LEASE_NAME),
)

GATE_PERMISSIONS = (
    Permission(("get",), Kind.SERVICE, Scope.GATES),
    Permission(("list",), Kind.POD, Scope.GATES),
    Permission(("get", "create"), Kind.POD, Scope.GATES, subresource="portforward"),
)
"""What gates need that are asked by port-forward."""


@dataclass(frozen=True, slots=True)
class RequiredPermissions:
    """What a run is about to do, as far as its rights go.

    ``namespaces`` are those of the nodes (``""``: all), ``gates`` those where gates are asked. ``account`` is namespace
    and name of the ServiceAccount whose token the run cannot do without. ``identity`` tells that its plan was saved.
    """

    namespaces: Sequence[str]
    manages_hold: bool = True
    gates: Sequence[str] = ()
    account: tuple[str, str] | None = None
    identity: bool = False

    def permissions(self) -> Iterator[Permission]:
        """Give what a run needs for it."""
        yield from (*NODE_PERMISSIONS, *CLUSTER_PERMISSIONS, *ACCESS_REVIEW_PERMISSIONS)
        yield from GATE_PERMISSIONS if self.gates else ()
        yield from HOLD_PERMISSIONS if self.manages_hold else ()
        yield from CLUSTER_ID_PERMISSION if self.identity else ()
        yield from token_of(self.account)

    def scopes(self) -> Mapping[Scope, Sequence[str]]:
        """Give the namespaces that each place stands for."""
        token = self.account[:1] if self.account else ()
        near = {Scope.NODES: self.namespaces, Scope.GATES: self.gates, Scope.TOKEN: token}
        return {**near, Scope.SYSTEM: (SYSTEM_NAMESPACE,), Scope.CLUSTER: ("",)}


class Reviewer(Protocol):
    """Whoever can say what we may do."""

    def can(self, verb: str, kind: Kind, namespace: str, subresource: str = "", name: str = "") -> bool:
        """Tell whether the API server would let us; namespace ``""`` means all of them, name ``""`` all objects."""

    def user(self) -> str:
        """Give the name by which the API server knows us."""


def token_of(account: tuple[str, str] | None) -> Iterator[Permission]:
    """Give the right to ask for an account's token, none where none is needed."""
    if account is not None:
        yield Permission(("create",), Kind.SERVICE_ACCOUNT, Scope.TOKEN, subresource="token", name=account[1])


def require(reviewer: Reviewer, needs: RequiredPermissions) -> None:
    """Raise ``Forbidden`` naming all that a run lacks of what it needs."""
    _require(reviewer, missing(reviewer, needs.permissions(), needs.scopes()), permissions.source_for)


def require_guard(reviewer: Reviewer, namespaces: Sequence[str], account: tuple[str, str]) -> None:
    """Raise ``Forbidden`` naming all that a guard lacks; ``account`` is the one whose token the sidecars get."""
    places = {Scope.NODES: namespaces, Scope.SYSTEM: (SYSTEM_NAMESPACE,), Scope.TOKEN: account[:1]}
    _require(
        reviewer,
        missing(reviewer, (*GUARD_PERMISSIONS, *token_of(account)), places),
        lambda user: permissions.FOR_GUARD,
    )


def missing(
    reviewer: Reviewer, wanted: Iterable[Permission], scopes: Mapping[Scope, Sequence[str]]
) -> Sequence[MissingPermission]:
    """Ask for each verb of each right where it is needed; give those that we lack."""
    return [
        MissingPermission(verb, right, namespace)
        for right in wanted
        for namespace in scopes[right.scope]
        for verb in right.verbs
        if not reviewer.can(verb, right.kind, namespace, right.subresource, right.name)
    ]


def _require(
    reviewer: Reviewer, lacks: Sequence[MissingPermission], source_for: Callable[[str], PermissionSource]
) -> None:
    if lacks:
        user = _user(reviewer)
        message, hint = permissions.missing_message(user, lacks, source_for(user))
        raise Forbidden(message, hint=hint)


def _user(reviewer: Reviewer) -> str:
    try:
        return reviewer.user()
    except ApiError:  # it is what is missing that matters
        return ""
