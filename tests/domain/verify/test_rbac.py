"""Subjects that may create tasks through roles, bindings, wildcards and aggregation; expected ones are not reported."""

from __future__ import annotations

from typing import Any

import pytest

from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.verify import rbac
from seimigrate.domain.verify.rbac import Rules

CREATE = {"apiGroups": ["sei.io"], "resources": ["seinodetasks"], "verbs": ["create"]}
EVERYTHING = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
BOB = {"kind": "User", "name": "bob"}
ROBOT = {"kind": "ServiceAccount", "namespace": "ci", "name": "robot"}


def role(*rules: Object, name: str = "r", **more: Any) -> Object:
    return {
        "kind": "ClusterRole",
        "metadata": {"name": name, "labels": more.pop("labels", {})},
        "rules": [*rules],
        **more,
    }


def binding(*subjects: Object, to: str = "r", namespace: str = "", kind: str = "ClusterRole") -> Object:
    meta = {"name": "b"} | ({"namespace": namespace} if namespace else {})
    binding_kind = "RoleBinding" if namespace else "ClusterRoleBinding"
    return {"kind": binding_kind, "metadata": meta, "roleRef": {"kind": kind, "name": to}, "subjects": [*subjects]}


def codes_and_subjects(rules: Rules, *expected: str) -> list[tuple[str, str]]:
    return [(each.code, each.message.split()[1]) for each in rbac.findings(rules, [("sei", "node-0")], expected)]


def rules_with(bound_role: Object, role_binding: Object, *more: Object) -> Rules:
    namespaced = bool(role_binding["metadata"].get("namespace"))
    return Rules([bound_role, *more], [], [] if namespaced else [role_binding], [role_binding] if namespaced else [])


@pytest.mark.parametrize(
    "rule",
    [CREATE, CREATE | {"verbs": ["*"]}, CREATE | {"apiGroups": ["*"]}, CREATE | {"resources": ["*"]},
     CREATE | {"resourceNames": ["node-0"]}],
)  # fmt: skip
def test_unexpected_subject_is_found_for_each_matching_rule(rule: Object) -> None:
    assert codes_and_subjects(rules_with(role(rule), binding(BOB))) == [("tasks-unexpected", "user:bob")]
    assert codes_and_subjects(rules_with(role(rule), binding(BOB, namespace="sei"))) == [
        ("tasks-unexpected", "user:bob")
    ]
    assert codes_and_subjects(rules_with(role(rule), binding(BOB)), "user:bob") == []


@pytest.mark.parametrize(
    "rule",
    [CREATE | {"verbs": ["get", "list"]}, CREATE | {"resources": ["seinodes"]}, CREATE | {"apiGroups": [""]},
     CREATE | {"resources": ["seinodetasks/status"]}, CREATE | {"resourceNames": ["node-1"]},
     {"nonResourceURLs": ["*"], "verbs": ["*"]}],
)  # fmt: skip
def test_rule_without_create_for_tasks_of_node_is_ignored(rule: Object) -> None:
    assert codes_and_subjects(rules_with(role(rule), binding(BOB))) == []


def test_binding_of_other_namespace_or_missing_role_is_ignored() -> None:
    assert codes_and_subjects(rules_with(role(CREATE), binding(BOB, namespace="other"))) == []
    assert codes_and_subjects(rules_with(role(CREATE), binding(BOB, to="absent"))) == []


def test_role_counts_only_in_its_namespace() -> None:
    namespaced = role(CREATE) | {"kind": "Role", "metadata": {"name": "r", "namespace": "sei"}}
    other_namespace = role(CREATE) | {"kind": "Role", "metadata": {"name": "r", "namespace": "other"}}
    bound = binding(ROBOT, namespace="sei", kind="Role")
    assert codes_and_subjects(Rules([], [namespaced], [], [bound])) == [
        ("tasks-unexpected", "system:serviceaccount:ci:robot")
    ]
    assert codes_and_subjects(Rules([], [other_namespace], [], [bound])) == []


def test_aggregated_cluster_role_is_followed_and_named() -> None:
    aggregated = role(CREATE, name="task-editor", labels={"to-edit": "true"})
    selectors = {"clusterRoleSelectors": [{"matchLabels": {"to-edit": "true"}}]}
    edit = role(name="edit", aggregationRule=selectors)
    rules = rules_with(edit, binding(ROBOT, to="edit", namespace="sei"), aggregated)
    [finding] = rbac.findings(rules, [("sei", "node-0")], ())
    assert finding.field == "roleRef ClusterRole edit, which aggregates task-editor"
    not_aggregated = role(CREATE, name="task-editor", labels={"to-edit": "false"})
    assert codes_and_subjects(rules_with(edit, binding(ROBOT, to="edit", namespace="sei"), not_aggregated)) == []


@pytest.mark.parametrize(
    "group", ["system:authenticated", "system:unauthenticated", "system:serviceaccounts", "system:serviceaccounts:ci"]
)
def test_group_of_all_accounts_is_reported_even_with_all_rights(group: str) -> None:
    anyone = {"kind": "Group", "name": group}
    assert codes_and_subjects(rules_with(role(CREATE), binding(anyone))) == [
        ("tasks-creatable-by-anyone", f"group:{group}")
    ]
    assert codes_and_subjects(rules_with(role(EVERYTHING), binding(anyone))) == [
        ("tasks-creatable-by-anyone", f"group:{group}")
    ]


def test_administrator_is_reported_and_masters_are_expected() -> None:
    assert codes_and_subjects(rules_with(role(EVERYTHING), binding(BOB))) == [("tasks-administrator", "user:bob")]
    assert codes_and_subjects(rules_with(role(EVERYTHING), binding({"kind": "Group", "name": "system:masters"}))) == []


def test_own_accounts_and_named_controller_are_expected() -> None:
    own = {"kind": "ServiceAccount", "namespace": "seimigrate-system", "name": "seimigrate"}
    controller = {"kind": "User", "name": "system:serviceaccount:system:manager"}
    rules = rules_with(role(CREATE), binding(own, controller))
    assert codes_and_subjects(rules, "system:serviceaccount:system:manager") == []
    assert codes_and_subjects(rules) == [("tasks-unexpected", "system:serviceaccount:system:manager")]
