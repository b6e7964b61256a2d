"""What the cutover changes on a node: exactly that, on every kind of node, from wherever it starts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seimigrate.domain.kube import changes as changing
from seimigrate.domain.kube.changes import Change
from seimigrate.domain.kube.kinds import Object
from seimigrate.domain.node import shapes, transforms
from seimigrate.domain.node.shapes import Shape
from seimigrate.domain.plan.plan import Plan, StageName
from seimigrate.simulation.objects import copy_json
from seimigrate.simulation.sidecar import HEALTH_ROUTES
from tests.audit.startable import defects
from tests.domain.objects import (
    CAPTURED,
    SPLIT_IMAGE,
    Node,
    all_nodes,
    captured,
    container,
    copied,
    plan_of,
    rendered,
    template,
)

NODES = dict(all_nodes())
PUBLIC = (9100, 9199)
EVERY_NODE = pytest.mark.parametrize("name", NODES)
EVERY_PUBLIC = pytest.mark.parametrize("public", PUBLIC)


def outlook(node: Node, plan: Plan) -> transforms.PendingChanges:
    return transforms.pending_changes(node.statefulset, node.service, plan, SPLIT_IMAGE)


def after(node: Node, changes: list[Change] | tuple[Change, ...]) -> Node:
    """The node with some of its changes made."""
    parts = {kind: [c for c in changes if c.kind == kind] for kind in (transforms.STATEFUL_SET, transforms.SERVICE)}
    return Node(
        node.seinode,
        changing.apply(node.statefulset, parts[transforms.STATEFUL_SET]),
        changing.apply(node.service, parts[transforms.SERVICE]),
    )


def starts(statefulset: Object, plan: Plan) -> list[str]:
    """Why a pod could not start, as the judge reads it."""
    public = plan.parameters.ports.public
    image = lambda name: name == SPLIT_IMAGE  # noqa: E731
    return defects(template(statefulset), image, public_port=public, health_paths=HEALTH_ROUTES)


def shape(statefulset: Object, plan: Plan) -> Shape:
    return shapes.read(template(statefulset), plan.parameters).shape


@EVERY_NODE
@EVERY_PUBLIC
def test_at_the_end_every_node_is_enforced_and_can_start(name: str, public: int) -> None:
    node, plan = NODES[name], plan_of(public)
    assert shape(node.statefulset, plan) is Shape.SHARED
    ahead = outlook(node, plan)
    assert not ahead.problems
    done = after(node, ahead.changes)
    assert shape(done.statefulset, plan) is Shape.ENFORCED
    assert not starts(done.statefulset, plan)
    assert [port["targetPort"] for port in done.service["spec"]["ports"] if port["name"] == "public"] == [public]
    assert not outlook(done, plan).changes


@pytest.mark.parametrize("mode", ["fullNode", "seed", "validator"])
@pytest.mark.parametrize("port", [7777, 7070])
def test_the_end_is_what_the_new_controller_renders(mode: str, port: int) -> None:
    node, plan = rendered(mode, sidecar_port=port), plan_of()
    wanted = rendered(mode, sidecar_port=port, image=SPLIT_IMAGE, generation="new")
    done = after(node, outlook(node, plan).changes)
    assert done.statefulset["spec"] == wanted.statefulset["spec"]
    assert done.service["spec"] == wanted.service["spec"]


@EVERY_NODE
def test_everything_else_is_kept_bit_for_bit(name: str) -> None:
    """Taking every change back by hand, by its path alone, gives the object that was."""
    node, plan = NODES[name], plan_of()
    ahead = outlook(node, plan)
    done = after(node, ahead.changes)
    back = after(done, [change.inverse for change in reversed(ahead.changes)])
    assert back == node
    touched = {c.path.partition("]")[0] for c in ahead.changes if c.kind == transforms.STATEFUL_SET}
    assert all("initContainers[name=" in path or "containers[name=seid" in path for path in touched)
    kept = copy_json(done.statefulset)
    kept["spec"]["template"]["spec"] = template(node.statefulset)
    assert kept == node.statefulset


@given(name=st.sampled_from(sorted(NODES)), data=st.data())
def test_a_node_that_is_halfway_by_hand_gets_exactly_the_rest(name: str, data: st.DataObject) -> None:
    node, plan = NODES[name], plan_of()
    ahead = outlook(node, plan)
    done = data.draw(st.lists(st.sampled_from(ahead.changes), unique_by=lambda c: c.path))
    done = [change for change in ahead.changes if change in done]
    halfway = after(node, done)
    rest = outlook(halfway, plan)
    assert not rest.problems
    assert [(c.kind, c.path, c.after) for c in rest.changes] == [
        (c.kind, c.path, c.after) for c in ahead.changes if c not in done
    ]
    assert after(halfway, rest.changes).statefulset["spec"].keys() == node.statefulset["spec"].keys()
    assert shape(after(halfway, rest.changes).statefulset, plan) is Shape.ENFORCED


@given(name=st.sampled_from(sorted(NODES)), data=st.data())
def test_every_template_that_is_written_on_the_way_can_start(name: str, data: st.DataObject) -> None:
    """If the first one can; a node spoiled by hand is mended in one write as far as it goes."""
    node, plan = NODES[name], plan_of(data.draw(st.sampled_from(PUBLIC)))
    ahead = outlook(node, plan)
    chosen = data.draw(st.sets(st.sampled_from(range(len(ahead.changes)))))
    halfway = after(node, [change for i, change in enumerate(ahead.changes) if i in chosen])
    rest = outlook(halfway, plan)
    merged = data.draw(st.booleans())
    batches = transforms.batches(halfway.statefulset, rest.changes, plan.parameters, merged=merged)
    assert [change for _, batch in batches for change in batch] == list(rest.changes)
    assert len(batches) <= (1 if merged else 4)
    current = halfway
    for _, batch in batches:
        current = after(current, batch)
        assert not starts(current.statefulset, plan)
        assert not transforms.start_blockers(current.statefulset, plan.parameters)


@given(name=st.sampled_from(sorted(NODES)), data=st.data())
def test_the_machines_reading_and_the_judges_agree_on_what_can_start(name: str, data: st.DataObject) -> None:
    node, plan = NODES[name], plan_of()
    ahead = outlook(node, plan)
    chosen = data.draw(st.sets(st.sampled_from(range(len(ahead.changes)))))
    some = after(node, [change for i, change in enumerate(ahead.changes) if i in chosen]).statefulset
    assert bool(starts(some, plan)) == bool(transforms.start_blockers(some, plan.parameters))


def test_a_node_whose_image_splits_already_is_exposed_and_moved_in_one_write() -> None:
    node, plan = rendered(image=SPLIT_IMAGE), plan_of()
    batches = transforms.batches(node.statefulset, outlook(node, plan).changes, plan.parameters, merged=False)
    assert [stage for stage, _ in batches] == [StageName.PROBES, StageName.ENFORCE]


def test_staged_writes_are_one_a_stage_and_merged_is_one() -> None:
    node, plan = rendered(), plan_of()
    changes = outlook(node, plan).changes
    staged = transforms.batches(node.statefulset, changes, plan.parameters, merged=False)
    assert [stage for stage, _ in staged] == [StageName.EXPOSE, StageName.PROBES, StageName.ENFORCE]
    [(stage, batch)] = transforms.batches(node.statefulset, changes, plan.parameters, merged=True)
    assert stage is StageName.ENFORCE
    assert batch == list(changes)


@pytest.mark.skipif(not CAPTURED.exists(), reason="the captured objects are not there")
def test_the_captured_nodes_are_all_looked_at() -> None:
    assert {name for name, _ in captured()} >= {"captured-fullNode", "captured-validator", "captured-seed"}


# What does not fit is told, and left alone.


def _named_probe(node: Node) -> None:
    for name, probe in (("kube-rbac-proxy", "livenessProbe"), ("kube-rbac-proxy", "readinessProbe")):
        container(node.statefulset, name)[probe]["httpGet"]["port"] = "api"


def test_a_probe_that_names_its_port_is_moved_too() -> None:
    node, plan = copied(rendered()), plan_of()
    _named_probe(node)
    assert shape(node.statefulset, plan) is Shape.SHARED
    assert not transforms.start_blockers(node.statefulset, plan.parameters)
    ahead = outlook(node, plan)
    assert not ahead.problems
    done = after(node, ahead.changes)
    assert shape(done.statefulset, plan) is Shape.ENFORCED
    assert after(done, [change.inverse for change in reversed(ahead.changes)]) == node


def _two_arguments(node: Node) -> None:
    args = container(node.statefulset, "kube-rbac-proxy")["args"]
    index = next(i for i, a in enumerate(args) if a.startswith("--ignore-paths="))
    args[index : index + 1] = ["--ignore-paths", args[index].partition("=")[2]]


def _sidecar_on_the_public_port(node: Node) -> None:
    sidecar = container(node.statefulset, "sei-sidecar")
    sidecar["ports"][0]["containerPort"] = 9100
    next(entry for entry in sidecar["env"] if entry["name"] == "SEI_SIDECAR_PORT")["value"] = "9100"


def _other_container_on_the_public_port(node: Node) -> None:
    container(node.statefulset, "seid")["ports"].append({"name": "x", "containerPort": 9100, "protocol": "TCP"})


def _container_port_named_public(node: Node) -> None:
    container(node.statefulset, "sei-sidecar")["ports"].append(
        {"name": "public", "containerPort": 9555, "protocol": "TCP"}
    )


def _service_port_named_public(node: Node) -> None:
    node.service["spec"]["ports"].append({"name": "public", "port": 9555, "protocol": "TCP", "targetPort": 9555})


def _service_port_elsewhere(node: Node) -> None:
    node.service["spec"]["ports"].append({"name": "x", "port": 9100, "protocol": "TCP", "targetPort": 9555})


def _value_from(node: Node) -> None:
    source = {"fieldRef": {"fieldPath": "metadata.name"}}
    container(node.statefulset, "sei-sidecar")["env"].append({"name": "SEI_SIDECAR_PUBLIC_PORT", "valueFrom": source})


def _two_gates(node: Node) -> None:
    seid = container(node.statefulset, "seid")
    seid["args"].append(seid["args"][0])


def _strange_gate(node: Node) -> None:
    seid = container(node.statefulset, "seid")
    seid["args"][0] = seid["args"][0].replace("/dev/tcp/localhost/7777", "/dev/tcp/localhost/7999")


def _strange_probe(node: Node) -> None:
    container(node.statefulset, "seid")["startupProbe"]["httpGet"]["port"] = 7999


def _twice_ignored(node: Node) -> None:
    args = container(node.statefulset, "kube-rbac-proxy")["args"]
    args.append("--ignore-paths=/v0/healthz")


UNFIT = (
    _two_arguments,
    _sidecar_on_the_public_port,
    _other_container_on_the_public_port,
    _container_port_named_public,
    _service_port_named_public,
    _service_port_elsewhere,
    _value_from,
    _two_gates,
    _strange_gate,
    _strange_probe,
    _twice_ignored,
)


@pytest.mark.parametrize("spoil", UNFIT)
def test_what_does_not_fit_is_told_and_the_rest_is_still_shown(spoil: Callable[[Node], None]) -> None:
    plan = plan_of()
    whole = outlook(rendered(), plan).changes
    node = copied(rendered())
    spoil(node)
    kept = copied(node)
    ahead = outlook(node, plan)
    assert ahead.problems
    assert node == kept
    assert 0 < len(ahead.changes) < len(whole)
    assert {c.path for c in ahead.changes} <= {c.path for c in whole}


@pytest.mark.parametrize("name", ["sei-sidecar", "kube-rbac-proxy", "seid"])
def test_without_one_of_its_containers_it_is_no_node(name: str) -> None:
    node, plan = copied(rendered()), plan_of()
    container(node.statefulset, name)["name"] = "other"
    with pytest.raises(shapes.NotASeiNodePod, match=name):
        shapes.read(template(node.statefulset), plan.parameters)
    assert any(name in problem for problem in outlook(node, plan).problems)
    assert transforms.start_blockers(node.statefulset, plan.parameters)


def test_a_port_that_is_there_under_another_name_is_left_as_it_is() -> None:
    node, plan = copied(rendered()), plan_of()
    container(node.statefulset, "sei-sidecar")["ports"].append(
        {"name": "web", "containerPort": 9100, "protocol": "TCP"}
    )
    node.service["spec"]["ports"].append({"name": "web", "port": 9100, "protocol": "TCP", "targetPort": 9100})
    ahead = outlook(node, plan)
    assert not ahead.problems
    assert not [c for c in ahead.changes if "ports[" in c.path]
    assert shape(after(node, ahead.changes).statefulset, plan) is Shape.ENFORCED


def test_two_arguments_of_ignored_paths_count_as_ignored() -> None:
    node, plan = copied(rendered()), plan_of()
    _two_arguments(node)
    wiring = shapes.read(template(node.statefulset), plan.parameters)
    assert wiring.ignored == set(HEALTH_ROUTES)
    assert not wiring.enforced
    assert not wiring.start_blockers()
