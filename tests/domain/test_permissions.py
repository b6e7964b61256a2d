"""How missing permissions are reported."""

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


def missing(permission: Permission, *namespaces: str) -> list[MissingPermission]:
    return [MissingPermission(verb, permission, namespace) for namespace in namespaces for verb in permission.verbs]


def test_lines_group_missing_permissions_by_resource() -> None:
    denied = [*missing(SETS, "a", "b"), *missing(EVICTION, "a"), *missing(KUBE_SYSTEM, ""), *missing(TOKEN, "sys")]
    assert lines(denied) == [
        "get, patch  statefulsets.apps      in namespaces a, b",
        "create      pods/eviction          in namespace a",
        "get         namespaces             in the whole cluster, resourceNames: kube-system",
        "create      serviceaccounts/token  in namespace sys, resourceNames: seimigrate",
    ]


def test_cluster_wide_missing_verb_is_not_repeated_per_namespace() -> None:
    assert lines(deduplicate([*missing(PODS, "a", "b"), *missing(ALL_PODS, "")])) == [
        "watch, delete  pods  in namespaces a, b",
        "list           pods  in all namespaces",
    ]


def test_hint_for_job_names_its_own_roles() -> None:
    message, hint = missing_message(JOB, [*missing(SETS, "a"), *missing(TOKEN, "sys")], source_for(JOB))
    assert message.splitlines()[0] == f"user {JOB} lacks permissions; nothing was changed. Missing:"
    assert hint == (
        "ClusterRole seimigrate-apply and Role seimigrate-apply of deploy/apply/rbac.yaml grant them: "
        "kubectl apply -k deploy/apply, or your copy of examples/apply"
    )


def test_hint_for_other_users_has_binding_command() -> None:
    for user, arguments in (
        ("ann", "--user ann"),
        ("ann o'neil", """--user 'ann o'"'"'neil'"""),
        ("system:serviceaccount:ci:deployer", "--serviceaccount ci:deployer"),
    ):
        message, hint = missing_message(user, missing(SETS, "a"), source_for(user))
        assert message.startswith(f"user {user} lacks permissions")
        assert hint.endswith(f" --clusterrole seimigrate {arguments}")
    message, _ = missing_message("", missing(SETS, "a"), source_for(""))
    assert message.startswith("you lack permissions")


def test_hint_for_gates_names_docs_instead_of_role() -> None:
    _, hint = missing_message(JOB, missing(GATE, "monitoring"), FOR_JOB)
    assert "rbac.yaml" not in hint
    assert "docs/deploy.md" in hint
