"""Who may create tasks: through roles, bindings, wildcards and aggregation; the expected are not found."""

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
    which = "RoleBinding" if namespace else "ClusterRoleBinding"
    return {"kind": which, "metadata": meta, "roleRef": {"kind": kind, "name": to}, "subjects": [*subjects]}


def found(rules: Rules, *expected: str) -> list[tuple[str, str]]:
    return [(each.code, each.message.split()[1]) for each in rbac.findings(rules, [("sei", "node-0")], expected)]


def of(a_role: Object, a_binding: Object, *more: Object) -> Rules:
    near = bool(a_binding["metadata"].get("namespace"))
    return Rules([a_role, *more], [], [] if near else [a_binding], [a_binding] if near else [])


@pytest.mark.parametrize(
    "rule",
    [CREATE, CREATE | {"verbs": ["*"]}, CREATE | {"apiGroups": ["*"]}, CREATE | {"resources": ["*"]},
     CREATE | {"resourceNames": ["node-0"]}],
)  # fmt: skip
def test_who_is_not_expected_is_found_by_every_spelling_of_the_right(rule: Object) -> None:
    assert found(of(role(rule), binding(BOB))) == [("tasks-unexpected", "user:bob")]
    assert found(of(role(rule), binding(BOB, namespace="sei"))) == [("tasks-unexpected", "user:bob")]
    assert found(of(role(rule), binding(BOB)), "user:bob") == []


@pytest.mark.parametrize(
    "rule",
    [CREATE | {"verbs": ["get", "list"]}, CREATE | {"resources": ["seinodes"]}, CREATE | {"apiGroups": [""]},
     CREATE | {"resources": ["seinodetasks/status"]}, CREATE | {"resourceNames": ["node-1"]},
     {"nonResourceURLs": ["*"], "verbs": ["*"]}],
)  # fmt: skip
def test_what_is_almost_the_right_is_not(rule: Object) -> None:
    assert found(of(role(rule), binding(BOB))) == []


def test_a_binding_in_another_namespace_and_to_a_role_that_is_not_there_gives_nothing() -> None:
    assert found(of(role(CREATE), binding(BOB, namespace="other"))) == []
    assert found(of(role(CREATE), binding(BOB, to="absent"))) == []


def test_a_role_of_the_namespace_counts_there_alone() -> None:
    near = role(CREATE) | {"kind": "Role", "metadata": {"name": "r", "namespace": "sei"}}
    far = role(CREATE) | {"kind": "Role", "metadata": {"name": "r", "namespace": "other"}}
    bound = binding(ROBOT, namespace="sei", kind="Role")
    assert found(Rules([], [near], [], [bound])) == [("tasks-unexpected", "system:serviceaccount:ci:robot")]
    assert found(Rules([], [far], [], [bound])) == []


def test_aggregation_is_followed_and_named() -> None:
    part = role(CREATE, name="task-editor", labels={"to-edit": "true"})
    chosen = {"clusterRoleSelectors": [{"matchLabels": {"to-edit": "true"}}]}
    edit = role(name="edit", aggregationRule=chosen)
    rules = of(edit, binding(ROBOT, to="edit", namespace="sei"), part)
    [finding] = rbac.findings(rules, [("sei", "node-0")], ())
    assert finding.field == "roleRef ClusterRole edit, into which task-editor is aggregated"
    apart = role(CREATE, name="task-editor", labels={"to-edit": "false"})
    assert found(of(edit, binding(ROBOT, to="edit", namespace="sei"), apart)) == []


@pytest.mark.parametrize(
    "group", ["system:authenticated", "system:unauthenticated", "system:serviceaccounts", "system:serviceaccounts:ci"]
)
def test_everybody_is_open_even_with_every_right(group: str) -> None:
    everybody = {"kind": "Group", "name": group}
    assert found(of(role(CREATE), binding(everybody))) == [("tasks-creatable-by-anyone", f"group:{group}")]
    assert found(of(role(EVERYTHING), binding(everybody))) == [("tasks-creatable-by-anyone", f"group:{group}")]


def test_administrators_are_told_and_masters_are_expected() -> None:
    assert found(of(role(EVERYTHING), binding(BOB))) == [("tasks-administrator", "user:bob")]
    assert found(of(role(EVERYTHING), binding({"kind": "Group", "name": "system:masters"}))) == []


def test_our_own_accounts_and_the_controllers_are_expected_however_they_are_written() -> None:
    own = {"kind": "ServiceAccount", "namespace": "seimigrate-system", "name": "seimigrate"}
    controller = {"kind": "User", "name": "system:serviceaccount:system:manager"}
    rules = of(role(CREATE), binding(own, controller))
    assert found(rules, "system:serviceaccount:system:manager") == []
    assert found(rules) == [("tasks-unexpected", "system:serviceaccount:system:manager")]
