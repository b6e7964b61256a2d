"""The session on a real API server: connection, lock, views, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seimigrate import resources
from seimigrate.adapters.api import path_of
from seimigrate.cli.main import main
from seimigrate.domain.kube.kinds import HOLD_LABEL, Kind, Object
from tests.apiserver.models.real import RealModels
from tests.cli.world import GO, Said
from tests.controlplane.process import ControlPlane


@pytest.fixture
def models(controlplane: ControlPlane, namespace: str) -> Iterator[RealModels]:
    with RealModels(controlplane) as running:
        running.add_node(namespace, "a-0")
        yield running


class Program:
    def __init__(self, controlplane: ControlPlane, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.controlplane = controlplane
        self.folder = folder
        self.capsys = capsys

    def __call__(self, user: str, *words: str, token: str | None = None) -> tuple[int, Any, str]:
        config = self.controlplane.kubeconfig(user, self.folder / f"{user}.config", token=token)
        code = main([*words, "--kubeconfig", str(config), "-o", "json"])
        said = self.capsys.readouterr()
        return code, Said(code, said.out, said.err).json if said.out else None, said.err


@pytest.fixture
def program(controlplane: ControlPlane, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Program:
    return Program(controlplane, tmp_path, capsys)


def test_a_node_is_planned_held_and_given_back(models: RealModels, program: Program, namespace: str) -> None:
    account = ("--controller-account", "sei-k8s-controller-system/sei-k8s-controller-manager")

    def held() -> bool:
        statefulset: Object = models.get(Kind.STATEFUL_SET, namespace, "a-0")
        return HOLD_LABEL in statefulset["metadata"]["labels"]

    code, page, err = program("admin", "plan", "-n", namespace)
    assert (code, err) == (0, "")
    assert page["nodes"][0]["shape"] == {"template": "shared", "pod": "shared"}
    code, page, err = program("admin", "hold", "-n", namespace, "--yes", *account)
    assert (code, page["nodes"][0]["outcome"]) == (0, "held"), err
    assert held()
    code, page, _ = program("admin", "status", "-n", namespace)
    assert (code, page["nodes"][0]["held"], page["nodes"][0]["guarded"]) == (0, True, False)
    assert page["run"]["live"] is False  # the lock was let go at the end
    code, page, err = program("admin", "rollback", "--node", f"{namespace}/a-0", "--yes", *account)
    assert code == 0, err
    assert not held()
    assert program("admin", "unlock", "--yes")[:2] == (0, {"version": 1, "holder": None})


def test_a_missing_right_and_an_expired_token_are_named(models: RealModels, program: Program, namespace: str) -> None:
    code, page, err = program("nobody", "plan", "-n", namespace)
    assert (code, page) == (1, None)
    assert 'verb "list" on resource "seinodes.sei.io"' in json.loads(err)["error"]["hint"]
    code, page, err = program("operator", "plan", "-n", namespace, token="expired-token")
    assert (code, page) == (1, None)
    assert "does not accept our credentials" in json.loads(err)["error"]["message"]
    assert "expired-token" not in err


def test_an_account_without_a_token_stops_an_apply_before_the_lock(
    models: RealModels, program: Program, namespace: str
) -> None:
    words = ("apply", "-n", namespace, "--yes", "--service-account", f"{namespace}/absent")
    account = ("--controller-account", "sei-k8s-controller-system/sei-k8s-controller-manager")
    code, page, err = program("admin", *words, *account)
    assert (code, page) == (1, None)
    assert f"ServiceAccount {namespace}/absent does not exist" in json.loads(err)["error"]["message"]


def test_a_node_is_cut_over_with_a_token_of_the_named_account(
    models: RealModels, program: Program, controlplane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    meta = {"namespace": namespace, "name": "carrier"}
    admin = controlplane.admin
    path = path_of(Kind.SERVICE_ACCOUNT, namespace)
    admin.request("POST", path, body={"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})
    user = f"system:serviceaccount:{namespace}:carrier"
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    rules = [{"apiGroups": ["sei.io"], "resources": ["seinodetasks"], "verbs": ["create", "get"]}]
    admin.request("POST", f"{rbac}/roles", body={"metadata": {"name": "carrier"}, "rules": rules})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "carrier"}
    subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]
    binding = {"metadata": {"name": "carrier"}, "roleRef": role, "subjects": subjects}
    admin.request("POST", f"{rbac}/rolebindings", body=binding)
    plan = tmp_path / "plan.yaml"
    text = (resources.plans_dir() / "split-listeners.yaml").read_text()
    assert "agreementTimeout: 75" in text
    plan.write_text(
        text.replace("agreementTimeout: 75", "agreementTimeout: 0")
    )  # stay held at once: no agreement is waited for
    words = (
        "--node",
        f"{namespace}/a-0",
        "--yes",
        "--no-guard",
        "-f",
        str(plan),
        *GO,
        "--service-account",
        f"{namespace}/carrier",
    )
    code, page, err = program("admin", "apply", *words)
    assert (code, page["nodes"][0]["outcome"]) == (9, "done-held"), err
    assert page["nodes"][0]["restarts"] == 2
    assert {post["user"] for post in models.log.posts() if post["source"] == "forward"} == {user}
    assert "Bearer" not in err


def test_a_guard_with_a_lease_of_its_own_looks_after_a_held_node(
    models: RealModels, program: Program, controlplane: ControlPlane, namespace: str
) -> None:
    meta = {"namespace": namespace, "name": "keeper"}
    path = path_of(Kind.SERVICE_ACCOUNT, namespace)
    controlplane.admin.request("POST", path, body={"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})
    account = ("--controller-account", "sei-k8s-controller-system/sei-k8s-controller-manager")
    code, page, err = program("admin", "hold", "-n", namespace, "--yes", *account)
    assert code == 0, err
    code, page, err = program("admin", "guard", "--once", "-n", namespace, "--service-account", f"{namespace}/keeper")
    assert (code, page) == (0, None), err
    lease = models.get(Kind.LEASE, "seimigrate-system", "seimigrate-guard")
    assert lease["spec"]["holderIdentity"] == ""  # let go at the end
    says = models.get(Kind.CONFIG_MAP, "seimigrate-system", "seimigrate-guard")["data"]["record"]
    assert json.loads(says)["guarded_nodes"] == [f"{namespace}/a-0"]
    assert program("admin", "rollback", "--node", f"{namespace}/a-0", "--yes", *account)[0] == 0
