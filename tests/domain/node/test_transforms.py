"""The changes of the cutover: complete and nothing else, for each kind of node and each starting point."""

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
    copy_of,
    plan_of,
    rendered,
    template,
)

NODES = dict(all_nodes())
PUBLIC = (9100, 9199)
ALL_NODES = pytest.mark.parametrize("name", NODES)
ALL_PUBLIC_PORTS = pytest.mark.parametrize("public", PUBLIC)


def pending(node: Node, plan: Plan) -> transforms.PendingChanges:
    return transforms.pending_changes(node.statefulset, node.service, plan, SPLIT_IMAGE)


def applied(node: Node, changes: list[Change] | tuple[Change, ...]) -> Node:
    """The node with these changes applied."""
    parts = {kind: [c for c in changes if c.kind == kind] for kind in (transforms.STATEFUL_SET, transforms.SERVICE)}
    return Node(
        node.seinode,
        changing.apply(node.statefulset, parts[transforms.STATEFUL_SET]),
        changing.apply(node.service, parts[transforms.SERVICE]),
    )


def start_defects(statefulset: Object, plan: Plan) -> list[str]:
    """The defects that keep a pod from starting, according to the audit."""
    public = plan.parameters.ports.public
    image = lambda name: name == SPLIT_IMAGE  # noqa: E731
    return defects(template(statefulset), image, public_port=public, health_paths=HEALTH_ROUTES)


def shape(statefulset: Object, plan: Plan) -> Shape:
    return shapes.read(template(statefulset), plan.parameters).shape


@ALL_NODES
@ALL_PUBLIC_PORTS
def test_cutover_ends_with_enforced_shape_that_can_start(name: str, public: int) -> None:
    node, plan = NODES[name], plan_of(public)
    assert shape(node.statefulset, plan) is Shape.SHARED
    pending_changes = pending(node, plan)
    assert not pending_changes.problems
    done = applied(node, pending_changes.changes)
    assert shape(done.statefulset, plan) is Shape.ENFORCED
    assert not start_defects(done.statefulset, plan)
    assert [port["targetPort"] for port in done.service["spec"]["ports"] if port["name"] == "public"] == [public]
    assert not pending(done, plan).changes


@pytest.mark.parametrize("mode", ["fullNode", "seed", "validator"])
@pytest.mark.parametrize("port", [7777, 7070])
def test_cutover_result_equals_new_controller_template(mode: str, port: int) -> None:
    node, plan = rendered(mode, sidecar_port=port), plan_of()
    expected = rendered(mode, sidecar_port=port, image=SPLIT_IMAGE, generation="new")
    done = applied(node, pending(node, plan).changes)
    assert done.statefulset["spec"] == expected.statefulset["spec"]
    assert done.service["spec"] == expected.service["spec"]


@ALL_NODES
def test_cutover_changes_nothing_else(name: str) -> None:
    """Reverting each change by its path alone restores the original object."""
    node, plan = NODES[name], plan_of()
    pending_changes = pending(node, plan)
    done = applied(node, pending_changes.changes)
    restored = applied(done, [change.inverse for change in reversed(pending_changes.changes)])
    assert restored == node
    paths = {c.path.partition("]")[0] for c in pending_changes.changes if c.kind == transforms.STATEFUL_SET}
    assert all("initContainers[name=" in path or "containers[name=seid" in path for path in paths)
    unchanged = copy_json(done.statefulset)
    unchanged["spec"]["template"]["spec"] = template(node.statefulset)
    assert unchanged == node.statefulset


@given(name=st.sampled_from(sorted(NODES)), data=st.data())
def test_partly_changed_node_gets_remaining_changes(name: str, data: st.DataObject) -> None:
    node, plan = NODES[name], plan_of()
    pending_changes = pending(node, plan)
    done = data.draw(st.lists(st.sampled_from(pending_changes.changes), unique_by=lambda c: c.path))
    done = [change for change in pending_changes.changes if change in done]
    halfway = applied(node, done)
    remaining = pending(halfway, plan)
    assert not remaining.problems
    assert [(c.kind, c.path, c.after) for c in remaining.changes] == [
        (c.kind, c.path, c.after) for c in pending_changes.changes if c not in done
    ]
    assert applied(halfway, remaining.changes).statefulset["spec"].keys() == node.statefulset["spec"].keys()
    assert shape(applied(halfway, remaining.changes).statefulset, plan) is Shape.ENFORCED


