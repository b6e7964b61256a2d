"""The permissions that a command needs, and the message about missing ones."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from seimigrate.domain.kube.kinds import SYSTEM_NAMESPACE, Kind

_ACCOUNT = "system:serviceaccount:"
JOB = f"{_ACCOUNT}{SYSTEM_NAMESPACE}:seimigrate-apply"
"""The user name of the Job of deploy/apply."""


class Scope(Enum):
    """The namespaces in which a permission is needed."""

    NODES = "in the nodes' namespaces"
    GATES = "in the namespaces where gates are queried"
    SYSTEM = "in seimigrate's own namespace"
    TOKEN = "in the namespace of the account whose token is sent to the sidecars"  # noqa: S105 - a scope
    CLUSTER = "in the whole cluster"


@dataclass(frozen=True, slots=True)
class Permission:
    """Verbs on one resource, limited to one object if ``name`` is set."""

    verbs: tuple[str, ...]
    kind: Kind
    scope: Scope
    subresource: str = ""
    name: str = ""

    @property
    def resource(self) -> str:
        """Return the resource with its group in kubectl's notation: ``statefulsets.apps``, ``pods/eviction``."""
        plural, dot, group = self.kind.resource.qualified.partition(".")
        return f"{plural}/{self.subresource}{dot}{group}" if self.subresource else f"{plural}{dot}{group}"


@dataclass(frozen=True, slots=True)
class MissingPermission:
    """One missing verb of a permission in a namespace (``""``: in all namespaces)."""

    verb: str
    permission: Permission
    namespace: str


@dataclass(frozen=True, slots=True)
class PermissionSource:
    """The source of permissions: the role per scope, the file with the roles, and the command to grant them."""

    roles: Mapping[Scope, str]
    file: str
    command: str


FOR_JOB = PermissionSource(
    {
        Scope.NODES: "ClusterRole seimigrate-apply",
        Scope.CLUSTER: "ClusterRole seimigrate-apply-cluster",
        Scope.SYSTEM: "Role seimigrate-apply",
        Scope.TOKEN: "Role seimigrate-apply",
    },
    "deploy/apply/rbac.yaml",
    "kubectl apply -k deploy/apply, or your copy of examples/apply",
)
FOR_GUARD = PermissionSource(
    {
        Scope.NODES: "ClusterRole seimigrate-guard",
        Scope.SYSTEM: "Role seimigrate-guard",
        Scope.TOKEN: "Role seimigrate-guard",
    },
    "deploy/guard.yaml",
    "kubectl apply -k deploy, or your copy of examples/namespaces",
)


def source_for(user: str) -> PermissionSource:
    """Return the source of a user's permissions: the Job's own roles, or the operators' ClusterRole."""
    if user == JOB:
        return FOR_JOB
    account = user.removeprefix(_ACCOUNT)
    subject = f"--serviceaccount {account}" if account != user else f"--user {shlex.quote(user) if user else 'YOU'}"
    scopes = (Scope.NODES, Scope.SYSTEM, Scope.TOKEN, Scope.CLUSTER)
    command = f"kubectl create clusterrolebinding seimigrate-operators --clusterrole seimigrate {subject}"
    return PermissionSource(dict.fromkeys(scopes, "ClusterRole seimigrate"), "deploy/rbac.yaml", command)


def missing_message(
    user: str, missing_permissions: Sequence[MissingPermission], source: PermissionSource
) -> tuple[str, str]:
    """Return the message with all missing permissions of a user (``""``: unknown), and the hint."""
    subject = f"user {user} lacks" if user else "you lack"
    missing_permissions = deduplicate(missing_permissions)
    missing = "\n".join(f"  {line}" for line in lines(missing_permissions))
    roles = dict.fromkeys(
        source.roles[lack.permission.scope] for lack in missing_permissions if lack.permission.scope in source.roles
    )
    grant = "grants" if len(roles) == 1 else "grant"
    hints = [f"{' and '.join(roles)} of {source.file} {grant} them: {source.command}"] if roles else []
    if any(lack.permission.scope is Scope.GATES for lack in missing_permissions):
        hints.append("where gates are queried, create a role: docs/deploy.md, Some namespaces only")
    return f"{subject} permissions; nothing was changed. Missing:\n{missing}", "; ".join(hints)


def lines(lacks: Sequence[MissingPermission]) -> list[str]:
    """Return missing permissions in the form of rules: verbs, resource with group, scope and resource names."""
    verbs: dict[tuple[Kind, str, str, str], dict[str, None]] = {}
    for missing in lacks:
        permission = missing.permission
        key = (permission.kind, permission.resource, permission.name, missing.namespace)
        verbs.setdefault(key, {})[missing.verb] = None
    scopes: dict[tuple[str, Kind, str, str], list[str]] = {}
    for (kind, resource, name, namespace), names in verbs.items():
        scopes.setdefault((", ".join(names), kind, resource, name), []).append(namespace)
    rows = [(verb, resource, _scope_text(kind, name, where)) for (verb, kind, resource, name), where in scopes.items()]
    first, second = (max((len(row[column]) for row in rows), default=0) for column in (0, 1))
    return [f"{verb:<{first}}  {resource:<{second}}  {where}" for verb, resource, where in rows]


def deduplicate(lacks: Sequence[MissingPermission]) -> list[MissingPermission]:
    """Return the permissions without those of one namespace that are also missing in all namespaces."""
    in_all = {_permission_text(missing) for missing in lacks if not missing.namespace}
    return [missing for missing in lacks if not missing.namespace or _permission_text(missing) not in in_all]


def _permission_text(missing: MissingPermission) -> tuple[str, str, str]:
    return missing.verb, missing.permission.resource, missing.permission.name


def _scope_text(kind: Kind, name: str, namespaces: Sequence[str]) -> str:
    named = f", resourceNames: {name}" if name else ""
    if "" in namespaces:
        return ("in all namespaces" if kind.resource.namespaced else "in the whole cluster") + named
    return f"in {'namespace' if len(namespaces) == 1 else 'namespaces'} {', '.join(namespaces)}{named}"
