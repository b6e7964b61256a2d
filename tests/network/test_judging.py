"""Each finding about who reaches a node: provoked, and a neighbour that is almost the same and is not found."""

from __future__ import annotations

from typing import Any

import pytest

from seimigrate.domain.findings import Finding, FindingSeverity
from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.verify.network import inventory
from tests.engine.harness import make_plan
from tests.network.scene import (
    CONTROLLER,
    CONTROLLER_PEER,
    MONITORING,
    OPEN,
    SYSTEM,
    codes,
    judged,
    named,
    namespace,
    node,
    pod,
    policy,
    rule,
    tight,
)


def only(code: str, *policies: Object, **more: Any) -> Finding:
    [finding] = [each for each in judged(*policies, **more) if each.code == code]
    return finding


def test_a_policy_that_fits_leaves_nothing_to_find() -> None:
    assert codes(tight()) == []


def test_no_policy_is_found_and_says_that_everybody_gets_in() -> None:
    finding = only("policy-missing")
    assert finding.severity is FindingSeverity.ERROR
    assert finding.object == "Namespace sei"
    assert finding.admits == "everybody reaches :8443 (proxy), :9100 (public) and :7777 (sidecar)"
    assert codes(policy(where="other", ingress=[])) == ["policy-missing"]  # another namespace's is none


def test_a_policy_that_does_not_select_the_node_is_named_with_its_selector() -> None:
    astray = tight(podSelector={"matchLabels": {"app": "seid"}})
    finding = only("policy-does-not-select", astray)
    assert "guard (app=seid)" in finding.message
    assert codes(tight(podSelector={"matchLabels": {"sei.io/node": "node-0"}})) == []


def test_a_policy_of_outgoing_traffic_alone_does_not_isolate() -> None:
    outgoing = policy(policyTypes=["Egress"], egress=[{}])
    assert only("policy-does-not-isolate", outgoing).object == "NetworkPolicy sei/guard"
    assert "policy-does-not-isolate" not in codes(policy(policyTypes=["Ingress", "Egress"], ingress=[], egress=[{}]))


