"""Somebody else's hand in the middle of a cutover."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from seimigrate.adapters.api import path_of
from seimigrate.domain.kube.kinds import Kind
from seimigrate.engine.errors import Denied, NotFound
from tests.apiserver.scene import NAME, Scene

PROXY_ARGUMENTS = "/spec/template/spec/initContainers/2/args"


def test_what_others_change_beside_ours_survives_cutover_and_rollback(scene: Scene) -> None:
    assert scene.run("apply").code == 9
    scene.edit(Kind.STATEFUL_SET, {"op": "add", "path": f"{PROXY_ARGUMENTS}/-", "value": "--v=3"})
    scene.edit(Kind.SERVICE, {"op": "add", "path": "/metadata/annotations", "value": {"somebody": "else"}})
    done = scene.run("rollback")
    assert done.code in (0, 9), done.err
    arguments = scene.statefulset["spec"]["template"]["spec"]["initContainers"][2]["args"]
    assert any(argument.startswith("--ignore-paths=") for argument in arguments)
    assert scene.service["metadata"]["annotations"]["somebody"] == "else"


def test_our_own_field_changed_by_somebody_is_named_and_left_alone_unless_forced(scene: Scene) -> None:
    assert scene.run("apply").code == 9
    port = {"name": "public", "port": 9100, "protocol": "TCP", "targetPort": 9101}
    ports = [entry["name"] for entry in scene.service["spec"]["ports"]]
    where = f"/spec/ports/{ports.index('public')}"
    scene.edit(Kind.SERVICE, {"op": "replace", "path": where, "value": port})
    done = scene.run("rollback", "-o", "json")
    assert done.code in (0, 9), done.err
    assert any("spec.ports[port=9100" in note for note in done.json["nodes"][0]["notes"])
    assert any(entry["port"] == 9100 for entry in scene.service["spec"]["ports"])


def test_a_hold_taken_off_in_the_middle_stops_the_node(scene: Scene) -> None:
    run = scene.start("apply", "-o", "json")
    scene.wait_for(lambda: "SEI_SIDECAR_PUBLIC_PORT" in str(scene.statefulset["spec"]), "the first write")
    hold = "/metadata/labels/seimigrate.sei.io~1hold"
    scene.edit(Kind.STATEFUL_SET, {"op": "remove", "path": hold})
    out, err = run.communicate(timeout=120)
    assert run.returncode == 5, (out, err)
    assert "hold" in out


def test_a_policy_changed_in_the_middle_stops_the_node(scene: Scene) -> None:
    run = scene.start("apply", "-o", "json")
    scene.wait_for(lambda: "SEI_SIDECAR_PUBLIC_PORT" in str(scene.statefulset["spec"]), "the first write")
    path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/seimigrate-hold"
    scene.controlplane.admin.request("DELETE", path)
    out, err = run.communicate(timeout=120)
    assert run.returncode == 5, (out, err)
    assert "seimigrate-hold is gone" in out


ADMISSION = "/apis/admissionregistration.k8s.io/v1"
POLICIES, BINDINGS = f"{ADMISSION}/validatingadmissionpolicies", f"{ADMISSION}/validatingadmissionpolicybindings"


@contextmanager
def somebodys_policy(scene: Scene) -> Iterator[None]:
    """Let somebody else's policy deny changes of this node's template, from the block's beginning to its end."""
    admin, name = scene.controlplane.admin, f"fridays-{scene.namespace}"
    mine = f"request.namespace == '{scene.namespace}' && request.userInfo.username == 'operator'"
    rules = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["statefulsets"]}
    unchanged = "object.spec.template == oldObject.spec.template"
    spec = {
        "matchConstraints": {"resourceRules": [rules]},
        "matchConditions": [{"name": "ours", "expression": mine}],
        "validations": [{"expression": unchanged, "message": "no templates on Fridays"}],
    }
    admin.request("POST", POLICIES, body={"metadata": {"name": name}, "spec": spec})
    bound = {"policyName": name, "validationActions": ["Deny"]}
    admin.request("POST", BINDINGS, body={"metadata": {"name": name}, "spec": bound})
    scene.wait_for(lambda: _denied(scene), "the policy to be active")
    try:
        yield
    finally:
        admin.request("DELETE", f"{BINDINGS}/{name}")
        admin.request("DELETE", f"{POLICIES}/{name}")
    scene.wait_for(lambda: not _denied(scene), "the policy to be gone")


def _denied(scene: Scene) -> bool:
    path = "/spec/template/spec/terminationGracePeriodSeconds"
    try:
        scene.controlplane.connection("operator").request(
            "PATCH",
            path_of(Kind.STATEFUL_SET, scene.namespace, NAME),
            query={"dryRun": "All"},
            body=[{"op": "add", "path": path, "value": 77}],
            content_type="application/json-patch+json",
        )
    except Denied:
        return True
    return False


def test_a_node_whose_template_somebodys_policy_denies_is_let_be_and_the_policy_is_named(scene: Scene) -> None:
    before, service = scene.statefulset["spec"], scene.service["spec"]
    with somebodys_policy(scene):
        done = scene.run("apply", "-o", "json")
    # The trial of the hold is a write of the template, too; which policy answers it is the API server's choice.
    assert done.code in (4, 6), (done.out, done.err)
    assert "no templates on Fridays" in done.json["nodes"][0]["reason" if done.code == 4 else "failure"]
    assert (scene.statefulset["spec"], scene.service["spec"]) == (before, service)
    assert scene.ours() == []
    assert scene.ready


def test_a_way_back_that_somebodys_policy_denies_is_8_and_goes_on_without_it(scene: Scene) -> None:
    before, service = scene.statefulset["spec"], scene.service["spec"]
    assert scene.run("apply").code == 9
    with somebodys_policy(scene):
        done = scene.run("rollback")
        assert done.code == 8, (done.out, done.err)
        assert "no templates on Fridays" in " ".join(done.out.split())
        assert "next: seimigrate rollback" in done.out
    assert scene.run("rollback").code == 0
    assert (scene.statefulset["spec"], scene.service["spec"]) == (before, service)
    assert scene.ours() == []


def test_a_pause_asked_for_in_the_middle_goes_before_the_migration(scene: Scene) -> None:
    run = scene.start("apply", "-o", "json")
    scene.wait_for(lambda: "SEI_SIDECAR_PUBLIC_PORT" in str(scene.statefulset["spec"]), "the first write")
    scene.edit(Kind.SEI_NODE, {"op": "add", "path": "/spec/paused", "value": True})
    out, err = run.communicate(timeout=120)
    assert run.returncode == 5, (out, err)
    scene.wait_for(lambda: scene.statefulset["spec"]["replicas"] == 0, "the controller to scale it to zero")


def test_a_pod_that_an_outsider_deletes_while_its_node_moves_gets_ready_again(scene: Scene) -> None:
    run = scene.start("apply", "--strategy", "merged")
    uid = scene.pod["metadata"]["uid"]
    scene.wait_for(lambda: _uid(scene) not in ("", uid), "the replacement")
    second = _uid(scene)
    scene.controlplane.admin.request(
        "DELETE", f"/api/v1/namespaces/{scene.namespace}/pods/node-0-0", body={"gracePeriodSeconds": 5}
    )
    out, err = run.communicate(timeout=120)
    assert run.returncode == 9, (out, err)
    assert scene.pod["metadata"]["uid"] != second


def _uid(scene: Scene) -> str:
    """Give the pod's uid, nothing while there is no pod."""
    try:
        return str(scene.pod["metadata"]["uid"])
    except NotFound:
        return ""
