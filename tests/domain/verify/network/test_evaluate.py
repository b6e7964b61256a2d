"""Findings about access to a node: each has a case that causes it and a similar one that does not."""

from __future__ import annotations

from typing import Any

import pytest

from seimigrate.domain.findings import Finding, FindingSeverity
from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.verify.network import inventory
from tests.domain.verify.network.objects import (
    CONTROLLER,
    CONTROLLER_PEER,
    MONITORING,
    REACHABLE_PORTS,
    SYSTEM,
    codes,
    findings,
    fitting_policy,
    in_namespace,
    namespace,
    node,
    pod,
    policy,
    rule,
)
from tests.engine.harness import make_plan


def only_finding(code: str, *policies: Object, **more: Any) -> Finding:
    [finding] = [each for each in findings(*policies, **more) if each.code == code]
    return finding


def test_fitting_policy_has_no_findings() -> None:
    assert codes(fitting_policy()) == []


def test_missing_policy_admits_any_client() -> None:
    finding = only_finding("policy-missing")
    assert finding.severity is FindingSeverity.ERROR
    assert finding.object == "Namespace sei"
    assert finding.admits == ":8443 (proxy), :9100 (public) and :7777 (sidecar) are reachable from anywhere"
    assert codes(policy(namespace="other", ingress=[])) == [
        "policy-missing"
    ]  # a policy of another namespace does not count


def test_policy_that_does_not_select_node_is_named_with_selector() -> None:
    mismatched = fitting_policy(podSelector={"matchLabels": {"app": "seid"}})
    finding = only_finding("policy-does-not-select", mismatched)
    assert "guard (app=seid)" in finding.message
    assert codes(fitting_policy(podSelector={"matchLabels": {"sei.io/node": "node-0"}})) == []


def test_egress_only_policy_does_not_isolate() -> None:
    egress_only = policy(policyTypes=["Egress"], egress=[{}])
    assert only_finding("policy-does-not-isolate", egress_only).object == "NetworkPolicy sei/guard"
    assert "policy-does-not-isolate" not in codes(policy(policyTypes=["Ingress", "Egress"], ingress=[], egress=[{}]))


