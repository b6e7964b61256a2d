"""What the roles of deploy/ allow is what their commands need, by the API server's audit log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from seimigrate.adapters.api import ApiCluster, Connection, connect
from seimigrate.domain.kube.kinds import SYSTEM_NAMESPACE, Object
from seimigrate.engine.errors import Forbidden
from tests.apiserver.scene import Scene, delete_namespace, new_namespace
from tests.apiserver.test_watching import apply_saved
from tests.commandline import RBAC, ROOT, Done, bound_to, created, finish, shipped
from tests.controlplane.process import ControlPlane
from tests.rbac_usage import asked_only_what_it_may, assert_named, denied, named, unused, without_each

LOOKER = "nobody"
ACCOUNTS = ("seimigrate-plan", "seimigrate-apply", "seimigrate-guard")


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

    def lacking(role: Object) -> Done:
        put(role)
        mark = controlplane.audit_mark()
        done = apply()
        assert done.code == 1, done.err
        assert (done.err.count("error:"), done.err.count("hint:")) == (1, 1), done.err
        assert done.err.startswith(f"error: user {LOOKER} lacks permissions"), done.err
        assert asked_only_what_it_may(controlplane.audit_events(mark), LOOKER)
        return done

    with _job(controlplane.admin, LOOKER, scene.namespace) as (roles, put):
        for role in roles:
            for less, lost in without_each([role]):
                done = lacking(less)
                print(done.err)
                assert_named(done.err, lost, scene.namespace)
            put(role)
        for role in roles[1:]:
            put(role | {"rules": []})
        done = lacking(roles[0] | {"rules": []})
        print(done.err)
        assert len(named(done.err)) > 60
        for role in roles:
            put(role)
        mark = controlplane.audit_mark()
        done = apply()
    assert done.code == 9, done.err
    assert denied(controlplane.audit_events(mark), LOOKER) == []


def test_an_account_gets_the_one_token_that_its_role_names_and_nobody_elses(
    rights: ControlPlane, tmp_path: Path
) -> None:
    """Neither its own, if it is not that, nor one of an account of the same name elsewhere."""
    admin, elsewhere = rights.admin, new_namespace(rights)
    named_so = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "seimigrate", "namespace": elsewhere},
    }
    with created(admin, [*_accounts_and_roles(), named_so]):
        there = [f"{SYSTEM_NAMESPACE}/{name}" for name in ("seimigrate", *ACCOUNTS)]
        got = {
            (name, target)
            for name in ("seimigrate", *ACCOUNTS)
            for target in (*there, f"{elsewhere}/seimigrate", f"{elsewhere}/default")
            if _gets_token(_as_account(rights, tmp_path, name), target)
        }
    delete_namespace(rights, elsewhere)
    print(f"{len(ACCOUNTS) + 1} accounts asked for {len(there) + 2} tokens each, and got {sorted(got)}")
    assert got == {
        ("seimigrate-apply", f"{SYSTEM_NAMESPACE}/seimigrate"),
        ("seimigrate-guard", f"{SYSTEM_NAMESPACE}/seimigrate-guard"),
    }


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


def _accounts_and_roles() -> list[Object]:
    """Give what deploy/ ships but for what runs."""
    files = ("rbac.yaml", "plan.yaml", "guard.yaml", "apply/rbac.yaml")
    found = [body for file in files for body in yaml.safe_load_all((ROOT / "deploy" / file).read_text())]
    return [body for body in found if body["kind"] != "Deployment"]


def _as_account(controlplane: ControlPlane, folder: Path, name: str) -> Connection:
    token = ApiCluster(controlplane.admin).create_token(SYSTEM_NAMESPACE, name)
    file = controlplane.kubeconfig(LOOKER, folder / name, token=token)
    return connect(None, str(file))


def _gets_token(connection: Connection, account: str) -> bool:
    namespace, _, name = account.partition("/")
    try:
        ApiCluster(connection).create_token(namespace, name)
    except Forbidden:
        return False
    return True


def _roles(name: str) -> list[Object]:
    return [each for each in shipped() if (each["kind"], each["metadata"]["name"]) == ("ClusterRole", name)]
