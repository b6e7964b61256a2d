"""The subjects that RBAC allows to create ``seinodetasks``, which the proxy therefore admits.

kube-rbac-proxy reviews the verb of the HTTP method on ``seinodetasks`` in group ``sei.io``, with the node's name and
namespace (upstream facts). Rules are evaluated as by the RBAC authorizer, aggregated roles by their source roles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from seimigrate.domain.findings import Finding, FindingSeverity
from seimigrate.domain.kube import selectors
from seimigrate.domain.kube.kinds import SYSTEM_NAMESPACE, Object
from seimigrate.domain.node.observation import labels

OURS = tuple(f"system:serviceaccount:{SYSTEM_NAMESPACE}:{name}" for name in ("seimigrate", "seimigrate-guard"))
ADMINISTRATORS = "group:system:masters"
"""Members of this group have all permissions, regardless of RBAC."""
_ANY_USER = ("group:system:authenticated", "group:system:unauthenticated", "user:system:anonymous")
_ACCOUNTS = "group:system:serviceaccounts"


@dataclass(frozen=True, slots=True)
class Rules:
    """The RBAC objects of a cluster."""

    cluster_roles: Sequence[Object]
    roles: Sequence[Object]
    cluster_bindings: Sequence[Object]
    bindings: Sequence[Object]


@dataclass(frozen=True, slots=True)
class _Grant:
    """A role's grant: all permissions, or tasks on ``nodes`` (empty: any); ``via`` names an aggregated source role."""

    everything: bool
    nodes: tuple[str, ...]
    via: str


def findings(rules: Rules, nodes: Iterable[tuple[str, str]], expected: Iterable[str]) -> Iterator[Finding]:
    """Yield the unexpected subjects that may create tasks for one of the nodes (namespace and name)."""
    accepted = {ADMINISTRATORS, *OURS, *expected}
    names_by_namespace: dict[str, list[str]] = {}
    for namespace, name in nodes:
        names_by_namespace.setdefault(namespace, []).append(name)
    cluster_roles = {role["metadata"]["name"]: role for role in rules.cluster_roles}
    roles = {(role["metadata"]["namespace"], role["metadata"]["name"]): role for role in rules.roles}
    for binding in (*rules.cluster_bindings, *rules.bindings):
        namespace = binding["metadata"].get("namespace", "")
        if namespace and namespace not in names_by_namespace:
            continue
        reference = binding["roleRef"]
        role = (
            cluster_roles.get(reference["name"])
            if reference["kind"] == "ClusterRole"
            else roles.get((namespace, reference["name"]))
        )
        grant = _grant_of(role, cluster_roles) if role is not None else None
        names = (
            names_by_namespace.get(namespace, [])
            if namespace
            else [name for names in names_by_namespace.values() for name in names]
        )
        if grant is None or (grant.nodes and not set(grant.nodes) & set(names)):
            continue
        for subject in binding.get("subjects") or ():
            name = _subject_name(subject, namespace)
            if name not in accepted:
                yield _finding(binding, reference, grant, name, namespace)


def _finding(binding: Object, reference: Mapping[str, str], grant: _Grant, subject: str, namespace: str) -> Finding:
    about = f"{binding['kind']} {f'{namespace}/' if namespace else ''}{binding['metadata']['name']}"
    scope = f"nodes {', '.join(grant.nodes)}" if grant.nodes else "any node"
    what = f"allows {subject} to create tasks on {scope}{f' of namespace {namespace}' if namespace else ''}"
    field = f"roleRef {reference['kind']} {reference['name']}{grant.via}"
    if subject in _ANY_USER or subject == _ACCOUNTS or subject.startswith(f"{_ACCOUNTS}:"):
        code, severity = "tasks-creatable-by-anyone", FindingSeverity.ERROR
    elif grant.everything:
        code, severity = "tasks-administrator", FindingSeverity.WARNING
    else:
        code, severity = "tasks-unexpected", FindingSeverity.ERROR
    remedy = "remove the permission, or permit the account: --set access.accounts=[...]"
    return Finding(code, severity, about, what, remedy, field=field)


def _subject_name(subject: Mapping[str, str], namespace: str) -> str:
    kind, name = subject["kind"], subject["name"]
    if kind == "ServiceAccount":
        return f"system:serviceaccount:{subject.get('namespace', namespace)}:{name}"
    return name if name.startswith("system:serviceaccount:") else f"{kind.lower()}:{name}"


def _grant_of(role: Object, cluster_roles: Mapping[str, Object]) -> _Grant | None:
    """Return a role's grant on tasks, ``None`` without one."""
    own = _by_rules(role.get("rules") or (), "")
    rule = role.get("aggregationRule") or {}
    aggregated = [selectors.parse(selector) for selector in rule.get("clusterRoleSelectors") or ()]
    for other in cluster_roles.values():
        if other is not role and any(selector.matches(labels(other)) for selector in aggregated):
            grant = _by_rules(other.get("rules") or (), f", which aggregates {other['metadata']['name']}")
            if grant is not None:
                return grant
    return own


def _by_rules(rules: Iterable[Mapping[str, Sequence[str]]], via: str) -> _Grant | None:
    matching = [rule for rule in rules if _has(rule, "verbs", "create") and _has(rule, "apiGroups", "sei.io")]
    matching = [rule for rule in matching if _has(rule, "resources", "seinodetasks")]
    if not matching:
        return None
    everything = any(all("*" in rule.get(key, ()) for key in ("verbs", "apiGroups", "resources")) for rule in matching)
    limited = all(rule.get("resourceNames") for rule in matching)
    nodes = sorted({name for rule in matching for name in rule.get("resourceNames") or ()}) if limited else []
    return _Grant(everything, tuple(nodes), via)


def _has(rule: Mapping[str, Sequence[str]], key: str, wanted: str) -> bool:
    values = rule.get(key) or ()
    return wanted in values or "*" in values
