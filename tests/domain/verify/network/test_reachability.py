"""The evaluator of NetworkPolicies compared with a naive one, and cases that are often misunderstood."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from seimigrate.domain.kube import selectors
from seimigrate.domain.verify.network import ip_ranges, policies
from seimigrate.domain.verify.network.ip_ranges import IpBlock
from seimigrate.domain.verify.network.reachability import NAME_LABEL, Endpoint, Network, endpoint
from tests.domain.verify.network import naive

MANY = settings(max_examples=settings().max_examples * 5)
SOME = settings(max_examples=settings().max_examples * 8)
NAMESPACES = {"a": {"team": "x"}, "b": {"team": "y", "env": "x"}, "c": {}}
KEYS, VALUES = ("app", "env"), ("x", "y", "z")
PROTOCOLS = ("TCP", "UDP", "SCTP")
NUMBERS = (80, 443, 8443, 9100)
NAMES = ("web", "public")
NETS = ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "0.0.0.0/0", "10.1.2.3/32", "fd00::/8", "fd00:1::/32", "::/0")
ADDRESSES = ("10.1.2.3", "10.1.2.4", "10.1.9.9", "10.7.0.1", "192.0.2.1")
SIXES = ("fd00:1::1", "fd00:2::1", "2001:db8::1")

labels = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), max_size=2)


def mapping(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return a mapping with any of these keys; each may be absent."""
    return st.fixed_dictionaries({}, optional=optional)


