"""``verify`` and ``policy render`` on a real API server: what is rendered is accepted, and closes the node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from seimigrate.adapters.api import path_of
from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.engine.errors import NotFound
from tests.adapters.helpers import wait_until
from tests.apiserver.scene import Scene
from tests.commandline import OPERATOR, bound_to, shipped
from tests.controlplane.process import ControlPlane
from tests.rbac_usage import denied, unused

AUDITOR = "nobody"
OPEN = ("--set", "access.monitoring=[{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: default}}}]")
"""The namespace of monitoring here: one that every cluster has."""


def verify(scene: Scene, *more: str, **how: Any) -> dict[str, Any]:
    done = scene.run("verify", *OPEN, "-o", "json", *more, **how)
    assert done.err == ""
    found: dict[str, Any] = done.json
    assert done.code == (0 if found["passed"] else 4)
    return found


def codes(found: dict[str, Any], severity: str = "error") -> list[str]:
    return [each["code"] for each in found["findings"] if each["severity"] == severity]


def provision(scene: Scene) -> Object:
    """Apply what ``policy render`` prints, as an administrator's GitOps would."""
    rendered = scene.run("policy render", *OPEN)
    assert (rendered.code, rendered.err) == (0, "")
    [body] = yaml.safe_load_all(rendered.out)
    path = path_of(Kind.NETWORK_POLICY, scene.namespace)
    created: Object = scene.controlplane.admin.request("POST", path, body=body, query={"fieldValidation": "Strict"})
    return created


@pytest.fixture
def auditor(controlplane: ControlPlane) -> Iterator[None]:
    """Let the operator read roles, too."""
    with bound_to(controlplane.admin, "seimigrate-verify", OPERATOR):
        yield


@pytest.mark.usefixtures("auditor")
def test_a_node_is_open_before_its_cutover_and_closed_after_it_by_the_rendered_policy(scene: Scene) -> None:
    before = verify(scene, "--probe")
    assert {"not-enforced", "policy-missing", "anonymous-access"} <= set(codes(before))
    provision(scene)
    scene.cli.accept = False
    assert {"not-enforced", "anonymous-access"} == set(codes(verify(scene, "--probe")))
    planned = scene.run("plan", *OPEN)
    assert "policy-" not in planned.out, planned.out
    assert scene.run("hold").code == 0
    scene.models.swap_controller("new")
    done = scene.run("apply", *OPEN, "-o", "json")
    assert done.code == 0, done.err
    after = verify(scene, "--probe")
    assert (codes(after), codes(after, "unknown"), after["passed"]) == ([], [], True)


def test_a_second_policy_that_opens_it_again_is_named_with_rule_and_peer(scene: Scene) -> None:
    provision(scene)
    peers = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}]
    spec = {"podSelector": {}, "ingress": [{"from": peers, "ports": [{"port": 8443}]}]}
    body = {"metadata": {"name": "helpful"}, "spec": spec}
    path = path_of(Kind.NETWORK_POLICY, scene.namespace)
    scene.controlplane.admin.request("POST", path, body=body)
    [finding] = [each for each in verify(scene)["findings"] if each["code"] == "policy-too-broad"]
    assert finding["object"] == f"NetworkPolicy {scene.namespace}/helpful"
    assert finding["field"] == "ingress[0].from[0]"
    assert finding["admits"].startswith("any pod in namespace kube-system")


def test_who_verifies_needs_all_of_the_roles_and_nothing_else(
    scene: Scene, controlplane: ControlPlane, tmp_path: Path
) -> None:
    kubeconfig = controlplane.kubeconfig(AUDITOR, tmp_path / "auditor.kubeconfig")
    admin, mark = controlplane.admin, controlplane.audit_mark()
    with bound_to(admin, "seimigrate-plan", AUDITOR), bound_to(admin, "seimigrate-verify", AUDITOR):
        found = verify(scene, "--probe", kubeconfig=kubeconfig)
        assert "forbidden-or-unreadable" not in codes(found, "unknown")
        assert scene.run("policy render", kubeconfig=kubeconfig).code == 0
    events = list(controlplane.audit_events(mark))
    assert denied(events, AUDITOR) == []
    roles = [
        each for each in shipped() if (each["kind"], each["metadata"]["name"]) == ("ClusterRole", "seimigrate-verify")
    ]
    assert unused(roles, events, AUDITOR) == []


def test_without_the_right_to_read_roles_it_says_what_it_does_not_know(
    scene: Scene, controlplane: ControlPlane, tmp_path: Path
) -> None:
    kubeconfig = controlplane.kubeconfig(AUDITOR, tmp_path / "auditor.kubeconfig")
    with bound_to(controlplane.admin, "seimigrate-plan", AUDITOR):
        found = verify(scene, kubeconfig=kubeconfig)
    assert codes(found, "unknown") == ["forbidden-or-unreadable"]


CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture
def admin_policies(controlplane: ControlPlane) -> Iterator[str]:
    """Let the cluster serve AdminNetworkPolicies, in a version that does not exist yet; give the path of all."""
    name, group = "adminnetworkpolicies", "policy.networking.k8s.io"
    names = {"plural": name, "singular": "adminnetworkpolicy", "kind": "AdminNetworkPolicy", "listKind": "AdminList"}
    schema = {"openAPIV3Schema": {"type": "object"}}
    version = {"name": "v7", "served": True, "storage": True, "schema": schema}
    body = {
        "metadata": {
            "name": f"{name}.{group}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, a test"},  # the API server asks this of *.k8s.io
        },
        "spec": {"group": group, "names": names, "scope": "Cluster", "versions": [version]},
    }
    admin = controlplane.admin
    admin.request("POST", CRDS, body=body)
    path = f"/apis/{group}/v7/{name}"

    def served() -> bool:
        try:
            admin.request("GET", path)
        except NotFound:
            return False
        return True

    try:
        wait_until(served, "the kind to be served")
        yield path
    finally:
        admin.request("DELETE", f"{CRDS}/{name}.{group}")
        wait_until(lambda: not served(), "the kind to be gone")


def test_a_policy_of_another_kind_is_found_in_whatever_version_it_is_served(
    scene: Scene, controlplane: ControlPlane, admin_policies: str
) -> None:
    assert "policy-kind-unsupported" not in codes(verify(scene), "unknown")
    body = {
        "apiVersion": "policy.networking.k8s.io/v7",
        "kind": "AdminNetworkPolicy",
        "metadata": {"name": "cluster-wide"},
    }
    controlplane.admin.request("POST", admin_policies, body=body)
    [finding] = [each for each in verify(scene)["findings"] if each["code"] == "policy-kind-unsupported"]
    assert finding["object"] == "adminnetworkpolicies.policy.networking.k8s.io cluster-wide"
