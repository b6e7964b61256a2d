"""What the roles of deploy/ allow is what their commands need, by the API server's audit log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from seimigrate.adapters.api import Connection
from seimigrate.domain.kinds import SYSTEM_NAMESPACE, Object
from tests.commandline import RBAC, ROOT, Done, bound_to, finish, shipped
from tests.controlplane.process import ControlPlane
from tests.real.scene import Scene
from tests.real.test_bad_input import unchanged
from tests.real.test_watching import apply_saved
from tests.rules import denied, unused

LOOKER = "nobody"


def test_who_may_only_look_needs_all_of_its_role_and_nothing_else(
    scene: Scene, controlplane: ControlPlane, tmp_path: Path
) -> None:
    assert scene.run("apply").code == 9
    kubeconfig = controlplane.kubeconfig(LOOKER, tmp_path / "looker.kubeconfig")
    mark = controlplane.audit_mark()
    with bound_to(controlplane.admin, "seimigrate-plan", LOOKER):
        for command in ("plan", "status"):
            for more in ([], ["-A"]):
                done = scene.run(command, *more, kubeconfig=kubeconfig)
                assert done.code == 0, done.err
    events = list(controlplane.audit_events(mark))
    print(f"{sum(event['user']['username'] == LOOKER for event in events)} requests")
    assert denied(events, LOOKER) == []
    assert unused(_roles("seimigrate-plan"), events, LOOKER) == []


def test_the_job_in_one_namespace_names_each_rule_that_it_lacks_and_can_do_with_all_of_them(
    scene: Scene, controlplane: ControlPlane, tmp_path: Path
) -> None:
    """Its roles are bound as in examples/apply: what it needs where nodes are, in their namespace alone."""
    kubeconfig = controlplane.kubeconfig(LOOKER, tmp_path / "job.kubeconfig")
    file = tmp_path / "cutover.plan"
    assert scene.run("plan", "--out", str(file)).code == 0

    def apply() -> Done:
        return finish(apply_saved(scene, str(file), "--kubeconfig", str(kubeconfig)))

    tried = 0
    with _job(controlplane.admin, LOOKER, scene.namespace) as (roles, put):
        for role in roles:
            for rule in role["rules"]:
                put(role | {"rules": [each for each in role["rules"] if each != rule]})
                mark = controlplane.audit_mark()
                done = apply()
                print(f"without {rule['verbs']} {rule['resources']}: {done.err.splitlines()[0]}")
                assert done.code == 1, (rule, done.err)
                assert (done.err.count("error:"), done.err.count("hint:")) == (1, 1), done.err
                assert any(name in done.err for name in _names(rule)), (rule, done.err)
                assert unchanged(scene, mark, LOOKER), rule
                tried += 1
            put(role)
        mark = controlplane.audit_mark()
        done = apply()
    assert done.code == 9, done.err
    assert tried > 20
    assert denied(controlplane.audit_events(mark), LOOKER) == []


@contextmanager
def _job(admin: Connection, user: str, namespace: str) -> Iterator[tuple[list[Object], Callable[[Object], None]]]:
    """Give a user the Job's roles for as long as the block lasts; give them, and how to put another in the place."""
    shipped = list(yaml.safe_load_all((ROOT / "deploy" / "apply" / "rbac.yaml").read_text()))
    roles = [each for each in shipped if each["kind"] in ("ClusterRole", "Role")]
    made: list[str] = []

    def create(place: str, body: Object) -> None:
        admin.request("POST", f"{RBAC}/{place}", body=body)
        made.append(f"{RBAC}/{place}/{body['metadata']['name']}")

    def put(role: Object) -> None:
        admin.request("PUT", f"{RBAC}/{_place(role)}/{role['metadata']['name']}", body=role)

    def bind(role: Object) -> None:
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": role["kind"], "name": role["metadata"]["name"]}
        body = {"metadata": {"name": role["metadata"]["name"]}, "roleRef": ref, "subjects": [subject]}
        where = role["metadata"].get("namespace", namespace)
        wide = role["metadata"]["name"] == "seimigrate-apply-cluster"
        create("clusterrolebindings" if wide else f"namespaces/{where}/rolebindings", body)

    try:
        for role in roles:
            create(_place(role), role)
            bind(role)
        yield roles, put
    finally:
        for path in reversed(made):
            admin.request("DELETE", path)


def _place(role: Object) -> str:
    return "clusterroles" if role["kind"] == "ClusterRole" else f"namespaces/{SYSTEM_NAMESPACE}/roles"


def _names(rule: Object) -> list[str]:
    """Give the words by which an error may name a rule: any of its verbs on any of its resources."""
    full = [f"{plural}.{group}" if group else plural for group in rule["apiGroups"] for plural in rule["resources"]]
    return [f'verb "{verb}" on resource "{resource}"' for verb in rule["verbs"] for resource in full]


def _roles(name: str) -> list[Object]:
    return [each for each in shipped() if (each["kind"], each["metadata"]["name"]) == ("ClusterRole", name)]