TOO_BROAD: list[tuple[str, Object, str, str]] = [
    # what lets whom in, the place of it, who gets in, and which ports
    ("everybody", rule(9100), "ingress[3]", "every pod and every address"),
    ("no ports named", rule(peers=[CONTROLLER_PEER]), "ingress[3].from[0]", f"in namespace {SYSTEM}"),
    ("all namespaces", rule(8443, peers=[{"namespaceSelector": {}}]), "ingress[3].from[0]", "every pod in any name"),
    ("this namespace", rule(8443, peers=[{"podSelector": {}}]), "ingress[3].from[0]", "every pod in namespace sei"),
    (
        "its whole namespace",
        rule(8443, peers=[named(SYSTEM)]),
        "ingress[3].from[0]",
        f"every pod in namespace {SYSTEM}",
    ),
    (
        "pods by one of two labels",
        rule(8443, peers=[named(SYSTEM) | {"podSelector": {"matchLabels": {"control-plane": "controller-manager"}}}]),
        "ingress[3].from[0]",
        "pods with control-plane=controller-manager",
    ),
    ("monitoring at the proxy", rule(8443, peers=[named(MONITORING)]), "ingress[3].from[0]", "namespace monitoring"),
    ("a range", {"ports": [{"port": 8000, "endPort": 9000}]}, "ingress[3]", "every pod and every address"),
    ("by name", rule("public", peers=[{"namespaceSelector": {}}]), "ingress[3].from[0]", "every pod"),
    ("addresses", rule(9100, peers=[{"ipBlock": {"cidr": "10.0.0.0/8"}}]), "ingress[3].from[0]", "addresses like 10."),
    (
        "namespaces to come",
        rule(9100, peers=[{"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}}]),
        "ingress[3].from[0]",
        "and in new ones",
    ),
    ("the second of two", rule(9100, peers=[CONTROLLER_PEER, {"podSelector": {}}]), "ingress[3].from[1]", "every pod"),
]


@pytest.mark.parametrize(
    ("more", "place", "who"), [each[1:] for each in TOO_BROAD], ids=[each[0] for each in TOO_BROAD]
)
def test_what_lets_strangers_in_is_named_by_policy_rule_and_peer(more: Object, place: str, who: str) -> None:
    found = [each for each in judged(tight(more)) if each.code == "policy-too-broad"]
    assert [(each.object, each.field) for each in found] == [("NetworkPolicy sei/guard", place)]
    assert who in found[0].admits


NARROW: list[tuple[str, Object]] = [
    ("the permitted once more", rule(9100, peers=[named(MONITORING)])),
    ("some of the permitted", rule(9100, peers=[named(MONITORING) | {"podSelector": {"matchLabels": {"a": "b"}}}])),
    ("another protocol", {"ports": [{"port": 9100, "protocol": "UDP"}]}),
    ("a name that no port has", rule("nothing")),
    ("a range beside them", {"ports": [{"port": 8444, "endPort": 9099}]}),
    ("a block without addresses", rule(9100, peers=[{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}}])),
    ("a namespace that is not there", rule(9100, peers=[{"namespaceSelector": {"matchLabels": {"team": "none"}}}])),
    (
        "a label that must be and must not be",
        rule(
            8443,
            peers=[
                {
                    "podSelector": {
                        "matchLabels": {"a": "b"},
                        "matchExpressions": [{"key": "a", "operator": "DoesNotExist"}],
                    }
                }
            ],
        ),
    ),
]


@pytest.mark.parametrize("more", [each[1] for each in NARROW], ids=[each[0] for each in NARROW])
def test_what_lets_no_stranger_in_is_not_found(more: Object) -> None:
    assert codes(tight(more)) == []


def test_the_strangers_of_today_are_named() -> None:
    there = tuple(pod("other", f"pod-{i}", app="x") for i in range(5))
    finding = only("policy-too-broad", tight(rule(9100, peers=[{"namespaceSelector": {}}])), pods=there)
    assert finding.admits.endswith("today other/pod-0, other/pod-1, other/pod-2 and 2 more")


def test_a_second_policy_opens_what_the_first_one_shuts() -> None:
    assert only("policy-too-broad", tight(), policy("helpful", ingress=[{}])).object == "NetworkPolicy sei/helpful"


def test_who_is_permitted_is_a_parameter_of_the_plan() -> None:
    operators = rule(8443, peers=[named("other") | {"podSelector": {"matchLabels": {"app": "cli"}}}])
    assert codes(tight(operators)) == ["policy-too-broad"]
    whole = "access.clients=[{namespaceSelector: {matchLabels: {team: x}}}]"
    assert codes(tight(operators), plan=make_plan(whole)) == []
    narrower = "access.clients=[{namespaceSelector: {matchLabels: {team: x}}, podSelector: {matchLabels: {app: web}}}]"
    assert sorted(codes(tight(operators), plan=make_plan(narrower))) == ["client-blocked", "policy-too-broad"]


def test_permitted_addresses_are_blocks() -> None:
    outside = rule(8443, peers=[{"ipBlock": {"cidr": "192.0.2.0/25"}}])
    permitted = make_plan("access.clients=[{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.128/25]}}]")
    assert codes(tight(outside), plan=permitted) == []
    assert "client-blocked" in codes(tight(), plan=permitted)
    assert "policy-too-broad" in codes(tight(rule(8443, peers=[{"ipBlock": {"cidr": "192.0.2.0/24"}}])), plan=permitted)


def test_a_controller_that_is_shut_out_is_named_with_the_policy() -> None:
    without = policy(policyTypes=["Ingress"], ingress=[rule(9100, peers=[named(MONITORING)]), rule(*OPEN)])
    found = [each for each in judged(without) if each.code == "controller-blocked"]
    assert [each.object for each in found] == [f"Deployment {SYSTEM}/manager"] * 2
    assert ["8443" in found[0].message, "9100" in found[1].message] == [True, True]
    assert "sei/guard" in found[0].message


def test_a_controller_whose_own_namespace_lets_nothing_out_is_shut_out_there() -> None:
    shut = policy("no-way-out", SYSTEM, podSelector={}, policyTypes=["Egress"], egress=[])
    finding = next(each for each in judged(tight(), shut) if each.code == "controller-blocked")
    assert f"{SYSTEM}/no-way-out it may not leave" in finding.message
    way = {"to": [{"namespaceSelector": {}}], "ports": [{"port": "api"}, {"port": 9100}]}
    assert codes(tight(), policy("way-out", SYSTEM, podSelector={}, policyTypes=["Egress"], egress=[way])) == []


def test_running_controllers_count_not_what_their_deployment_will_make() -> None:
    old = pod(SYSTEM, "manager-1", **CONTROLLER)
    by_version = tight(
        ingress=[
            rule(8443, 9100, peers=[named(SYSTEM) | {"podSelector": {"matchLabels": CONTROLLER | {"version": "2"}}}]),
            rule(9100, peers=[named(MONITORING)]),
            rule(*OPEN),
        ]
    )
    assert codes(by_version, pods=(old,)) == ["controller-blocked"] * 2
    assert codes(by_version, pods=(pod(SYSTEM, "manager-1", **CONTROLLER, version="2"),)) == []


def test_without_a_controller_it_cannot_be_told_whether_it_gets_in() -> None:
    found = judged(tight(), deployments=())
    assert [(each.code, each.severity) for each in found if each.severity is FindingSeverity.UNKNOWN] == [
        ("controller-unknown", FindingSeverity.UNKNOWN)
    ]


def test_monitoring_that_is_shut_out_is_found_and_one_of_its_pods_is_enough() -> None:
    shut = tight(ingress=[rule(8443, 9100, peers=[CONTROLLER_PEER]), rule(*OPEN)])
    assert codes(shut) == ["monitoring-blocked"]
    prometheus = named(MONITORING) | {"podSelector": {"matchLabels": {"app": "prometheus"}}}
    some = tight(ingress=[rule(8443, 9100, peers=[CONTROLLER_PEER]), rule(9100, peers=[prometheus]), rule(*OPEN)])
    assert codes(some) == []
    there = (pod(MONITORING, "grafana", app="grafana"), pod(MONITORING, "prometheus", app="prometheus"))
    assert codes(some, pods=there) == []
    assert codes(some, pods=there[:1]) == ["monitoring-blocked"]


def test_a_permitted_namespace_that_is_not_there_is_only_told() -> None:
    there = (namespace("sei"), namespace(SYSTEM))
    [finding] = judged(tight(), namespaces=there)
    assert (finding.code, finding.severity) == ("permitted-namespace-missing", FindingSeverity.WARNING)


@pytest.mark.parametrize("port", ["p2p", "rpc"])
def test_a_policy_that_cuts_off_p2p_or_rpc_is_an_error(port: str) -> None:
    number = {"p2p": 26656, "rpc": 26657}[port]
    rules = [each for each in tight()["spec"]["ingress"] if "from" in each]
    cut = tight(ingress=[*rules, rule(*(other for other in OPEN if other != number))])
    assert codes(cut) == [f"{port}-blocked"]
    narrow = tight(ingress=[*cut["spec"]["ingress"], rule(number, peers=[{"podSelector": {}}])])
    [finding] = judged(narrow)
    assert (finding.code, finding.severity) == (f"{port}-restricted", FindingSeverity.WARNING)
    assert (
        codes(tight(ingress=[*cut["spec"]["ingress"], rule(number, peers=[{"ipBlock": {"cidr": "0.0.0.0/0"}}])])) == []
    )


def test_which_ports_must_stay_open_is_a_parameter_of_the_plan() -> None:
    rules = [each for each in tight()["spec"]["ingress"] if "from" in each]
    cut = tight(ingress=[*rules, rule(26656)])
    [error, warning] = judged(cut)
    assert (error.code, warning.code) == ("rpc-blocked", "ports-blocked")
    assert ":8545 (evm-rpc)" in warning.message
    [warning] = judged(cut, plan=make_plan("access.reachablePorts=[p2p]"))
    assert (warning.code, warning.severity) == ("ports-blocked", FindingSeverity.WARNING)
    assert ":26657 (rpc)" in warning.message


def test_a_policy_that_lets_nobody_out_cuts_p2p_off_too() -> None:
    shut = tight(policyTypes=["Ingress", "Egress"], egress=[{"ports": [{"port": 53, "protocol": "UDP"}]}])
    assert codes(shut) == ["p2p-blocked", "egress-isolated"]
    assert codes(tight(policyTypes=["Ingress", "Egress"], egress=[{"ports": [{"port": 26656}]}])) == ["egress-isolated"]


def test_a_selector_on_a_label_that_is_no_contract_is_found() -> None:
    exists = {"key": "app.kubernetes.io/team", "operator": "Exists"}
    theirs = tight(podSelector={"matchLabels": {"sei.io/role": "node"}, "matchExpressions": [exists]})
    finding = only("unstable-selector", theirs, of=node(**{"app.kubernetes.io/team": "x"}))
    assert "app.kubernetes.io/team" in finding.message
    assert finding.severity is FindingSeverity.WARNING
    assert codes(tight(podSelector={"matchLabels": {"sei.io/role": "node", "sei.io/chain": "pacific-1"}})) == []


def test_on_the_hosts_network_policies_have_no_say() -> None:
    assert codes(tight(), of=node({"hostNetwork": True})) == ["host-network"]
    assert codes(tight(), of=node({"hostNetwork": False})) == []


def test_what_is_not_judged_is_said() -> None:
    beyond = inventory.unsupported_kind("adminnetworkpolicies.policy.networking.k8s.io", ["a", "b", "c", "d"])
    [finding] = judged(tight(), beyond=(beyond,))
    assert (finding.code, finding.severity) == ("policy-kind-unsupported", FindingSeverity.UNKNOWN)
    assert "a, b, c and 1 more" in finding.object


def test_a_nodes_own_sidecar_port_is_nobodys() -> None:
    open_to_controller = tight(rule(7778, peers=[CONTROLLER_PEER]))
    assert codes(open_to_controller) == []
    spec = node()["spec"]
    for entry in spec["initContainers"][1]["env"]:
        if entry["name"] == "SEI_SIDECAR_PORT":
            entry["value"] = "7778"
    spec["initContainers"][1]["ports"][0]["containerPort"] = 7778
    assert only("policy-too-broad", open_to_controller, of=node(spec)).message.endswith(":7778 (sidecar)")
