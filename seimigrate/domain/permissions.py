"""What somebody must be allowed to do, and in which words people are told what of it is missing."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from seimigrate.domain.kube.kinds import SYSTEM_NAMESPACE, Kind

_ACCOUNT = "system:serviceaccount:"
JOB = f"{_ACCOUNT}{SYSTEM_NAMESPACE}:seimigrate-apply"
"""The Job of deploy/apply, as the API server names it."""


class Scope(Enum):
    """In which namespaces a right is needed."""

    NODES = "in the nodes' namespaces"
    GATES = "in the namespaces where gates are asked"
    SYSTEM = "in seimigrate's own namespace"
    TOKEN = "in the namespace of the account whose token the sidecars get"  # noqa: S105 - a place
    CLUSTER = "in the whole cluster"


@dataclass(frozen=True, slots=True)
class Permission:
    """Some verbs on one resource, or on nothing of it but what has this name."""

    verbs: tuple[str, ...]
    kind: Kind
    scope: Scope
    subresource: str = ""
    name: str = ""

    @property
    def resource(self) -> str:
        """Give the resource with its group, as kubectl writes it: ``statefulsets.apps``, ``pods/eviction``."""
        plural, dot, group = self.kind.resource.qualified.partition(".")
        return f"{plural}/{self.subresource}{dot}{group}" if self.subresource else f"{plural}{dot}{group}"


@dataclass(frozen=True, slots=True)
class MissingPermission:
    """One verb of a right that somebody has not got in a namespace (``""``: in all of them)."""

    verb: str
    permission: Permission
    namespace: str


@dataclass(frozen=True, slots=True)
class PermissionSource:
    """What gives rights: a role for each place, the file that has them, and what to type."""

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
    """Give what a run's rights come from: those of the Job from its own roles, those of people from theirs."""
    if user == JOB:
        return FOR_JOB
    account = user.removeprefix(_ACCOUNT)
    who = f"--serviceaccount {account}" if account != user else f"--user {shlex.quote(user) if user else 'YOU'}"
    places = (Scope.NODES, Scope.SYSTEM, Scope.TOKEN, Scope.CLUSTER)
    command = f"kubectl create clusterrolebinding seimigrate-operators --clusterrole seimigrate {who}"
    return PermissionSource(dict.fromkeys(places, "ClusterRole seimigrate"), "deploy/rbac.yaml", command)


def missing_message(
    user: str, missing_permissions: Sequence[MissingPermission], source: PermissionSource
) -> tuple[str, str]:
    """Give the one message that names all that a user (``""``: nobody knows who) lacks, and the hint what to type."""
    who = f"user {user}" if user else "you"
    missing_permissions = deduplicate(missing_permissions)
    missing = "\n".join(f"  {line}" for line in lines(missing_permissions))
    roles = dict.fromkeys(
        source.roles[lack.permission.scope] for lack in missing_permissions if lack.permission.scope in source.roles
    )
    have = "has it" if len(roles) == 1 else "have it"
    given = [f"{' and '.join(roles)} of {source.file} {have}: {source.command}"] if roles else []
    if any(lack.permission.scope is Scope.GATES for lack in missing_permissions):
        given.append("where gates are asked, a role of your own: docs/deploy.md, Some namespaces only")
    return f"{who} may not do all that this needs, and nothing was changed; missing:\n{missing}", "; ".join(given)


def lines(lacks: Sequence[MissingPermission]) -> list[str]:
    """Say what is missing as rules have it: verbs, the resource with its group, where, and which names alone."""
    verbs: dict[tuple[Kind, str, str, str], dict[str, None]] = {}
    for missing in lacks:
        right = missing.permission
        verbs.setdefault((right.kind, right.resource, right.name, missing.namespace), {})[missing.verb] = None
    places: dict[tuple[str, Kind, str, str], list[str]] = {}
    for (kind, resource, name, namespace), each in verbs.items():
        places.setdefault((", ".join(each), kind, resource, name), []).append(namespace)
    rows = [(each, resource, _scope_text(kind, name, there)) for (each, kind, resource, name), there in places.items()]
    first, second = (max((len(row[column]) for row in rows), default=0) for column in (0, 1))
    return [f"{each:<{first}}  {resource:<{second}}  {where}" for each, resource, where in rows]


def deduplicate(lacks: Sequence[MissingPermission]) -> list[MissingPermission]:
    """Leave out what is missing in a namespace where it is missing in all of them: one rule gives both."""
    wide = {_permission_text(missing) for missing in lacks if not missing.namespace}
    return [missing for missing in lacks if not missing.namespace or _permission_text(missing) not in wide]


def _permission_text(missing: MissingPermission) -> tuple[str, str, str]:
    return missing.verb, missing.permission.resource, missing.permission.name


def _scope_text(kind: Kind, name: str, namespaces: Sequence[str]) -> str:
    named = f", resourceNames: {name}" if name else ""
    if "" in namespaces:
        return ("in all namespaces" if kind.resource.namespaced else "in the whole cluster") + named
    return f"in {'namespace' if len(namespaces) == 1 else 'namespaces'} {', '.join(namespaces)}{named}"