@given(name=st.sampled_from(sorted(NODES)), data=st.data())
def test_each_written_template_can_start(name: str, data: st.DataObject) -> None:
    """This requires that the first template can start; a broken one is repaired in one write as far as possible."""
    node, plan = NODES[name], plan_of(data.draw(st.sampled_from(PUBLIC)))
    pending_changes = pending(node, plan)
    chosen = data.draw(st.sets(st.sampled_from(range(len(pending_changes.changes)))))
    halfway = applied(node, [change for i, change in enumerate(pending_changes.changes) if i in chosen])
    remaining = pending(halfway, plan)
    merged = data.draw(st.booleans())
    batches = transforms.batches(halfway.statefulset, remaining.changes, plan.parameters, merged=merged)
    assert [change for _, batch in batches for change in batch] == list(remaining.changes)
    assert len(batches) <= (1 if merged else 4)
    current = halfway
    for _, batch in batches:
        current = applied(current, batch)
        assert not start_defects(current.statefulset, plan)
        assert not transforms.start_blockers(current.statefulset, plan.parameters)


@given(name=st.sampled_from(sorted(NODES)), data=st.data())
def test_start_blockers_agree_with_audit(name: str, data: st.DataObject) -> None:
    node, plan = NODES[name], plan_of()
    pending_changes = pending(node, plan)
    chosen = data.draw(st.sets(st.sampled_from(range(len(pending_changes.changes)))))
    partly_changed = applied(
        node, [change for i, change in enumerate(pending_changes.changes) if i in chosen]
    ).statefulset
    assert bool(start_defects(partly_changed, plan)) == bool(transforms.start_blockers(partly_changed, plan.parameters))


def test_split_image_merges_expose_and_probes_into_one_write() -> None:
    node, plan = rendered(image=SPLIT_IMAGE), plan_of()
    batches = transforms.batches(node.statefulset, pending(node, plan).changes, plan.parameters, merged=False)
    assert [stage for stage, _ in batches] == [StageName.PROBES, StageName.ENFORCE]


def test_staged_has_one_write_per_stage_and_merged_has_one() -> None:
    node, plan = rendered(), plan_of()
    changes = pending(node, plan).changes
    staged = transforms.batches(node.statefulset, changes, plan.parameters, merged=False)
    assert [stage for stage, _ in staged] == [StageName.EXPOSE, StageName.PROBES, StageName.ENFORCE]
    [(stage, batch)] = transforms.batches(node.statefulset, changes, plan.parameters, merged=True)
    assert stage is StageName.ENFORCE
    assert batch == list(changes)


@pytest.mark.skipif(not CAPTURED.exists(), reason="the captured objects are missing")
def test_captured_nodes_include_full_node_validator_and_seed() -> None:
    assert {name for name, _ in captured()} >= {"captured-fullNode", "captured-validator", "captured-seed"}


# Unexpected shapes are reported and not changed.


def _named_probe(node: Node) -> None:
    for name, probe in (("kube-rbac-proxy", "livenessProbe"), ("kube-rbac-proxy", "readinessProbe")):
        container(node.statefulset, name)[probe]["httpGet"]["port"] = "api"


def test_probe_with_named_port_is_changed() -> None:
    node, plan = copy_of(rendered()), plan_of()
    _named_probe(node)
    assert shape(node.statefulset, plan) is Shape.SHARED
    assert not transforms.start_blockers(node.statefulset, plan.parameters)
    pending_changes = pending(node, plan)
    assert not pending_changes.problems
    done = applied(node, pending_changes.changes)
    assert shape(done.statefulset, plan) is Shape.ENFORCED
    assert applied(done, [change.inverse for change in reversed(pending_changes.changes)]) == node