TOO_BROAD: list[tuple[str, Object, str, str]] = [
    # name, rule, field of the finding, part of its `admits`
    ("any client", rule(9100), "ingress[3]", "any pod and any address"),
    ("no ports named", rule(peers=[CONTROLLER_PEER]), "ingress[3].from[0]", f"in namespace {SYSTEM}"),
    ("all namespaces", rule(8443, peers=[{"namespaceSelector": {}}]), "ingress[3].from[0]", "any pod in any name"),
    ("this namespace", rule(8443, peers=[{"podSelector": {}}]), "ingress[3].from[0]", "any pod in namespace sei"),
    (
        "its whole namespace",
        rule(8443, peers=[in_namespace(SYSTEM)]),
        "ingress[3].from[0]",
        f"any pod in namespace {SYSTEM}",
    ),
    (
        "pods by one of two labels",
        rule(
            8443,
            peers=[in_namespace(SYSTEM) | {"podSelector": {"matchLabels": {"control-plane": "controller-manager"}}}],
        ),
        "ingress[3].from[0]",
        "pods with control-plane=controller-manager",
    ),
    (
        "monitoring at the proxy",
        rule(8443, peers=[in_namespace(MONITORING)]),
        "ingress[3].from[0]",
        "namespace monitoring",
    ),
    ("a range", {"ports": [{"port": 8000, "endPort": 9000}]}, "ingress[3]", "any pod and any address"),
    ("by name", rule("public", peers=[{"namespaceSelector": {}}]), "ingress[3].from[0]", "any pod"),
    ("addresses", rule(9100, peers=[{"ipBlock": {"cidr": "10.0.0.0/8"}}]), "ingress[3].from[0]", "addresses like 10."),
    (
        "in new namespaces",
        rule(9100, peers=[{"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}}]),
        "ingress[3].from[0]",
        "and in new ones",
    ),
    ("the second of two", rule(9100, peers=[CONTROLLER_PEER, {"podSelector": {}}]), "ingress[3].from[1]", "any pod"),
]


@pytest.mark.parametrize(
    ("more", "field", "admits"), [each[1:] for each in TOO_BROAD], ids=[each[0] for each in TOO_BROAD]
)
def test_too_broad_rule_is_named_by_policy_rule_and_peer(more: Object, field: str, admits: str) -> None:
    matches = [each for each in findings(fitting_policy(more)) if each.code == "policy-too-broad"]
    assert [(each.object, each.field) for each in matches] == [("NetworkPolicy sei/guard", field)]
    assert admits in matches[0].admits


NARROW: list[tuple[str, Object]] = [
    ("the permitted peer repeated", rule(9100, peers=[in_namespace(MONITORING)])),
    (
        "some of the permitted pods",
        rule(9100, peers=[in_namespace(MONITORING) | {"podSelector": {"matchLabels": {"a": "b"}}}]),
    ),
    ("another protocol", {"ports": [{"port": 9100, "protocol": "UDP"}]}),
    ("a port name that does not exist", rule("nothing")),
    ("a range without the ports", {"ports": [{"port": 8444, "endPort": 9099}]}),
    ("a block without addresses", rule(9100, peers=[{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}}])),
    ("a namespace that does not exist", rule(9100, peers=[{"namespaceSelector": {"matchLabels": {"team": "none"}}}])),
    (
        "a contradictory label selector",
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
def test_rule_without_unexpected_peers_has_no_finding(more: Object) -> None:
    assert codes(fitting_policy(more)) == []


def test_too_broad_rule_names_existing_unexpected_pods() -> None:
    pods = tuple(pod("other", f"pod-{i}", app="x") for i in range(5))
    finding = only_finding("policy-too-broad", fitting_policy(rule(9100, peers=[{"namespaceSelector": {}}])), pods=pods)
    assert finding.admits.endswith("currently other/pod-0, other/pod-1, other/pod-2 and 2 more")


def test_second_policy_can_be_too_broad() -> None:
    assert (
        only_finding("policy-too-broad", fitting_policy(), policy("helpful", ingress=[{}])).object
        == "NetworkPolicy sei/helpful"
    )


def test_permitted_clients_are_a_plan_parameter() -> None:
    operators = rule(8443, peers=[in_namespace("other") | {"podSelector": {"matchLabels": {"app": "cli"}}}])
    assert codes(fitting_policy(operators)) == ["policy-too-broad"]
    whole_namespace = "access.clients=[{namespaceSelector: {matchLabels: {team: x}}}]"
    assert codes(fitting_policy(operators), plan=make_plan(whole_namespace)) == []
    narrower = "access.clients=[{namespaceSelector: {matchLabels: {team: x}}, podSelector: {matchLabels: {app: web}}}]"
    assert sorted(codes(fitting_policy(operators), plan=make_plan(narrower))) == ["client-blocked", "policy-too-broad"]


def test_permitted_clients_can_be_ip_blocks() -> None:
    block = rule(8443, peers=[{"ipBlock": {"cidr": "192.0.2.0/25"}}])
    permitted = make_plan("access.clients=[{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.128/25]}}]")
    assert codes(fitting_policy(block), plan=permitted) == []
    assert "client-blocked" in codes(fitting_policy(), plan=permitted)
    assert "policy-too-broad" in codes(
        fitting_policy(rule(8443, peers=[{"ipBlock": {"cidr": "192.0.2.0/24"}}])), plan=permitted
    )


def test_blocked_controller_is_named_with_policy() -> None:
    without = policy(
        policyTypes=["Ingress"], ingress=[rule(9100, peers=[in_namespace(MONITORING)]), rule(*REACHABLE_PORTS)]
    )
    matches = [each for each in findings(without) if each.code == "controller-blocked"]
    assert [each.object for each in matches] == [f"Deployment {SYSTEM}/manager"] * 2
    assert ["8443" in matches[0].message, "9100" in matches[1].message] == [True, True]
    assert "sei/guard" in matches[0].message


def test_controller_is_blocked_by_egress_policy_of_its_namespace() -> None:
    blocking = policy("deny-egress", SYSTEM, podSelector={}, policyTypes=["Egress"], egress=[])
    finding = next(each for each in findings(fitting_policy(), blocking) if each.code == "controller-blocked")
    assert f"{SYSTEM}/deny-egress blocks its egress" in finding.message
    rule_to_nodes = {"to": [{"namespaceSelector": {}}], "ports": [{"port": "api"}, {"port": 9100}]}
    assert (
        codes(
            fitting_policy(),
            policy("allow-egress", SYSTEM, podSelector={}, policyTypes=["Egress"], egress=[rule_to_nodes]),
        )
        == []
    )


def test_running_controller_pods_take_precedence_over_deployment() -> None:
    old_pod = pod(SYSTEM, "manager-1", **CONTROLLER)
    by_version = fitting_policy(
        ingress=[
            rule(
                8443,
                9100,
                peers=[in_namespace(SYSTEM) | {"podSelector": {"matchLabels": CONTROLLER | {"version": "2"}}}],
            ),
            rule(9100, peers=[in_namespace(MONITORING)]),
            rule(*REACHABLE_PORTS),
        ]
    )
    assert codes(by_version, pods=(old_pod,)) == ["controller-blocked"] * 2
    assert codes(by_version, pods=(pod(SYSTEM, "manager-1", **CONTROLLER, version="2"),)) == []


def test_missing_controller_is_unknown() -> None:
    matches = findings(fitting_policy(), deployments=())
    assert [(each.code, each.severity) for each in matches if each.severity is FindingSeverity.UNKNOWN] == [
        ("controller-unknown", FindingSeverity.UNKNOWN)
    ]


def test_monitoring_is_blocked_unless_one_of_its_pods_is_admitted() -> None:
    blocking = fitting_policy(ingress=[rule(8443, 9100, peers=[CONTROLLER_PEER]), rule(*REACHABLE_PORTS)])
    assert codes(blocking) == ["monitoring-blocked"]
    prometheus = in_namespace(MONITORING) | {"podSelector": {"matchLabels": {"app": "prometheus"}}}
    only_prometheus = fitting_policy(
        ingress=[rule(8443, 9100, peers=[CONTROLLER_PEER]), rule(9100, peers=[prometheus]), rule(*REACHABLE_PORTS)]
    )
    assert codes(only_prometheus) == []
    pods = (pod(MONITORING, "grafana", app="grafana"), pod(MONITORING, "prometheus", app="prometheus"))
    assert codes(only_prometheus, pods=pods) == []
    assert codes(only_prometheus, pods=pods[:1]) == ["monitoring-blocked"]


def test_missing_permitted_namespace_is_warning() -> None:
    without_monitoring = (namespace("sei"), namespace(SYSTEM))
    [finding] = findings(fitting_policy(), namespaces=without_monitoring)
    assert (finding.code, finding.severity) == ("permitted-namespace-missing", FindingSeverity.WARNING)


@pytest.mark.parametrize("port", ["p2p", "rpc"])
def test_blocked_p2p_or_rpc_is_error_and_restricted_is_warning(port: str) -> None:
    number = {"p2p": 26656, "rpc": 26657}[port]
    rules = [each for each in fitting_policy()["spec"]["ingress"] if "from" in each]
    without_port = fitting_policy(ingress=[*rules, rule(*(other for other in REACHABLE_PORTS if other != number))])
    assert codes(without_port) == [f"{port}-blocked"]
    restricted = fitting_policy(ingress=[*without_port["spec"]["ingress"], rule(number, peers=[{"podSelector": {}}])])
    [finding] = findings(restricted)
    assert (finding.code, finding.severity) == (f"{port}-restricted", FindingSeverity.WARNING)
    assert (
        codes(
            fitting_policy(
                ingress=[*without_port["spec"]["ingress"], rule(number, peers=[{"ipBlock": {"cidr": "0.0.0.0/0"}}])]
            )
        )
        == []
    )


def test_reachable_ports_are_a_plan_parameter() -> None:
    rules = [each for each in fitting_policy()["spec"]["ingress"] if "from" in each]
    without_port = fitting_policy(ingress=[*rules, rule(26656)])
    [error, warning] = findings(without_port)
    assert (error.code, warning.code) == ("rpc-blocked", "ports-blocked")
    assert ":8545 (evm-rpc)" in warning.message
    [warning] = findings(without_port, plan=make_plan("access.reachablePorts=[p2p]"))
    assert (warning.code, warning.severity) == ("ports-blocked", FindingSeverity.WARNING)
    assert ":26657 (rpc)" in warning.message


def test_egress_policy_that_blocks_p2p_is_error() -> None:
    blocking = fitting_policy(policyTypes=["Ingress", "Egress"], egress=[{"ports": [{"port": 53, "protocol": "UDP"}]}])
    assert codes(blocking) == ["p2p-blocked", "egress-isolated"]
    assert codes(fitting_policy(policyTypes=["Ingress", "Egress"], egress=[{"ports": [{"port": 26656}]}])) == [
        "egress-isolated"
    ]


def test_selector_on_unstable_label_is_warning() -> None:
    exists = {"key": "app.kubernetes.io/team", "operator": "Exists"}
    unstable = fitting_policy(podSelector={"matchLabels": {"sei.io/role": "node"}, "matchExpressions": [exists]})
    finding = only_finding("unstable-selector", unstable, target=node(**{"app.kubernetes.io/team": "x"}))
    assert "app.kubernetes.io/team" in finding.message
    assert finding.severity is FindingSeverity.WARNING
    assert (
        codes(fitting_policy(podSelector={"matchLabels": {"sei.io/role": "node", "sei.io/chain": "pacific-1"}})) == []
    )


def test_host_network_is_a_finding() -> None:
    assert codes(fitting_policy(), target=node({"hostNetwork": True})) == ["host-network"]
    assert codes(fitting_policy(), target=node({"hostNetwork": False})) == []


def test_unsupported_policy_kind_is_unknown() -> None:
    unsupported = inventory.unsupported_kind("adminnetworkpolicies.policy.networking.k8s.io", ["a", "b", "c", "d"])
    [finding] = findings(fitting_policy(), unsupported=(unsupported,))
    assert (finding.code, finding.severity) == ("policy-kind-unsupported", FindingSeverity.UNKNOWN)
    assert "a, b, c and 1 more" in finding.object


def test_sidecar_port_of_the_node_is_protected() -> None:
    open_to_controller = fitting_policy(rule(7778, peers=[CONTROLLER_PEER]))
    assert codes(open_to_controller) == []
    spec = node()["spec"]
    for entry in spec["initContainers"][1]["env"]:
        if entry["name"] == "SEI_SIDECAR_PORT":
            entry["value"] = "7778"
    spec["initContainers"][1]["ports"][0]["containerPort"] = 7778
    assert only_finding("policy-too-broad", open_to_controller, target=node(spec)).message.endswith(":7778 (sidecar)")
