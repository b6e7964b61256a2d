"""``verify`` and ``policy render``, and the same judgement as blocker and as gate: a yes or no with evidence."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from seimigrate.app.process import Interrupted
from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.engine.errors import ApiError, Forbidden
from seimigrate.simulation.world import World
from tests.cli.world import SEI, SPLIT, Said, WorldSession, say

GO = ("--no-guard", "--yes", *SPLIT)


@pytest.fixture
def world() -> World:
    made = World()
    made.add_node(SEI, "full-0")
    made.add_node(SEI, "val-0", "validator", sidecar_port=7778)
    made.add_namespace("monitoring")
    return made


def provision(world: World, *words: str) -> Object:
    """Apply what ``policy render`` prints, as GitOps would."""
    told = say(WorldSession(world), "policy", "render", *words, *SPLIT)
    assert told.code == 0, told.err
    [body] = yaml.safe_load_all(told.out)
    return world.cluster.put(Kind.NETWORK_POLICY, body)


def verify(world: World, *words: str) -> Said:
    return say(WorldSession(world), "verify", *SPLIT, *words)


def found(world: World, *words: str) -> dict[str, Any]:
    return {each["code"]: each for each in verify(world, "-o", "json", *words).json["findings"]}


def test_a_fleet_is_open_before_and_closed_after_and_each_part_counts(world: World) -> None:
    before = found(world)
    assert list(before) == ["not-enforced", "policy-missing"]
    assert before["policy-missing"]["nodes"] == ["sei/val-0"]  # the last of two, that differ in the sidecar's port
    provision(world)
    assert list(found(world)) == ["not-enforced"]
    world.replace_controller("new")
    assert say(WorldSession(world), "apply", *GO).code == 0
    told = verify(world, "--probe", "-o", "json")
    assert (told.code, told.json["passed"], told.json["findings"]) == (0, True, [])
    assert told.json["summary"] == {"nodes": 2, "pass": 2, "fail": 0, "unknown": 0}
    world.cluster.objects[Kind.NETWORK_POLICY].clear()
    assert verify(world).code == 4


def test_json_has_exactly_its_keys(world: World) -> None:
    told = verify(world, "-o", "json")
    assert (told.code, told.err) == (4, "")
    page = told.json
    assert list(page) == ["version", "cluster", "passed", "probed", "summary", "findings", "nodes"]
    assert [list(node) for node in page["nodes"]] == [["namespace", "name", "mode", "chain", "shape", "verdict"]] * 2
    keys = ["code", "severity", "object", "field", "message", "admits", "remedy", "nodes"]
    assert {tuple(finding) for finding in page["findings"]} == {tuple(keys)}


def test_a_table_says_each_thing_once_and_ends_with_the_verdict(world: World) -> None:
    for number in range(1, 6):
        world.add_node(SEI, f"full-{number}")
    told = verify(world)
    assert told.out.count("not-enforced") == 1
    assert "SeiNode sei/full-0, sei/full-1, sei/full-2 and 4 more" in told.out
    assert "closed: no (7 of 7 nodes not)" in told.out
    assert told.out.splitlines()[-1].startswith("next: seimigrate plan")
    assert max(map(len, told.out.splitlines()[:-1])) <= 100


def test_it_writes_nothing_and_asks_pods_only_when_told_to(world: World) -> None:
    world.stop_controller()
    world.cluster.requests.clear()
    session = WorldSession(world)
    say(session, "verify", *SPLIT)
    assert session.opened == ["connect None"]
    say(session, "verify", "--probe", *SPLIT)
    assert session.opened[-1] == "pods seimigrate-system/seimigrate True"
    assert {request.verb for request in world.cluster.requests} <= {"get", "list"}


def test_pods_that_are_asked_tell_what_templates_cannot(world: World) -> None:
    probed = found(world, "--probe")
    assert probed["anonymous-access"]["object"] == "Pod sei/val-0-0"
    assert "/v0/metrics" in probed["anonymous-access"]["message"]
    assert probed["no-response"]["field"] == ":9100"
    world.faults(SEI, "full-0").unreachable = True
    [node] = verify(world, "--probe", "--node", "sei/full-0", "-o", "json").json["nodes"]
    assert node["verdict"] == "fail"


def test_policies_of_kinds_that_are_not_judged_are_named(world: World) -> None:
    world.cluster.put(Kind.CILIUM_POLICY, {"metadata": {"namespace": SEI, "name": "theirs"}})
    assert "sei/theirs" in found(world)["policy-kind-unsupported"]["object"]


@pytest.mark.parametrize("kind", [Kind.CILIUM_POLICY, Kind.POD_MONITOR, Kind.CLUSTER_ROLE])
def test_a_kind_that_may_not_be_listed_is_no_absent_one(world: World, kind: Kind) -> None:
    assert "forbidden-or-unreadable" not in found(world)

    def refuse(request: Any) -> None:
        if request.kind is kind:
            raise Forbidden("no")

    world.cluster.before_request = refuse
    told = found(world)["forbidden-or-unreadable"]
    assert (told["object"], told["severity"]) == (kind.resource.qualified, "unknown")
    assert "seimigrate-verify" in told["remedy"]


def test_policies_that_cannot_be_listed_are_unknown_and_it_is_said_why(world: World) -> None:
    def break_down(request: Any) -> None:
        if request.kind is Kind.CALICO_OWN_POLICY:
            raise ApiError("service unavailable")

    world.cluster.before_request = break_down
    told = found(world)["forbidden-or-unreadable"]
    assert (told["object"], told["severity"]) == ("networkpolicies.projectcalico.org", "unknown")
    assert "could not be listed (service unavailable)" in told["message"]


def test_the_tasks_of_the_nodes_are_for_those_who_are_expected(world: World) -> None:
    rule = {"apiGroups": ["sei.io"], "resources": ["seinodetasks"], "verbs": ["create"]}
    world.cluster.put(Kind.CLUSTER_ROLE, {"metadata": {"name": "tasks"}, "rules": [rule]})
    binding = {
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "ci"},
        "roleRef": {"kind": "ClusterRole", "name": "tasks"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "ci", "name": "robot"}],
    }
    world.cluster.put(Kind.CLUSTER_ROLE_BINDING, binding)
    account = "system:serviceaccount:ci:robot"
    assert account in found(world)["tasks-unexpected"]["message"]
    assert "tasks-unexpected" not in found(world, "--set", f"access.accounts=['{account}']")


# The same judgement as blocker and as gate.


def test_a_cutover_goes_through_without_any_acceptance_where_the_policy_fits(world: World) -> None:
    provision(world)
    assert say(WorldSession(world), "hold", "--yes").code == 0
    world.replace_controller("new")
    done = say(WorldSession(world), "apply", *GO, "-o", "json")
    assert done.code == 0
    assert [node["outcome"] for node in done.json["nodes"]] == ["done", "done"]
    assert not any("in spite of" in note for node in done.json["nodes"] for note in node["notes"])


def test_what_is_open_blocks_and_acceptance_is_written_down(world: World) -> None:
    blocked = say(WorldSession(world), "apply", *GO, "-o", "json", "--node", "sei/full-0")
    assert blocked.code == 4
    assert [each["code"] for each in blocked.json["nodes"][0]["blockers"]] == ["policy-missing"]
    world.replace_controller("new")
    unjudged = say(WorldSession(world), "apply", *GO, "--accept-unknown-policies", "--node", "sei/full-0")
    assert unjudged.code == 4, "what is known is not unjudged"
    words = ("--accept-policy-violations", "-o", "json", "--node", "sei/full-0")
    done = say(WorldSession(world), "apply", *GO, *words)
    assert done.code == 0
    assert any(
        note.startswith("accepted finding: Namespace sei: has no Net") for note in done.json["nodes"][0]["notes"]
    )


def test_what_cannot_be_judged_blocks_until_that_is_accepted(world: World) -> None:
    world.cluster.put(Kind.CILIUM_POLICY, {"metadata": {"namespace": SEI, "name": "theirs"}})
    provision(world)
    blocked = say(WorldSession(world), "apply", *GO, "-o", "json", "--node", "sei/full-0")
    assert [each["code"] for each in blocked.json["nodes"][0]["blockers"]] == ["policy-kind-unsupported"]
    assert "--accept-unknown-policies" in blocked.json["nodes"][0]["blockers"][0]["remedy"]
    world.replace_controller("new")
    words = ("--accept-unknown-policies", "-o", "json", "--node", "sei/full-0")
    done = say(WorldSession(world), "apply", *GO, *words)
    assert done.code == 0
    assert any("accepted finding: cilium" in note for note in done.json["nodes"][0]["notes"])


def test_a_policy_that_goes_away_meanwhile_pauses_the_node_where_it_is(world: World) -> None:
    provision(world)
    world.replace_controller("new")

    def gone(request: Any) -> None:
        if request.verb == "patch" and "ignore-paths" in str(request.body):
            world.cluster.objects[Kind.NETWORK_POLICY].clear()

    world.cluster.after_request = gone
    node = ("--node", "sei/full-0", "-o", "json")
    [paused] = say(WorldSession(world), "apply", *GO, *node).json["nodes"]
    assert (paused["outcome"], paused["stage"]) == ("paused", "policy")
    assert paused["reason"].startswith("fail: Namespace sei: has no NetworkPolicy")
    world.cluster.after_request = None
    provision(world)
    [done] = say(WorldSession(world), "apply", *GO, *node).json["nodes"]
    assert (done["outcome"], done["restarts"]) == ("done", 2)


def test_metrics_that_would_vanish_block_whatever_is_accepted(world: World) -> None:
    provision(world)
    monitor: Object = {
        "kind": "PodMonitor",
        "metadata": {"namespace": SEI, "name": "nodes"},
        "spec": {"selector": {}, "podMetricsEndpoints": [{"port": "api", "path": "/v0/metrics"}]},
    }
    world.cluster.put(Kind.POD_MONITOR, monitor)
    [node] = say(WorldSession(world), "plan", *SPLIT, "-o", "json", "--node", "sei/full-0").json["nodes"]
    assert [each["code"] for each in node["blockers"]] == ["scrapes-proxy"]
    assert say(WorldSession(world), "apply", *GO, "--accept-policy-violations").code == 4
    monitor["spec"]["podMetricsEndpoints"].append({"port": "public", "path": "/v0/metrics"})
    world.cluster.put(Kind.POD_MONITOR, monitor)
    [node] = say(WorldSession(world), "plan", *SPLIT, "-o", "json", "--node", "sei/full-0").json["nodes"]
    assert node["blockers"] == []
    assert any("take that" in warning or "scrapes :8443" in warning for warning in node["warnings"])


# The template.


def test_the_rendered_policy_lets_in_who_must_and_nobody_else(world: World) -> None:
    body = provision(world, "--set", "access.clients=[{podSelector: {matchLabels: {app: cli}}}]")
    spec = body["spec"]
    assert spec["podSelector"] == {"matchExpressions": [{"key": "sei.io/node", "operator": "Exists"}]}
    proxy, public, others = spec["ingress"]
    assert [port["port"] for port in proxy["ports"]] == [8443]
    assert proxy["from"][1] == {"podSelector": {"matchLabels": {"app": "cli"}}}
    assert public["from"][0] == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    assert {26656, 26657} <= {port["port"] for port in others["ports"]}
    assert not {7777, 7778, 8443, 9100} & {port["port"] for port in others["ports"]}


def test_a_policy_is_rendered_for_each_namespace_with_nodes_and_none_is_applied(world: World) -> None:
    world.add_node("more", "full-9")
    told = say(WorldSession(world), "policy", "render", "-A")
    bodies = [*yaml.safe_load_all(told.out)]
    assert [body["metadata"]["namespace"] for body in bodies] == ["more", SEI]
    assert "&id" not in told.out
    assert not world.cluster.objects[Kind.NETWORK_POLICY]


def test_without_a_controller_there_is_nothing_to_render(world: World) -> None:
    world.cluster.objects[Kind.DEPLOYMENT].clear()
    told = say(WorldSession(world), "policy", "render")
    assert (told.code, told.out) == (1, "")
    assert "--controller-account" in told.err


# Probes.


def probed(world: World, answer: str, *words: str) -> dict[str, Any]:
    """Let each probe's pod end as it is made, having found the same at each of its targets."""
    made: list[Object] = []

    def end(request: Any) -> None:
        if request.verb == "create" and request.kind is Kind.POD and "probe" in request.body["metadata"]["name"]:
            name = request.body["metadata"]["name"]
            made.append(request.body)
            targets = len(request.body["spec"]["containers"][0]["command"]) - 4
            message = "".join(f"{number}{answer}\n" for number in range(targets))
            state = {"terminated": {"exitCode": 0, "message": message}}
            status = {
                "phase": "Succeeded",
                "podIPs": [{"ip": "10.9.9.9"}],
                "containerStatuses": [{"name": "probe", "state": state}],
            }
            world.cluster.client("kubelet").patch_status(Kind.POD, request.namespace, name, status)

    world.cluster.after_request = end
    codes = found(world, "--probe-from", "monitoring", *words)
    world.cluster.after_request = None
    assert made
    assert not [pod for pod in world.cluster.listed(Kind.POD, "monitoring") if "probe" in pod["metadata"]["name"]]
    return codes


