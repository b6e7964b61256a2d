"""What cannot work says so once, clearly, and changes nothing."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from seimigrate.adapters.api import path_of
from seimigrate.domain.kube.kinds import Kind
from seimigrate.domain.permissions import Permission
from seimigrate.engine.permissions import (
    ACCESS_REVIEW_PERMISSIONS,
    CLUSTER_PERMISSIONS,
    HOLD_PERMISSIONS,
    NODE_PERMISSIONS,
)
from tests.apiserver.scene import NAME, Scene, plan_text
from tests.commandline import OPERATOR, ROOT, Done, bound_to, finish

RULES: list[dict[str, Any]] = next(
    body["rules"]
    for body in yaml.safe_load_all((ROOT / "deploy" / "rbac.yaml").read_text())
    if body["kind"] == "ClusterRole" and body["metadata"]["name"] == "seimigrate"
)


def grants() -> Iterator[tuple[str, str, str]]:
    """Each verb on each resource that deploy/rbac.yaml grants."""
    for rule in RULES:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    yield group, resource, verb


def needed(right: Permission) -> set[tuple[str, str, str]]:
    resource = right.kind.resource
    name = f"{resource.plural}/{right.subresource}" if right.subresource else resource.plural
    return {(resource.group, name, verb) for verb in right.verbs}


def test_the_role_that_is_shipped_grants_what_a_run_asks_for_and_hardly_more() -> None:
    asked = set().union(
        *(
            needed(right)
            for right in (*NODE_PERMISSIONS, *CLUSTER_PERMISSIONS, *ACCESS_REVIEW_PERMISSIONS, *HOLD_PERMISSIONS)
        )
    )
    elsewhere = {("", "namespaces", "get"), ("", "namespaces", "create"), ("", "serviceaccounts/token", "create")}
    assert set(grants()) == asked | elsewhere


def unchanged(scene: Scene, mark: int) -> bool:
    """Tell whether the operator has changed nothing since then; reviews and tokens are no changes."""
    for event in scene.controlplane.audit_events(mark):
        about = event.get("objectRef", {})
        reads = event["verb"] in ("get", "list", "watch")
        asks = about.get("resource", "").endswith("reviews") or about.get("subresource") == "token"
        if event["user"]["username"] == OPERATOR and not reads and not asks and event["responseStatus"]["code"] < 300:
            return False
    return True


def refused(scene: Scene, done: Done, mark: int, *told: str, code: int = 1) -> None:
    """Check that a command failed as it should: one error, a hint, and nothing changed."""
    assert done.code == code, (done.out, done.err)
    assert done.err.count("error:") == 1, done.err
    assert "hint:" in done.err
    for text in told:
        assert text in done.err, done.err
    assert unchanged(scene, mark)


def test_no_cluster_a_wrong_context_and_an_expired_token(scene: Scene, tmp_path: Path) -> None:
    mark = scene.controlplane.audit_mark()
    config = yaml.safe_load(scene.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    nowhere = tmp_path / "nowhere.kubeconfig"
    nowhere.write_text(yaml.safe_dump(config))
    expired = scene.controlplane.kubeconfig("nobody", tmp_path / "expired.kubeconfig", token="of-yesterday-" + "x" * 20)
    for command in ("plan", "apply", "status", "rollback", "hold"):
        refused(scene, scene.run(command, kubeconfig=nowhere), mark, "127.0.0.1:1")
        refused(scene, scene.run(command, "--context", "elsewhere"), mark, "elsewhere")
        done = scene.run(command, kubeconfig=expired)
        refused(scene, done, mark, "credentials")
        assert "of-yesterday" not in done.out + done.err


def test_a_token_that_expires_in_the_middle_is_told_and_the_next_run_goes_on(scene: Scene, tmp_path: Path) -> None:
    admin, faults = scene.controlplane.admin, scene.models.kubelet.faults(scene.namespace, NAME)
    accounts = f"/api/v1/namespaces/{scene.namespace}/serviceaccounts"
    admin.request("POST", accounts, body={"metadata": {"name": "shortlived"}})
    token = admin.request("POST", f"{accounts}/shortlived/token", body={"spec": {"expirationSeconds": 600}})
    kubeconfig = scene.controlplane.kubeconfig("nobody", tmp_path / "k", token=token["status"]["token"])
    with bound_to(admin, "seimigrate", f"system:serviceaccount:{scene.namespace}:shortlived"):
        run = scene.start("apply", kubeconfig=kubeconfig)
        scene.wait_for(lambda: scene.stage not in ("", "hold", "check"), "the node to be on its way")
        faults.stays_unready = True
        admin.request("DELETE", f"{accounts}/shortlived")  # and with it the token, within seconds
        done = finish(run)
    assert done.code == 1, (done.out, done.err)
    assert done.err.count("error:") == 1, done.err
    assert "error: the API server does not accept our credentials" in done.err
    assert "rerun the same command to resume" in done.err
    assert token["status"]["token"] not in done.out + done.err
    assert scene.record["outcome"] is None
    faults.stays_unready = False
    assert scene.run("apply").code == 9
    assert scene.run("rollback").code == 0
    assert scene.ours() == []


def test_no_nodes_and_a_node_that_is_not_there(scene: Scene) -> None:
    mark = scene.controlplane.audit_mark()
    for command in ("plan", "apply", "rollback", "hold"):
        done = scene.run(command, "--node", f"{scene.namespace}/nobody")
        assert done.code in (1, 2), done.err
        assert "nobody" in done.err
    assert unchanged(scene, mark)


def test_a_malformed_plan_and_an_unknown_parameter(scene: Scene) -> None:
    mark = scene.controlplane.audit_mark()
    scene.plan.write_text("version: 1\nversion: 1\nmigration: X\nstagess: []\n")
    done = scene.run("apply")
    assert done.code == 2
    assert "plan.yaml:2" in done.err
    assert "stages" in done.err
    scene.plan.write_text(plan_text())
    done = scene.run("apply", "--set", "ports.pubilc=1")
    assert done.code == 2
    assert "public" in done.err
    assert unchanged(scene, mark)


def test_a_foreign_and_a_damaged_journal(scene: Scene) -> None:
    admin = scene.controlplane.admin
    name = f"seimigrate-{NAME}"
    body: dict[str, Any] = {"metadata": {"name": name}, "data": {"record": "{}"}}
    admin.request("POST", path_of(Kind.CONFIG_MAP, scene.namespace), body=body)
    untouched = scene.statefulset["spec"]
    for label, text, told in (
        ({}, "{}", "not written by seimigrate"),
        ({"app.kubernetes.io/managed-by": "seimigrate", "seimigrate.sei.io/migration": "x"}, "{", "damaged"),
        (
            {"app.kubernetes.io/managed-by": "seimigrate", "seimigrate.sei.io/migration": "x"},
            json.dumps({"version": 99}),
            "damaged",
        ),
    ):
        admin.request("DELETE", path_of(Kind.CONFIG_MAP, scene.namespace, name))
        labelled = {"metadata": {"name": name, "labels": label}, "data": {"record": text}}
        admin.request("POST", path_of(Kind.CONFIG_MAP, scene.namespace), body=labelled)
        for command in ("apply", "rollback"):
            done = scene.run(command)
            assert done.code == 1, done.err
            assert told in done.err
            assert scene.namespace in done.err
    assert scene.statefulset["spec"] == untouched
    assert scene.ours() == []


@pytest.mark.parametrize("hold", ["none"])
def test_hold_none_is_refused_while_the_controller_owns_what_would_change(scene: Scene, hold: str) -> None:
    mark = scene.controlplane.audit_mark()
    done = scene.run("apply", "--hold", hold)
    refused(scene, done, mark, "owns", code=done.code)
    assert done.code in (1, 2)


def test_an_absent_crd_is_named(scene: Scene) -> None:
    admin = scene.controlplane.admin
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/seinodes.sei.io"
    definition = admin.request("GET", path)
    scene.models.stop_controller()
    group = definition["spec"]["group"]
    try:
        spec = copy.deepcopy(definition["spec"])
        spec["versions"][0]["served"] = False
        admin.request("PUT", path, body=definition | {"spec": spec})
        scene.wait_for(lambda: scene.run("plan").code == 1, "the CRD to be gone")
        done = scene.run("plan")
        assert f"seinodes.{group}" in done.err
        assert scene.run("apply").code == 1
    finally:
        current = admin.request("GET", path)
        admin.request("PUT", path, body=current | {"spec": definition["spec"]})
        scene.wait_for(lambda: scene.run("plan").code == 0, "the CRD to be back")
