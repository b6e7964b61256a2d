"""How people are told what they may not do."""

from __future__ import annotations

from seimigrate.domain.kube.kinds import Kind
from seimigrate.domain.permissions import (
    FOR_JOB,
    JOB,
    MissingPermission,
    Permission,
    Scope,
    deduplicate,
    lines,
    missing_message,
    source_for,
)

PODS = Permission(("list", "watch", "delete"), Kind.POD, Scope.NODES)
ALL_PODS = Permission(("list",), Kind.POD, Scope.CLUSTER)
EVICTION = Permission(("create",), Kind.POD, Scope.NODES, subresource="eviction")
SETS = Permission(("get", "patch"), Kind.STATEFUL_SET, Scope.NODES)
KUBE_SYSTEM = Permission(("get",), Kind.NAMESPACE, Scope.CLUSTER, name="kube-system")
TOKEN = Permission(("create",), Kind.SERVICE_ACCOUNT, Scope.TOKEN, subresource="token", name="seimigrate")
GATE = Permission(("get",), Kind.SERVICE, Scope.GATES)


def lacks(right: Permission, *namespaces: str) -> list[MissingPermission]:
    return [MissingPermission(verb, right, namespace) for namespace in namespaces for verb in right.verbs]


def test_each_resource_is_a_line_with_all_its_verbs_and_all_namespaces() -> None:
    found = [*lacks(SETS, "a", "b"), *lacks(EVICTION, "a"), *lacks(KUBE_SYSTEM, ""), *lacks(TOKEN, "sys")]
    assert lines(found) == [
        "get, patch  statefulsets.apps      in namespaces a, b",
        "create      pods/eviction          in namespace a",
        "get         namespaces             in the whole cluster, resourceNames: kube-system",
        "create      serviceaccounts/token  in namespace sys, resourceNames: seimigrate",
    ]


def test_what_is_missing_everywhere_is_not_told_of_each_namespace_again() -> None:
    assert lines(deduplicate([*lacks(PODS, "a", "b"), *lacks(ALL_PODS, "")])) == [
        "watch, delete  pods  in namespaces a, b",
        "list           pods  in all namespaces",
    ]


def test_the_job_is_told_which_of_its_own_roles_has_it() -> None:
    message, hint = missing_message(JOB, [*lacks(SETS, "a"), *lacks(TOKEN, "sys")], source_for(JOB))
    assert message.splitlines()[0] == f"user {JOB} may not do all that this needs, and nothing was changed; missing:"
    assert hint == (
        "ClusterRole seimigrate-apply and Role seimigrate-apply of deploy/apply/rbac.yaml have it: "
        "kubectl apply -k deploy/apply, or your copy of examples/apply"
    )


def test_people_and_accounts_of_others_are_told_how_to_be_bound() -> None:
    for user, words in (
        ("ann", "--user ann"),
        ("ann o'neil", """--user 'ann o'"'"'neil'"""),
        ("system:serviceaccount:ci:deployer", "--serviceaccount ci:deployer"),
    ):
        message, hint = missing_message(user, lacks(SETS, "a"), source_for(user))
        assert message.startswith(f"user {user} may not")
        assert hint.endswith(f" --clusterrole seimigrate {words}")
    message, _ = missing_message("", lacks(SETS, "a"), source_for(""))
    assert message.startswith("you may not")


def test_for_gates_there_is_no_role_to_be_bound() -> None:
    _, hint = missing_message(JOB, lacks(GATE, "monitoring"), FOR_JOB)
    assert "rbac.yaml" not in hint
    assert "docs/deploy.md" in hint
