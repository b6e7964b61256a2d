"""What deploy/ ships: the guard has the rights that it asks for and no others that matter, and a hardened pod."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from seimigrate.domain.kinds import SYSTEM_NAMESPACE
from seimigrate.engine.rights import GUARD, Where

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def objects() -> list[dict[str, Any]]:
    listed = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())["resources"]
    return [body for file in listed for body in yaml.safe_load_all((DEPLOY / file).read_text())]


def rules(kind: str) -> list[dict[str, Any]]:
    [role] = [o for o in objects() if o["kind"] == kind and o["metadata"]["name"] == "seimigrate-guard"]
    found: list[dict[str, Any]] = role["rules"]
    return found


def grants(rule: dict[str, Any], group: str, resource: str, verb: str) -> bool:
    named = "resourceNames" in rule
    return group in rule["apiGroups"] and resource in rule["resources"] and verb in rule["verbs"] and not named


def test_the_guard_may_do_what_it_asks_for() -> None:
    for right in GUARD:
        kind = right.kind.resource
        resource = f"{kind.plural}/{right.subresource}" if right.subresource else kind.plural
        given = rules("ClusterRole") + (rules("Role") if right.where is Where.SYSTEM else [])
        for verb in right.verbs:
            assert any(grants(rule, kind.group, resource, verb) for rule in given), (verb, resource)


def test_the_guard_can_change_nothing_but_its_lease_and_its_journal() -> None:
    wide = {(r, v) for rule in rules("ClusterRole") for r in rule["resources"] for v in rule["verbs"]}
    assert {(r, v) for r, v in wide if v not in ("get", "list", "watch")} == {("pods/portforward", "create")}
    near = rules("Role")
    assert all(rule.get("resourceNames") or rule["verbs"] == ["create"] for rule in near)
    assert not any("secrets" in rule["resources"] for rule in near + rules("ClusterRole"))


def test_the_guards_pod_is_not_root_and_its_root_is_read_only() -> None:
    [deployment] = [o for o in objects() if o["kind"] == "Deployment"]
    assert deployment["metadata"]["namespace"] == SYSTEM_NAMESPACE
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["args"][0] == "guard"
    assert "USER 65532:65532" in (DEPLOY / "Dockerfile").read_text()


def test_the_example_for_some_namespaces_binds_in_each_what_is_bound_everywhere_else() -> None:
    everywhere = {(o["roleRef"]["name"], *_who(o)) for o in objects() if o["kind"] == "ClusterRoleBinding"}
    example = DEPLOY.parent / "examples" / "namespaces"
    bindings = list(yaml.safe_load_all((example / "bindings.yaml").read_text()))
    for namespace in ("sei-a", "sei-b"):
        near = [o for o in bindings if o["metadata"]["namespace"] == namespace]
        bound = {(o["roleRef"]["name"], who) for o in near for who in _who(o)}
        assert bound == {(role, who) for role, *names in everywhere for who in names}
    [patch] = [p for p in _kustomization(example)["patches"] if p["target"]["kind"] == "Deployment"]
    [change] = yaml.safe_load(patch["patch"])
    [deployment] = [o for o in objects() if o["kind"] == "Deployment"]
    given = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert change["value"] == [word for each in given for word in (NAMED if each == "-A" else [each])]


NAMED = ["-n", "sei-a", "-n", "sei-b"]


def _who(binding: dict[str, Any]) -> list[str]:
    return [f"{s['namespace']}/{s['name']}" for s in binding["subjects"]]


def _kustomization(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / "kustomization.yaml").read_text())
    return found