def test_a_network_that_enforces_nothing_is_found_by_a_probe(world: World) -> None:
    provision(world)
    open_ = probed(world, "o")["policy-not-enforced"]
    assert open_["object"] == "Namespace monitoring"
    shut = probed(world, "s")
    assert "policy-not-enforced" not in shut
    assert shut["blocked-by-other"]["severity"] == "warning"


def test_a_probe_that_finds_what_the_policies_say_adds_nothing(world: World) -> None:
    assert {"policy-not-enforced", "blocked-by-other"}.isdisjoint(probed(world, "o"))  # no policy: all is open
    assert {"policy-not-enforced", "blocked-by-other"}.isdisjoint(probed(world, "r"))


def test_a_probe_that_tells_nothing_is_unknown_and_is_deleted(world: World) -> None:
    assert probed(world, "?")["probe-failed"]["severity"] == "unknown"


@pytest.mark.parametrize("when", ["create", "get"])
def test_a_probe_that_is_broken_off_is_deleted_all_the_same(world: World, when: str) -> None:
    def leave(request: Any) -> None:
        probe = request.kind is Kind.POD and request.namespace == "monitoring"
        if probe and request.verb == when:
            world.cluster.after_request = None
            raise Interrupted

    world.cluster.after_request = leave
    assert verify(world, "--probe-from", "monitoring").code == 5
    assert world.cluster.after_request is not leave, "it was broken off"
    assert world.cluster.listed(Kind.POD, "monitoring") == []


def test_no_probe_is_made_unless_a_namespace_is_named(world: World) -> None:
    world.cluster.requests.clear()
    verify(world, "--probe")
    assert not [request for request in world.cluster.requests if request.kind is Kind.POD and request.verb == "create"]


def test_a_controller_without_its_labels_is_known_by_the_account_that_is_named(world: World) -> None:
    [deployment] = world.cluster.listed(Kind.DEPLOYMENT)
    account = f"{deployment['metadata']['namespace']}/{deployment['spec']['template']['spec']['serviceAccountName']}"
    provision(world)
    bare = [{"op": "remove", "path": "/metadata/labels"}]
    world.cluster.patch(Kind.DEPLOYMENT, deployment["metadata"]["namespace"], deployment["metadata"]["name"], bare)
    assert found(world)["controller-unknown"]["severity"] == "unknown"
    assert list(found(world, "--controller-account", account)) == ["not-enforced"]
    node = ("--node", "sei/full-0", "--controller-account", account)
    assert say(WorldSession(world), "apply", *GO, *node).code == 9
