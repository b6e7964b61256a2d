"""The API behind the engine's port: what each refusal of a real API server is told as."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from seimigrate.adapters import api
from seimigrate.adapters.api import ApiCluster, connect
from seimigrate.domain.kube.kinds import CONTROLLER_MANAGER, Kind, Object
from seimigrate.engine import node_observer
from seimigrate.engine.errors import (
    Conflict,
    Denied,
    EvictionBlocked,
    Forbidden,
    Invalid,
    NotFound,
    SeimigrateError,
    Unreachable,
)
from tests.adapters.helpers import config_map, grant, pod, wait_until
from tests.controlplane.process import ControlPlane

GATE = 'until printf "GET /v0/healthz" >&3 && read -r line <&3; do :; done'


def test_an_object_comes_back_as_it_was_written(cluster: ApiCluster, namespace: str) -> None:
    written = cluster.create(Kind.CONFIG_MAP, config_map(namespace, "a", {"x": "1"}))
    assert cluster.get(Kind.CONFIG_MAP, namespace, "a") == written
    assert [each["manager"] for each in written["metadata"]["managedFields"]] == ["seimigrate"]


def test_an_object_that_is_not_there_is_none(cluster: ApiCluster, namespace: str) -> None:
    assert cluster.get(Kind.CONFIG_MAP, namespace, "a") is None
    assert cluster.get(Kind.SEI_NODE, namespace, "a") is None


def test_a_list_is_read_in_pages_and_its_items_know_their_kind(
    cluster: ApiCluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "PAGE", 2)
    for name in "abcde":
        body = config_map(namespace, name)
        body["metadata"]["labels"] = {"odd": "yes"} if name in "ace" else {}
        cluster.create(Kind.CONFIG_MAP, body)
    found = cluster.list(Kind.CONFIG_MAP, namespace, "odd=yes")
    assert [each["metadata"]["name"] for each in found] == ["a", "c", "e"]
    assert {(each["apiVersion"], each["kind"]) for each in found} == {("v1", "ConfigMap")}


def test_create_of_what_is_there_is_a_conflict(cluster: ApiCluster, namespace: str) -> None:
    cluster.create(Kind.CONFIG_MAP, config_map(namespace, "a"))
    with pytest.raises(Conflict, match='configmaps "a" already exists'):
        cluster.create(Kind.CONFIG_MAP, config_map(namespace, "a"))


def test_replace_of_an_older_version_is_a_conflict(cluster: ApiCluster, namespace: str) -> None:
    old = cluster.create(Kind.CONFIG_MAP, config_map(namespace, "a"))
    cluster.replace(Kind.CONFIG_MAP, {**old, "data": {"x": "1"}})
    with pytest.raises(Conflict):
        cluster.replace(Kind.CONFIG_MAP, {**old, "data": {"x": "2"}})


def test_a_patch_may_test_a_text_with_characters_that_go_escapes(cluster: ApiCluster, namespace: str) -> None:
    cluster.create(Kind.CONFIG_MAP, config_map(namespace, "a", {"gate": GATE}))
    test = {"op": "test", "path": "/data/gate", "value": GATE}
    change = {"op": "replace", "path": "/data/gate", "value": GATE.replace("healthz", "livez")}
    patched = cluster.patch(Kind.CONFIG_MAP, namespace, "a", [test, change])
    assert patched["data"]["gate"] == GATE.replace("healthz", "livez")


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/data/x", "value": "2"},
        {"op": "test", "path": "/data/y", "value": "1"},
        {"op": "remove", "path": "/data/y"},
        {"op": "replace", "path": "/metadata/labels/y", "value": "1"},
    ],
)
def test_a_patch_that_does_not_match_is_a_conflict_and_changes_nothing(
    cluster: ApiCluster, namespace: str, operation: Object
) -> None:
    before = cluster.create(Kind.CONFIG_MAP, config_map(namespace, "a", {"x": "1"}))
    with pytest.raises(Conflict):
        cluster.patch(Kind.CONFIG_MAP, namespace, "a", [{"op": "add", "path": "/data/z", "value": "1"}, operation])
    assert cluster.get(Kind.CONFIG_MAP, namespace, "a") == before


def test_a_patch_to_something_that_is_not_valid_is_invalid_with_the_servers_reason(
    cluster: ApiCluster, namespace: str
) -> None:
    cluster.create(Kind.CONFIG_MAP, config_map(namespace, "a"))
    with pytest.raises(Invalid, match="a valid label"):
        cluster.patch(
            Kind.CONFIG_MAP, namespace, "a", [{"op": "add", "path": "/metadata/labels", "value": {"a": "//"}}]
        )
    with pytest.raises(Invalid, match="unknown field"):
        cluster.patch(Kind.CONFIG_MAP, namespace, "a", [{"op": "add", "path": "/dta", "value": {"a": "b"}}])


def test_a_dry_run_changes_nothing_and_may_carry_another_manager(cluster: ApiCluster, namespace: str) -> None:
    before = cluster.create(Kind.CONFIG_MAP, config_map(namespace, "a", {"x": "0"}))
    change = [{"op": "replace", "path": "/data/x", "value": "1"}]
    shown = cluster.patch(Kind.CONFIG_MAP, namespace, "a", change, manager=CONTROLLER_MANAGER, dry_run=True)
    assert CONTROLLER_MANAGER in [each["manager"] for each in shown["metadata"]["managedFields"]]
    assert cluster.get(Kind.CONFIG_MAP, namespace, "a") == before


def test_a_delete_misses_an_object_of_another_uid_or_version(cluster: ApiCluster, namespace: str) -> None:
    body = cluster.create(Kind.CONFIG_MAP, config_map(namespace, "a"))["metadata"]
    with pytest.raises(Conflict, match="UID"):
        cluster.delete(Kind.CONFIG_MAP, namespace, "a", uid="00000000-0000-0000-0000-000000000000")
    with pytest.raises(Conflict, match="ResourceVersion"):
        cluster.delete(Kind.CONFIG_MAP, namespace, "a", uid=body["uid"], resource_version="1")
    cluster.delete(Kind.CONFIG_MAP, namespace, "a", uid=body["uid"], resource_version=body["resourceVersion"])
    assert cluster.get(Kind.CONFIG_MAP, namespace, "a") is None
    with pytest.raises(NotFound):
        cluster.delete(Kind.CONFIG_MAP, namespace, "a", uid=body["uid"])


def running_pod(cluster: ApiCluster, namespace: str, name: str) -> Object:
    """Create a pod that a budget counts as healthy."""
    cluster_default_account(cluster, namespace)
    cluster.create(Kind.POD, pod(namespace, name, {"app": name}))
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    path = f"{api.path_of(Kind.POD, namespace, name)}/status"
    body = {"status": status}
    written = cluster.connection.request("PATCH", path, body=body, content_type="application/merge-patch+json")
    return dict(written)


def cluster_default_account(cluster: ApiCluster, namespace: str) -> None:
    wait_until(lambda: cluster.get(Kind.SERVICE_ACCOUNT, namespace, "default"), "the default ServiceAccount")


def forget_pod(cluster: ApiCluster, body: Object) -> None:
    """Remove a pod for good, as no kubelet here will."""
    metadata = body["metadata"]
    cluster.delete(Kind.POD, metadata["namespace"], metadata["name"], uid=metadata["uid"], grace_seconds=0)


def test_an_eviction_is_refused_by_a_budget_misses_another_pod_and_keeps_its_grace(
    cluster: ApiCluster, namespace: str
) -> None:
    body = running_pod(cluster, namespace, "a")
    uid, version = body["metadata"]["uid"], body["metadata"]["resourceVersion"]
    budget: Object = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"namespace": namespace, "name": "a"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}},
    }
    cluster.create(Kind.DISRUPTION_BUDGET, budget)

    def counted() -> bool:
        seen = cluster.get(Kind.DISRUPTION_BUDGET, namespace, "a") or {}
        return bool(seen.get("status", {}).get("currentHealthy") == 1)

    wait_until(counted, "the disruption controller's count")
    with pytest.raises(EvictionBlocked, match="disruption budget"):
        cluster.evict(namespace, "a", uid=uid, resource_version=version, grace_seconds=77)
    seen = cluster.get(Kind.DISRUPTION_BUDGET, namespace, "a")
    assert seen is not None
    cluster.delete(Kind.DISRUPTION_BUDGET, namespace, "a", uid=seen["metadata"]["uid"])
    with pytest.raises(Conflict):
        cluster.evict(namespace, "a", uid="00000000-0000-0000-0000-000000000000", resource_version="", grace_seconds=77)
    with pytest.raises(Conflict):
        cluster.evict(namespace, "a", uid=uid, resource_version="1", grace_seconds=77)

    def evicted() -> Object | None:
        try:
            cluster.evict(namespace, "a", uid=uid, resource_version=version, grace_seconds=77)
        except EvictionBlocked:  # the API server's own cache still knows the budget
            return None
        return cluster.get(Kind.POD, namespace, "a")

    leaving = wait_until(evicted, "the eviction")
    assert leaving["metadata"]["deletionGracePeriodSeconds"] == 77
    forget_pod(cluster, leaving)


def test_two_budgets_on_one_pod_refuse_its_eviction(cluster: ApiCluster, namespace: str) -> None:
    body = running_pod(cluster, namespace, "a")
    for name in ("one", "two"):
        budget: Object = {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "a"}}},
        }
        cluster.create(Kind.DISRUPTION_BUDGET, budget)

    def refused() -> str:
        version = body["metadata"]["resourceVersion"]
        try:
            cluster.evict(namespace, "a", uid=body["metadata"]["uid"], resource_version=version, grace_seconds=77)
        except EvictionBlocked as error:
            return error.message
        raise AssertionError("evicted against two budgets")

    wait_until(lambda: "more than one" in refused(), "the refusal for two budgets")
    forget_pod(cluster, body)


FORBIDDEN: list[tuple[str, str, Callable[[ApiCluster, str], object]]] = [
    ("get", "configmaps", lambda c, n: c.get(Kind.CONFIG_MAP, n, "a")),
    ("list", "statefulsets.apps", lambda c, n: c.list(Kind.STATEFUL_SET, n)),
    ("list", "seinodes.sei.io", lambda c, n: c.list(Kind.SEI_NODE, n)),
    ("create", "configmaps", lambda c, n: c.create(Kind.CONFIG_MAP, config_map(n, "b"))),
    ("update", "configmaps", lambda c, n: c.replace(Kind.CONFIG_MAP, config_map(n, "a"))),
    ("patch", "services", lambda c, n: c.patch(Kind.SERVICE, n, "a", [])),
    ("patch", "statefulsets.apps", lambda c, n: c.patch(Kind.STATEFUL_SET, n, "a", [], dry_run=True)),
    ("delete", "pods", lambda c, n: c.delete(Kind.POD, n, "a", uid="u", grace_seconds=300)),
    ("create", "pods/eviction", lambda c, n: c.evict(n, "a", uid="u", resource_version="", grace_seconds=300)),
    ("create", "serviceaccounts/token", lambda c, n: c.create_token(n, "default")),
]


@pytest.mark.parametrize(("verb", "resource", "call"), FORBIDDEN, ids=[f"{v}-{r}" for v, r, _ in FORBIDDEN])
def test_a_missing_right_is_named_so_that_it_can_be_pasted_into_a_role(
    controlplane: ControlPlane, namespace: str, verb: str, resource: str, call: Callable[[ApiCluster, str], object]
) -> None:
    with pytest.raises(Forbidden) as caught:
        call(ApiCluster(controlplane.connection("nobody")), namespace)
    assert f'verb "{verb}" on resource "{resource}" in namespace "{namespace}"' in caught.value.hint


def test_a_missing_right_in_all_namespaces_asks_for_a_cluster_role(controlplane: ControlPlane) -> None:
    with pytest.raises(Forbidden) as caught:
        ApiCluster(controlplane.connection("nobody")).list(Kind.STATEFUL_SET)
    assert 'verb "list" on resource "statefulsets.apps" in the whole cluster (ClusterRole)' in caught.value.hint


@pytest.mark.parametrize("reason", ["Forbidden", "Invalid", "RequestEntityTooLarge"])
def test_the_no_of_an_admission_policy_is_denied_whatever_its_code(
    cluster: ApiCluster, controlplane: ControlPlane, namespace: str, reason: str
) -> None:
    grant(controlplane.admin, namespace, "operator", ("", "configmaps", ["get", "patch"]))
    cluster.create(Kind.CONFIG_MAP, config_map(namespace, "a"))
    name = f"deny-{namespace}-{reason.lower()}"
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["configmaps"]}]
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    policy: Object = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"namespaceSelector": selector, "resourceRules": rules},
            "validations": [{"expression": "false", "reason": reason, "message": "not while it is held"}],
        },
    }
    binding: Object = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }
    made = [
        (Kind.ADMISSION_POLICY, cluster.create(Kind.ADMISSION_POLICY, policy)),
        (Kind.ADMISSION_BINDING, cluster.create(Kind.ADMISSION_BINDING, binding)),
    ]
    operator = ApiCluster(controlplane.connection("operator"))
    change = [{"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}]

    def denied() -> Denied | None:
        try:
            operator.patch(Kind.CONFIG_MAP, namespace, "a", change, dry_run=True)
        except Denied as error:
            return error
        return None

    try:
        error = wait_until(denied, "the policy at work")
        assert "not while it is held" in error.message
    finally:
        for kind, body in made:
            cluster.delete(kind, "", name, uid=body["metadata"]["uid"])


def test_a_kind_that_is_not_served_is_named_with_its_crd(cluster: ApiCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    of_the_cutover = [*node_observer.WATCHED, Kind.NAMESPACE, Kind.CONFIG_MAP, Kind.LEASE]
    assert cluster.missing_kinds(of_the_cutover) == []
    resource = Kind.SEI_NODE.resource._replace(version="v9", plural="seigardens")
    monkeypatch.setattr(Kind, "resource", property(lambda kind: resource if kind is Kind.SEI_NODE else kind.value))
    assert cluster.missing_kinds([Kind.SEI_NODE, Kind.POD]) == [Kind.SEI_NODE]
    with pytest.raises(NotFound, match=r"seigardens.sei.io \(v9\)") as caught:
        cluster.require_kinds([Kind.SEI_NODE])
    assert "kubectl get crd seigardens.sei.io" in caught.value.hint
    with pytest.raises(NotFound, match="does not serve seigardens"):
        cluster.list(Kind.SEI_NODE)
    with pytest.raises(NotFound, match="does not serve seigardens"):
        cluster.get(Kind.SEI_NODE, "default", "a")


def test_a_namespace_that_is_not_there_is_not_found(cluster: ApiCluster) -> None:
    with pytest.raises(NotFound, match='namespaces "nowhere" not found'):
        cluster.create(Kind.CONFIG_MAP, config_map("nowhere", "a"))


def test_a_name_cannot_lead_to_another_path(cluster: ApiCluster) -> None:
    with pytest.raises(SeimigrateError, match="not a name"):
        cluster.get(Kind.CONFIG_MAP, "default", "../secrets/x")


def test_a_token_of_a_service_account_works_until_it_is_damaged(
    cluster: ApiCluster, controlplane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    cluster_default_account(cluster, namespace)
    token = cluster.create_token(namespace, "default")
    path = controlplane.kubeconfig("account", tmp_path / "config", token=token)
    with pytest.raises(Forbidden, match=f"system:serviceaccount:{namespace}:default"):
        ApiCluster(connect(None, str(path))).list(Kind.POD, namespace)


def test_the_cluster_is_known_by_one_id(cluster: ApiCluster) -> None:
    assert cluster.cluster_id() == cluster.cluster_id() != ""


def test_an_api_server_that_is_down_is_unreachable_for_writes_and_a_read_waits_for_it(
    cluster: ApiCluster, controlplane: ControlPlane
) -> None:
    before = cluster.cluster_id()
    controlplane.stop_api_server()
    try:
        with pytest.raises(Unreachable):
            cluster.create(Kind.CONFIG_MAP, config_map("default", "a"))
    finally:
        controlplane.start_api_server()
    assert cluster.cluster_id() == before
