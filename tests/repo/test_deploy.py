"""What deploy/ ships: guard and Job have the rights that they ask for and no others, and hardened pods."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from seimigrate.app.exit_codes import Exit
from seimigrate.domain.kube.kinds import SYSTEM_NAMESPACE, Kind
from seimigrate.domain.permissions import JOB, Permission, Scope
from seimigrate.engine.errors import Forbidden
from seimigrate.engine.permissions import GUARD_PERMISSIONS, RequiredPermissions, require, token_of

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
Grant = tuple[str, str, str, str, str]
"""Where, group, resource, verb, and the only name that it is for, if it is for one."""


def objects() -> list[dict[str, Any]]:
    listed = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())["resources"]
    return [body for file in listed for body in yaml.safe_load_all((DEPLOY / file).read_text())]


def rules(kind: str) -> list[dict[str, Any]]:
    [role] = [o for o in objects() if o["kind"] == kind and o["metadata"]["name"] == "seimigrate-guard"]
    found: list[dict[str, Any]] = role["rules"]
    return found


def grants(rule: dict[str, Any], right: Permission, verb: str) -> bool:
    kind = right.kind.resource
    resource = f"{kind.plural}/{right.subresource}" if right.subresource else kind.plural
    named = right.name in rule.get("resourceNames", [right.name])
    return kind.group in rule["apiGroups"] and resource in rule["resources"] and verb in rule["verbs"] and named


def test_the_guard_may_do_what_it_asks_for_and_asks_for_all_that_it_may() -> None:
    asked = [*GUARD_PERMISSIONS, *token_of((SYSTEM_NAMESPACE, "seimigrate-guard"))]
    used = []
    for right in asked:
        given = rules("ClusterRole") + ([] if right.scope is Scope.NODES else rules("Role"))
        for verb in right.verbs:
            found = [rule for rule in given if grants(rule, right, verb)]
            assert found, (verb, right)
            used += found
    assert [rule for rule in rules("ClusterRole") + rules("Role") if rule not in used] == []


def test_the_guard_can_change_nothing_but_its_lease_and_its_journal() -> None:
    wide = {(r, v) for rule in rules("ClusterRole") for r in rule["resources"] for v in rule["verbs"]}
    assert {(r, v) for r, v in wide if v not in ("get", "list", "watch")} == {("pods/portforward", "create")}
    near = rules("Role")
    assert all(rule.get("resourceNames") or rule["verbs"] == ["create"] for rule in near)
    assert not any("secrets" in rule["resources"] for rule in near + rules("ClusterRole"))


@pytest.mark.parametrize(("kind", "command"), [("Deployment", "guard"), ("Job", "apply")])
def test_the_pods_are_not_root_and_their_root_is_read_only(kind: str, command: str) -> None:
    [workload] = [o for o in objects() + job_objects() if o["kind"] == kind]
    assert workload["metadata"]["namespace"] == SYSTEM_NAMESPACE
    pod = workload["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["args"][0] == command
    assert "USER 65532:65532" in (DEPLOY / "Dockerfile").read_text()


class Allowed:
    """Who may do what the Job's roles say in the cluster as a whole, but for one verb on one resource."""

    def __init__(self, roles: list[dict[str, Any]], without: Grant | None = None) -> None:
        self._granted = {grant for role in roles for grant in verbs(role)} - {without}

    def can(self, verb: str, kind: Kind, namespace: str, subresource: str = "", name: str = "") -> bool:
        group, resource = kind.resource.group, kind.resource.plural
        full = f"{resource}/{subresource}" if subresource else resource
        place = {"": "seimigrate-apply-cluster", SYSTEM_NAMESPACE: "Role", "sei-a": "seimigrate-apply"}[namespace]
        places = (place, "seimigrate-apply-cluster")
        return any((where, group, full, verb, of) in self._granted for where in places for of in {"", name})

    def user(self) -> str:
        return JOB


def verbs(role: dict[str, Any]) -> Iterator[Grant]:
    """Yield each verb on each resource of a role, with where it holds, and for which name if it is for one."""
    place = "Role" if role["kind"] == "Role" else role["metadata"]["name"]
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    for name in rule.get("resourceNames", [""]):
                        yield place, group, resource, verb, name