def expressions(keys: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    key = st.sampled_from(keys)
    values = st.lists(st.sampled_from(VALUES), min_size=1, max_size=2)
    in_or_not_in = st.fixed_dictionaries({"key": key, "operator": st.sampled_from(["In", "NotIn"]), "values": values})
    exists_or_not = st.fixed_dictionaries({"key": key, "operator": st.sampled_from(["Exists", "DoesNotExist"])})
    return in_or_not_in | exists_or_not


def selector(keys: tuple[str, ...] = KEYS) -> st.SearchStrategy[dict[str, Any]]:
    return mapping(
        matchLabels=st.dictionaries(st.sampled_from(keys), st.sampled_from(VALUES), max_size=1),
        matchExpressions=st.lists(expressions(keys), max_size=2),
    )


@st.composite
def blocks(draw: st.DrawFn) -> dict[str, Any]:
    block: dict[str, Any] = {"cidr": draw(st.sampled_from(NETS))}
    if draw(st.booleans()):
        block["except"] = draw(st.lists(st.sampled_from(NETS), max_size=2))
    return block


peers = mapping(podSelector=selector(), namespaceSelector=selector(("team", "env"))) | st.fixed_dictionaries(
    {"ipBlock": blocks()}
)


@st.composite
def ports(draw: st.DrawFn) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if draw(st.booleans()):
        entry["protocol"] = draw(st.sampled_from(PROTOCOLS))
    kind = draw(st.sampled_from(["number", "name", "range", "none"]))
    if kind == "name":
        entry["port"] = draw(st.sampled_from(NAMES))
    elif kind != "none":
        entry["port"] = draw(st.sampled_from(NUMBERS))
    if kind == "range":
        entry["endPort"] = entry["port"] + draw(st.sampled_from([0, 10, 9000]))
    return entry


def rules(direction: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(
        mapping(ports=st.lists(ports(), max_size=2), **{direction: st.lists(peers, max_size=2)}), max_size=2
    )


@st.composite
def networkpolicies(draw: st.DrawFn) -> dict[str, Any]:
    types = st.sampled_from([["Ingress"], ["Egress"], ["Ingress", "Egress"], []])
    spec = draw(mapping(policyTypes=types, ingress=rules("from"), egress=rules("to")))
    spec["podSelector"] = draw(selector())
    name = draw(st.sampled_from("pqrstuvw"))
    return {"metadata": {"namespace": draw(st.sampled_from("ab")), "name": name}, "spec": spec}


containers = mapping(
    restartPolicy=st.sampled_from(["Always"]),
    ports=st.lists(
        st.fixed_dictionaries(
            {"containerPort": st.sampled_from(NUMBERS)},
            optional={"name": st.sampled_from(NAMES), "protocol": st.sampled_from(PROTOCOLS)},
        ),
        max_size=2,
    ),
)


@st.composite
def pods(draw: st.DrawFn, name: str) -> dict[str, Any]:
    addresses = [draw(st.sampled_from(ADDRESSES)), *draw(st.lists(st.sampled_from(SIXES), max_size=1))]
    return {
        "metadata": {"namespace": draw(st.sampled_from("abc")), "name": name, "labels": draw(labels)},
        "spec": {
            "containers": draw(st.lists(containers, max_size=2)),
            "initContainers": draw(st.lists(containers, max_size=2)),
        },
        "status": {"podIPs": [{"ip": each} for each in addresses]},
    }


@MANY
@given(st.lists(networkpolicies(), min_size=1, max_size=4), st.tuples(pods("one"), pods("two"), pods("three")))
def test_evaluation_equals_naive_evaluation_of_the_documentation(
    drawn_policies: list[dict[str, Any]], connected_pods: tuple[dict[str, Any], ...]
) -> None:
    """All connections between three pods are compared: drawing policies takes 100 times as long as a comparison."""
    network = Network(NAMESPACES, map(policies.read, drawn_policies))
    verdicts = set()
    for source, destination in itertools.product(connected_pods, repeat=2):
        for port, protocol in itertools.product(NUMBERS, PROTOCOLS):
            expected = naive.allowed(source, destination, port, protocol, drawn_policies, NAMESPACES)
            verdicts.add(expected)
            assert network.allows(endpoint(source), endpoint(destination), port, protocol) == expected
    event(f"verdicts: {sorted(verdicts)}")


def universe() -> list[dict[str, str]]:
    """All labels that the random selectors can distinguish: each key missing, with a known value, or another."""
    choices = [None, *VALUES, "anything"]
    return [
        {key: value for key, value in zip(KEYS, chosen, strict=True) if value is not None}
        for chosen in itertools.product(choices, repeat=len(KEYS))
    ]


@SOME
@given(selector(), st.lists(selector(), max_size=3))
def test_selector_difference_is_found_iff_it_is_not_empty(one: dict[str, Any], others: list[dict[str, Any]]) -> None:
    outside = selectors.parse(one).difference([selectors.parse(each) for each in others])
    expected = [
        each for each in universe() if naive.selected(one, each) and not any(naive.selected(o, each) for o in others)
    ]
    assert (outside is not None) == bool(expected)
    if outside is not None:
        assert naive.selected(one, outside)
        assert not any(naive.selected(other, outside) for other in others)


@SOME
@given(selector(), selector())
def test_selector_intersection_matches_what_both_match(one: dict[str, Any], other: dict[str, Any]) -> None:
    both = selectors.parse(one).intersect(selectors.parse(other))
    assert both.is_empty == (not any(naive.selected(one, e) and naive.selected(other, e) for e in universe()))
    for each in universe():
        assert both.matches(each) == (naive.selected(one, each) and naive.selected(other, each))


@SOME
@given(blocks(), st.lists(blocks(), max_size=3))
def test_uncovered_address_is_found_iff_there_is_one(one: Any, others: list[Any]) -> None:
    def block(body: Any) -> IpBlock:
        return IpBlock(body["cidr"], tuple(body.get("except", ())))

    uncovered = ip_ranges.uncovered_address(block(one), [block(each) for each in others])
    inside = [a for a in map(ip_ranges.parse, (*ADDRESSES, *SIXES)) if a in block(one)]
    if uncovered is None:
        assert all(any(a in block(other) for other in others) for a in inside)
    else:
        assert uncovered in block(one)
        assert not any(uncovered in block(other) for other in others)


# Cases that are often misunderstood, each with the one that was intended.


def node(**more: Any) -> Endpoint:
    spec = {
        "initContainers": [
            {"name": "setup", "ports": [{"name": "once", "containerPort": 7}]},
            {"name": "sidecar", "restartPolicy": "Always", "ports": [{"name": "public", "containerPort": 9100}]},
        ],
        "containers": [{"name": "seid", "ports": [{"name": "p2p", "containerPort": 26656}]}],
    }
    meta = {"namespace": "sei", "name": "node-0", "labels": {"sei.io/node": "node"}}
    return endpoint({"metadata": meta, "spec": spec | more, "status": {"podIPs": [{"ip": "10.1.0.7"}]}})


def network(spec: dict[str, Any], **more: Any) -> Network:
    names = {"sei": {NAME_LABEL: "sei"}, "monitoring": {NAME_LABEL: "monitoring", "team": "ops"}}
    body = {"metadata": {"namespace": "sei", "name": "guard"}, "spec": {"podSelector": {}, **spec}}
    return Network(names, [policies.read(body)], **more)


def peer(namespace: str = "monitoring", ip: str = "10.2.0.1", **labels: str) -> Endpoint:
    return Endpoint(namespace, "peer", labels, (ip_ranges.parse(ip),))


BOTH = {"namespaceSelector": {"matchLabels": {"team": "ops"}}, "podSelector": {"matchLabels": {"app": "prometheus"}}}


@pytest.mark.parametrize(
    ("entries", "prometheus", "grafana", "neighbour"),
    [
        ([BOTH], True, False, False),  # one entry: pods with the label in such namespaces
        ([{k: v} for k, v in BOTH.items()], True, True, True),  # two entries: such namespaces, or pods here
        ([], True, True, True),  # no entry: any client
        ([{"podSelector": {}}], False, False, True),
        ([{"namespaceSelector": {}}], True, True, True),
        ([{}], False, False, False),
    ],
)
def test_one_peer_with_two_selectors_differs_from_two_peers(
    entries: Any, prometheus: bool, grafana: bool, neighbour: bool
) -> None:
    net = network({"ingress": [{"from": entries}]})
    sources = (peer(app="prometheus"), peer(app="grafana"), peer("sei", app="prometheus"))
    assert [net.allows(source, node(), 9100) for source in sources] == [prometheus, grafana, neighbour]


@pytest.mark.parametrize(
    ("ports", "allowed", "blocked"),
    [
        ([{"port": "public"}], (9100,), (26656, 7)),
        ([{"port": "p2p"}], (26656,), (9100,)),
        ([{"port": "once"}], (), (7, 9100)),  # of a terminated container
        ([{"port": "public", "protocol": "UDP"}], (), (9100,)),
        ([{"port": 9000, "endPort": 9200}], (9000, 9100, 9200), (8999, 9201)),
        ([{"protocol": "TCP"}], (9100, 1), ()),
        ([{"protocol": "SCTP"}], (), (9100,)),
        ([], (9100, 1), ()),
    ],
)
def test_rule_matches_ports_by_name_number_range_and_protocol(
    ports: Any, allowed: tuple[int, ...], blocked: tuple[int, ...]
) -> None:
    net = network({"ingress": [{"ports": ports}]})
    assert all(net.allows(peer(), node(), port) for port in allowed)
    assert not any(net.allows(peer(), node(), port) for port in blocked)


@pytest.mark.parametrize(
    ("spec", "enters", "leaves"),
    [
        ({}, False, True),
        ({"policyTypes": ["Egress"]}, True, False),
        ({"egress": []}, False, True),
        ({"egress": [{"ports": [{"port": 53}]}]}, False, False),
        ({"policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]}, True, True),
    ],
)
def test_omitted_policy_fields_have_api_defaults(spec: Any, enters: bool, leaves: bool) -> None:
    net, other = network(spec), peer()
    assert net.allows(other, node(), 9100) == enters
    assert net.allows(node(), other, 9100) == leaves


def test_policies_are_additive() -> None:
    isolating = policies.read({"metadata": {"namespace": "sei", "name": "isolating"}, "spec": {"podSelector": {}}})
    wide = {"metadata": {"namespace": "sei", "name": "wide"}, "spec": {"podSelector": {}, "ingress": [{}]}}
    assert not Network({}, [isolating]).allows(peer(), node(), 9100)
    assert Network({}, [isolating, policies.read(wide)]).allows(peer(), node(), 9100)


def test_own_kubernetes_node_and_own_pod_are_always_admitted() -> None:
    net = network({})
    kubelet = Endpoint("kube-system", "host-pod", {}, (ip_ranges.parse("192.0.2.9"),), node="one", on_host=True)
    assert net.allows(kubelet, node(nodeName="one"), 9100)
    assert not net.allows(kubelet, node(nodeName="two"), 9100)
    pod = node()
    assert net.allows(pod, node(), 9100)


def test_pods_on_host_network_are_not_matched_by_selectors() -> None:
    net = network({"ingress": [{"from": [{"namespaceSelector": {}}]}]})
    assert not net.allows(Endpoint("monitoring", "p", {}, (ip_ranges.parse("192.0.2.9"),), on_host=True), node(), 9100)
    assert net.allows(peer("nowhere"), node(hostNetwork=True), 9100)