def _ignore_paths_as_two_arguments(node: Node) -> None:
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


def _service_port_with_other_target(node: Node) -> None:
    node.service["spec"]["ports"].append({"name": "x", "port": 9100, "protocol": "TCP", "targetPort": 9555})


def _env_entry_with_value_from(node: Node) -> None:
    source = {"fieldRef": {"fieldPath": "metadata.name"}}
    container(node.statefulset, "sei-sidecar")["env"].append({"name": "SEI_SIDECAR_PUBLIC_PORT", "valueFrom": source})


def _two_start_gates(node: Node) -> None:
    seid = container(node.statefulset, "seid")
    seid["args"].append(seid["args"][0])


def _start_gate_on_other_port(node: Node) -> None:
    seid = container(node.statefulset, "seid")
    seid["args"][0] = seid["args"][0].replace("/dev/tcp/localhost/7777", "/dev/tcp/localhost/7999")


def _probe_on_other_port(node: Node) -> None:
    container(node.statefulset, "seid")["startupProbe"]["httpGet"]["port"] = 7999


def _two_ignore_paths_arguments(node: Node) -> None:
    args = container(node.statefulset, "kube-rbac-proxy")["args"]
    args.append("--ignore-paths=/v0/healthz")


SPOILED = (
    _ignore_paths_as_two_arguments,
    _sidecar_on_the_public_port,
    _other_container_on_the_public_port,
    _container_port_named_public,
    _service_port_named_public,
    _service_port_with_other_target,
    _env_entry_with_value_from,
    _two_start_gates,
    _start_gate_on_other_port,
    _probe_on_other_port,
    _two_ignore_paths_arguments,
)


@pytest.mark.parametrize("spoil", SPOILED)
def test_unexpected_shape_is_a_problem_and_other_changes_remain(spoil: Callable[[Node], None]) -> None:
    plan = plan_of()
    all_changes = pending(rendered(), plan).changes
    node = copy_of(rendered())
    spoil(node)
    unchanged = copy_of(node)
    pending_changes = pending(node, plan)
    assert pending_changes.problems
    assert node == unchanged
    assert 0 < len(pending_changes.changes) < len(all_changes)
    assert {c.path for c in pending_changes.changes} <= {c.path for c in all_changes}


@pytest.mark.parametrize("name", ["sei-sidecar", "kube-rbac-proxy", "seid"])
def test_pod_without_required_container_is_not_a_seinode_pod(name: str) -> None:
    node, plan = copy_of(rendered()), plan_of()
    container(node.statefulset, name)["name"] = "other"
    with pytest.raises(shapes.NotASeiNodePod, match=name):
        shapes.read(template(node.statefulset), plan.parameters)
    assert any(name in problem for problem in pending(node, plan).problems)
    assert transforms.start_blockers(node.statefulset, plan.parameters)


def test_existing_port_with_other_name_is_kept() -> None:
    node, plan = copy_of(rendered()), plan_of()
    container(node.statefulset, "sei-sidecar")["ports"].append(
        {"name": "web", "containerPort": 9100, "protocol": "TCP"}
    )
    node.service["spec"]["ports"].append({"name": "web", "port": 9100, "protocol": "TCP", "targetPort": 9100})
    pending_changes = pending(node, plan)
    assert not pending_changes.problems
    assert not [c for c in pending_changes.changes if "ports[" in c.path]
    assert shape(applied(node, pending_changes.changes).statefulset, plan) is Shape.ENFORCED


def test_ignore_paths_as_two_arguments_are_read() -> None:
    node, plan = copy_of(rendered()), plan_of()
    _ignore_paths_as_two_arguments(node)
    layout = shapes.read(template(node.statefulset), plan.parameters)
    assert layout.ignored == set(HEALTH_ROUTES)
    assert not layout.enforced
    assert not layout.start_blockers()