def test_the_job_may_do_what_it_asks_for_and_asks_for_all_that_it_may() -> None:
    roles = [o for o in job_objects() if o["kind"] in ("ClusterRole", "Role")]
    needs = RequiredPermissions(["sei-a"], account=(SYSTEM_NAMESPACE, "seimigrate"), identity=True)
    require(Allowed(roles), needs)
    for role in roles:
        for grant in verbs(role):
            _, group, resource, verb, name = grant
            with pytest.raises(Forbidden) as refused:
                require(Allowed(roles, grant), needs)
            [line] = [line for line in refused.value.message.splitlines() if line.startswith("  ")]
            assert line.split()[:2] == [verb, f"{resource}.{group}" if group else resource]
            assert line.endswith(f"resourceNames: {name}") is bool(name)
            given = f"{role['kind']} {role['metadata']['name']} of deploy/apply/rbac.yaml grants them: "
            assert refused.value.hint.startswith(given)


def test_the_job_reads_no_secret_impersonates_nobody_and_gets_no_other_accounts_token() -> None:
    given = {
        (resource, verb) for o in job_objects() + objects() if "rules" in o for _, _, resource, verb, _ in verbs(o)
    }
    assert not {(resource, verb) for resource, verb in given if resource == "secrets" or verb in ("impersonate", "*")}
    tokens = [r for o in job_objects() for r in o.get("rules", []) if "serviceaccounts/token" in r["resources"]]
    assert [rule["resourceNames"] for rule in tokens] == [["seimigrate"]]
    assert [o["kind"] for o in job_objects() if any(rule in o.get("rules", []) for rule in tokens)] == ["Role"]


def test_the_job_is_begun_again_after_what_may_pass_and_never_after_what_a_person_decides() -> None:
    [job] = [o for o in job_objects() if o["kind"] == "Job"]
    drained, ended = job["spec"]["podFailurePolicy"]["rules"]
    assert (drained["action"], drained["onPodConditions"]) == (
        "Ignore",
        [{"type": "DisruptionTarget", "status": "True"}],
    )
    assert (ended["action"], ended["onExitCodes"]["operator"]) == ("FailJob", "In")
    again = {Exit.DONE, Exit.ERROR, Exit.LOCKED, Exit.TERMINATED}
    never_of_apply = {Exit.PENDING}
    assert {*ended["onExitCodes"]["values"]} == {*Exit} - again - never_of_apply


def job_objects() -> list[dict[str, Any]]:
    """Give what deploy/apply has."""
    folder = DEPLOY / "apply"
    return [
        body for file in _kustomization(folder)["resources"] for body in yaml.safe_load_all((folder / file).read_text())
    ]


def test_the_examples_for_some_namespaces_bind_in_each_what_is_bound_everywhere_else() -> None:
    """But for those who only look, which they do at the cluster as a whole."""
    for folder, there, kept in (
        ("namespaces", objects(), {"seimigrate-plan"}),
        ("apply", job_objects(), {"seimigrate-apply-cluster"}),
    ):
        everywhere = [o for o in there if o["kind"] == "ClusterRoleBinding" and o["metadata"]["name"] not in kept]
        example = DEPLOY.parent / "examples" / folder
        bindings = list(yaml.safe_load_all((example / "bindings.yaml").read_text()))
        for namespace in ("sei-a", "sei-b"):
            near = [o for o in bindings if o["metadata"]["namespace"] == namespace]
            assert _bound(near) == _bound(everywhere) != set()
        [target] = [p["target"] for p in _kustomization(example)["patches"] if p["patch"].startswith("$patch: delete")]
        deleted = {o["metadata"]["name"] for o in there if o["kind"] == target["kind"] and _named(o, target["name"])}
        assert deleted == {o["metadata"]["name"] for o in everywhere}


def test_the_guard_of_the_example_is_told_which_namespaces() -> None:
    example = DEPLOY.parent / "examples" / "namespaces"
    [patch] = [p for p in _kustomization(example)["patches"] if p["target"]["kind"] == "Deployment"]
    [change] = yaml.safe_load(patch["patch"])
    [deployment] = [o for o in objects() if o["kind"] == "Deployment"]
    given = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert change["value"] == [word for each in given for word in (NAMED if each == "-A" else [each])]


NAMED = ["-n", "sei-a", "-n", "sei-b"]


def _bound(bindings: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(o["roleRef"]["name"], who) for o in bindings for who in _who(o)}


def _named(obj: dict[str, Any], pattern: str) -> bool:
    """Tell whether kustomize takes an object for a target: its patterns are anchored at both ends."""
    return re.fullmatch(pattern, obj["metadata"]["name"]) is not None


def _who(binding: dict[str, Any]) -> list[str]:
    return [f"{s['namespace']}/{s['name']}" for s in binding["subjects"]]


def _kustomization(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / "kustomization.yaml").read_text())
    return found
