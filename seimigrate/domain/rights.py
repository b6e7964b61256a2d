"""What somebody must be allowed to do, and in which words people are told what of it is missing."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from seimigrate.domain.kinds import SYSTEM_NAMESPACE, Kind

_ACCOUNT = "system:serviceaccount:"
JOB = f"{_ACCOUNT}{SYSTEM_NAMESPACE}:seimigrate-apply"
"""The Job of deploy/apply, as the API server names it."""


class Where(Enum):
    """In which namespaces a right is needed."""

    NODES = "in the nodes' namespaces"
    GATES = "in the namespaces where gates are asked"
    SYSTEM = "in seimigrate's own namespace"
    TOKEN = "in the namespace of the account whose token the sidecars get"  # noqa: S105 - a place
    CLUSTER = "in the whole cluster"


@dataclass(frozen=True, slots=True)
class Right:
    """Some verbs on one resource, or on nothing of it but what has this name."""

    verbs: tuple[str, ...]
    kind: Kind
    where: Where
    subresource: str = ""
    name: str = ""

    @property
    def resource(self) -> str:
        """Give the resource with its group, as kubectl writes it: ``statefulsets.apps``, ``pods/eviction``."""
        plural, dot, group = self.kind.resource.qualified.partition(".")
        return f"{plural}/{self.subresource}{dot}{group}" if self.subresource else f"{plural}{dot}{group}"


@dataclass(frozen=True, slots=True)
class Lack:
    """One verb of a right that somebody has not got in a namespace (``""``: in all of them)."""

    verb: str
    right: Right
    namespace: str


@dataclass(frozen=True, slots=True)
class Source:
    """What gives rights: a role for each place, the file that has them, and what to type."""

    roles: Mapping[Where, str]
    file: str
    command: str


FOR_JOB = Source(
    {
        Where.NODES: "ClusterRole seimigrate-apply",
        Where.CLUSTER: "ClusterRole seimigrate-apply-cluster",
        Where.SYSTEM: "Role seimigrate-apply",
        Where.TOKEN: "Role seimigrate-apply",
    },
    "deploy/apply/rbac.yaml",
    "kubectl apply -k deploy/apply, or your copy of examples/apply",
)
FOR_GUARD = Source(
    {
        Where.NODES: "ClusterRole seimigrate-guard",
        Where.SYSTEM: "Role seimigrate-guard",
        Where.TOKEN: "Role seimigrate-guard",
    },
    "deploy/guard.yaml",
    "kubectl apply -k deploy, or your copy of examples/namespaces",
)


def source_for(user: str) -> Source:
    """Give what a run's rights come from: those of the Job from its own roles, those of people from theirs."""
    if user == JOB:
        return FOR_JOB
    account = user.removeprefix(_ACCOUNT)
    who = f"--serviceaccount {account}" if account != user else f"--user {shlex.quote(user) if user else 'YOU'}"
    places = (Where.NODES, Where.SYSTEM, Where.TOKEN, Where.CLUSTER)
    command = f"kubectl create clusterrolebinding seimigrate-operators --clusterrole seimigrate {who}"
    return Source(dict.fromkeys(places, "ClusterRole seimigrate"), "deploy/rbac.yaml", command)


def told(user: str, lacks: Sequence[Lack], source: Source) -> tuple[str, str]:
    """Give the one message that names all that a user (``""``: nobody knows who) lacks, and the hint what to type."""
    who = f"user {user}" if user else "you"
    lacks = widest(lacks)
    missing = "\n".join(f"  {line}" for line in lines(lacks))
    roles = dict.fromkeys(source.roles[lack.right.where] for lack in lacks if lack.right.where in source.roles)
    have = "has it" if len(roles) == 1 else "have it"
    given = [f"{' and '.join(roles)} of {source.file} {have}: {source.command}"] if roles else []
    if any(lack.right.where is Where.GATES for lack in lacks):
        given.append("where gates are asked, a role of your own: docs/deploy.md, Some namespaces only")
    return f"{who} may not do all that this needs, and nothing was changed; missing:\n{missing}", "; ".join(given)


def lines(lacks: Sequence[Lack]) -> list[str]:
    """Say what is missing as rules have it: verbs, the resource with its group, where, and which names alone."""
    verbs: dict[tuple[Kind, str, str, str], dict[str, None]] = {}
    for lack in lacks:
        right = lack.right
        verbs.setdefault((right.kind, right.resource, right.name, lack.namespace), {})[lack.verb] = None
    places: dict[tuple[str, Kind, str, str], list[str]] = {}
    for (kind, resource, name, namespace), each in verbs.items():
        places.setdefault((", ".join(each), kind, resource, name), []).append(namespace)
    rows = [(each, resource, _where(kind, name, there)) for (each, kind, resource, name), there in places.items()]
    first, second = (max((len(row[column]) for row in rows), default=0) for column in (0, 1))
    return [f"{each:<{first}}  {resource:<{second}}  {where}" for each, resource, where in rows]


def widest(lacks: Sequence[Lack]) -> list[Lack]:
    """Leave out what is missing in a namespace where it is missing in all of them: one rule gives both."""
    wide = {_what(lack) for lack in lacks if not lack.namespace}
    return [lack for lack in lacks if not lack.namespace or _what(lack) not in wide]


def _what(lack: Lack) -> tuple[str, str, str]:
    return lack.verb, lack.right.resource, lack.right.name


def _where(kind: Kind, name: str, namespaces: Sequence[str]) -> str:
    named = f", resourceNames: {name}" if name else ""
    if "" in namespaces:
        return ("in all namespaces" if kind.resource.namespaced else "in the whole cluster") + named
    return f"in {'namespace' if len(namespaces) == 1 else 'namespaces'} {', '.join(namespaces)}{named}"
