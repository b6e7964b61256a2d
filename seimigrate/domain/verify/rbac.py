"""Who may create ``seinodetasks``, and so is let through by the proxy, as RBAC says.

kube-rbac-proxy asks for the verb of the HTTP method on ``seinodetasks`` in group ``sei.io``, with the node's name and
namespace (upstream facts). Rules are read as the RBAC authorizer does, aggregated ones by what they are made of.
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
"""Whoever is in this group may do everything, whatever RBAC says."""
_EVERYBODY = ("group:system:authenticated", "group:system:unauthenticated", "user:system:anonymous")
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
    """What a role gives: everything at all, or on some nodes (empty: any); ``through`` says by what it was made of."""

    everything: bool
    nodes: tuple[str, ...]
    via: str


def findings(rules: Rules, nodes: Iterable[tuple[str, str]], expected: Iterable[str]) -> Iterator[Finding]:
    """Give those who may create tasks for one of the nodes (namespace and name) and are not expected to."""
    known = {ADMINISTRATORS, *OURS, *expected}
    there: dict[str, list[str]] = {}
    for namespace, name in nodes:
        there.setdefault(namespace, []).append(name)
    wide = {role["metadata"]["name"]: role for role in rules.cluster_roles}
    near = {(role["metadata"]["namespace"], role["metadata"]["name"]): role for role in rules.roles}
    for binding in (*rules.cluster_bindings, *rules.bindings):
        namespace = binding["metadata"].get("namespace", "")
        if namespace and namespace not in there:
            continue
        reference = binding["roleRef"]
        role = (
            wide.get(reference["name"])
            if reference["kind"] == "ClusterRole"
            else near.get((namespace, reference["name"]))
        )
        leave = _grant_of(role, wide) if role is not None else None
        names = there.get(namespace, []) if namespace else [name for each in there.values() for name in each]
        if leave is None or (leave.nodes and not set(leave.nodes) & set(names)):
            continue
        for subject in binding.get("subjects") or ():
            who = _who(subject, namespace)
            if who not in known:
                yield _finding(binding, reference, leave, who, namespace)


def _finding(binding: Object, reference: Mapping[str, str], leave: _Grant, who: str, namespace: str) -> Finding:
    about = f"{binding['kind']} {f'{namespace}/' if namespace else ''}{binding['metadata']['name']}"
    which = f"nodes {', '.join(leave.nodes)}" if leave.nodes else "any node"
    what = f"lets {who} create tasks on {which}{f' of namespace {namespace}' if namespace else ''}"
    where = f"roleRef {reference['kind']} {reference['name']}{leave.via}"
    if who in _EVERYBODY or who == _ACCOUNTS or who.startswith(f"{_ACCOUNTS}:"):
        code, severity = "tasks-creatable-by-anyone", FindingSeverity.ERROR
    elif leave.everything:
        code, severity = "tasks-administrator", FindingSeverity.WARNING
    else:
        code, severity = "tasks-unexpected", FindingSeverity.ERROR
    remedy = "take it away, or expect it: --set access.accounts=[...]"
    return Finding(code, severity, about, what, remedy, field=where)


def _who(subject: Mapping[str, str], namespace: str) -> str:
    kind, name = subject["kind"], subject["name"]
    if kind == "ServiceAccount":
        return f"system:serviceaccount:{subject.get('namespace', namespace)}:{name}"
    return name if name.startswith("system:serviceaccount:") else f"{kind.lower()}:{name}"


def _grant_of(role: Object, wide: Mapping[str, Object]) -> _Grant | None:
    """Give what a role lets one do with tasks, ``None`` if nothing."""
    own = _by_rules(role.get("rules") or (), "")
    chosen = [selectors.parse(each) for each in (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ()]
    for other in wide.values():
        if other is not role and any(each.matches(labels(other)) for each in chosen):
            part = _by_rules(other.get("rules") or (), f", into which {other['metadata']['name']} is aggregated")
            if part is not None:
                return part
    return own


def _by_rules(rules: Iterable[Mapping[str, Sequence[str]]], through: str) -> _Grant | None:
    found = [rule for rule in rules if _has(rule, "verbs", "create") and _has(rule, "apiGroups", "sei.io")]
    found = [rule for rule in found if _has(rule, "resources", "seinodetasks")]
    if not found:
        return None
    everything = any(all("*" in rule.get(key, ()) for key in ("verbs", "apiGroups", "resources")) for rule in found)
    limited = all(rule.get("resourceNames") for rule in found)
    nodes = sorted({name for rule in found for name in rule.get("resourceNames") or ()}) if limited else []
    return _Grant(everything, tuple(nodes), through)


def _has(rule: Mapping[str, Sequence[str]], key: str, wanted: str) -> bool:
    there = rule.get(key) or ()
    return wanted in there or "*" in there
