"""How people are told what they may not do."""

from __future__ import annotations

from seimigrate.domain.kinds import Kind
from seimigrate.domain.rights import FOR_JOB, JOB, Lack, Right, Where, lines, source_for, told, widest

PODS = Right(("list", "watch", "delete"), Kind.POD, Where.NODES)
ALL_PODS = Right(("list",), Kind.POD, Where.CLUSTER)
EVICTION = Right(("create",), Kind.POD, Where.NODES, subresource="eviction")
SETS = Right(("get", "patch"), Kind.STATEFUL_SET, Where.NODES)
KUBE_SYSTEM = Right(("get",), Kind.NAMESPACE, Where.CLUSTER, name="kube-system")
TOKEN = Right(("create",), Kind.SERVICE_ACCOUNT, Where.TOKEN, subresource="token", name="seimigrate")
GATE = Right(("get",), Kind.SERVICE, Where.GATES)


def lacks(right: Right, *namespaces: str) -> list[Lack]:
    return [Lack(verb, right, namespace) for namespace in namespaces for verb in right.verbs]


def test_each_resource_is_a_line_with_all_its_verbs_and_all_namespaces() -> None:
    found = [*lacks(SETS, "a", "b"), *lacks(EVICTION, "a"), *lacks(KUBE_SYSTEM, ""), *lacks(TOKEN, "sys")]
    assert lines(found) == [
        "get, patch  statefulsets.apps      in namespaces a, b",
        "create      pods/eviction          in namespace a",
        "get         namespaces             in the whole cluster, resourceNames: kube-system",
        "create      serviceaccounts/token  in namespace sys, resourceNames: seimigrate",
    ]


def test_what_is_missing_everywhere_is_not_told_of_each_namespace_again() -> None:
    assert lines(widest([*lacks(PODS, "a", "b"), *lacks(ALL_PODS, "")])) == [
        "watch, delete  pods  in namespaces a, b",
        "list           pods  in all namespaces",
    ]


def test_the_job_is_told_which_of_its_own_roles_has_it() -> None:
    message, hint = told(JOB, [*lacks(SETS, "a"), *lacks(TOKEN, "sys")], source_for(JOB))
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
        message, hint = told(user, lacks(SETS, "a"), source_for(user))
        assert message.startswith(f"user {user} may not")
        assert hint.endswith(f" --clusterrole seimigrate {words}")
    message, _ = told("", lacks(SETS, "a"), source_for(""))
    assert message.startswith("you may not")


def test_for_gates_there_is_no_role_to_be_bound() -> None:
    _, hint = told(JOB, lacks(GATE, "monitoring"), FOR_JOB)
    assert "rbac.yaml" not in hint
    assert "docs/deploy.md" in hint
