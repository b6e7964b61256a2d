"""Field paths and changes: a change and its inverse cancel out on any object, with any JSON Patch library."""

from __future__ import annotations

from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seimigrate.domain.kube import changes as changing
from seimigrate.domain.kube import field_paths
from seimigrate.domain.kube.changes import Change, ConflictingChange, State
from seimigrate.domain.kube.kinds import Object
from seimigrate.simulation.objects import copy_json

NAMES = st.sampled_from(["a", "b", "sei.io/x", "c~d"])
SCALARS = st.one_of(st.integers(-3, 9999), st.booleans(), st.text("abc=/,-", max_size=6))
MAPS = st.dictionaries(NAMES, SCALARS, min_size=1, max_size=3)
ARGS = st.lists(st.sampled_from(["--v=0", "--x=1", "--y", "plain"]), max_size=4)


def _key(name: str) -> str:
    return f"[{name}]" if "." in name or "~" in name else name


@st.composite
def objects(draw: st.DrawFn) -> dict[str, Any]:
    """An object with maps, named entries, ports and arguments, any of which may be missing."""
    containers: list[Object] = [
        {"name": name, **draw(st.fixed_dictionaries({}, optional={"args": ARGS.filter(bool), "probe": MAPS}))}
        for name in draw(st.lists(st.sampled_from(["one", "two", "three"]), unique=True, min_size=1))
    ]
    for each in containers:
        numbers = draw(st.lists(st.integers(1, 5), unique=True, max_size=3))
        if numbers:
            each["ports"] = [{"containerPort": n, "protocol": "TCP"} for n in numbers]
    return {"metadata": draw(st.fixed_dictionaries({}, optional={"labels": MAPS})), "spec": {"containers": containers}}


@st.composite
def edits(draw: st.DrawFn) -> tuple[dict[str, Any], Change]:
    """An object, and a change of one of its fields in any form that transforms produce."""
    obj = draw(objects())
    entry = draw(st.sampled_from(obj["spec"]["containers"]))
    container_path = f"spec.containers[name={entry['name']}]"
    kind = draw(st.sampled_from(["label", "field", "port", "remove-port", "argument", "replace-argument"]))
    after: field_paths.Value
    index = None
    if kind == "label":
        path, after = f"metadata.labels[{draw(NAMES)}]", draw(st.one_of(st.none(), SCALARS))
    elif kind == "field":
        path, after = (
            f"{container_path}.probe.{_key(draw(NAMES))}".replace(".[", "["),
            draw(st.one_of(st.none(), SCALARS)),
        )
    elif kind == "port":
        number = draw(st.integers(1, 6))
        path = f"{container_path}.ports[containerPort={number},protocol=TCP]"
        after = {"containerPort": number, "protocol": "TCP", "name": "public"}
    elif kind == "remove-port":
        number = draw(st.integers(1, 6))
        path, after = f"{container_path}.ports[containerPort={number},protocol=TCP]", None
        index = _index(entry.get("ports", []), lambda port: port["containerPort"] == number)
    else:
        path, after = f"{container_path}.args[^=--x=]", None
        index = _index(entry.get("args", []), lambda argument: argument.startswith("--x="))
        if kind == "replace-argument":
            path, after, index = f"{container_path}.args[*=x=]", "--x=2", None
    try:
        before = field_paths.read(obj, path)
    except LookupError:
        return obj, Change("expose", "StatefulSet", "metadata.labels.none", None, "x")
    if kind == "replace-argument" and before is None:
        after = None
    return obj, Change("expose", "StatefulSet", path, before, after, index)


def _index(entries: list[Any], predicate: Any) -> int | None:
    return next((i for i, entry in enumerate(entries) if predicate(entry)), None)


@given(edits())
def test_change_and_inverse_restore_equal_object(drawn: tuple[dict[str, Any], Change]) -> None:
    obj, change = drawn
    original = copy_json(obj)
    applied = changing.apply(obj, [change])
    assert obj == original
    assert field_paths.read(applied, change.path) == change.after
    restored = changing.apply(applied, [change.inverse])
    if "labels" not in obj["metadata"]:
        # A map that was created with its only key stays here, empty; the API server stores no empty map.
        restored["metadata"] = {k: v for k, v in restored["metadata"].items() if v or k in obj["metadata"]}
    for entry, before_entry in zip(restored["spec"]["containers"], obj["spec"]["containers"], strict=True):
        for name in ("probe", "args", "ports"):
            if name not in before_entry and not entry.get(name, True):
                del entry[name]
    assert restored == obj


@given(edits())
def test_patch_of_applied_change_is_empty(drawn: tuple[dict[str, Any], Change]) -> None:
    obj, change = drawn
    assert changing.to_patch(changing.apply(obj, [change]), [change]) == []


@given(edits())
def test_patch_in_another_library_equals_apply(drawn: tuple[dict[str, Any], Change]) -> None:
    obj, change = drawn
    operations = changing.to_patch(obj, [change])
    assert jsonpatch.apply_patch(obj, operations) == changing.apply(obj, [change])


@given(edits())
def test_patch_tests_name_of_each_list_entry_in_its_path(drawn: tuple[dict[str, Any], Change]) -> None:
    """An index alone denotes another entry as soon as another client inserts one before it."""
    obj, change = drawn
    operations = changing.to_patch(obj, [change])
    tested = {operation["path"]: operation["value"] for operation in operations if operation["op"] == "test"}
    for operation in operations:
        container_path = operation["path"].split("/")[1:]
        if container_path[:2] == ["spec", "containers"]:
            name = obj["spec"]["containers"][int(container_path[2])]["name"]
            assert tested[f"/spec/containers/{container_path[2]}/name"] == name


@given(edits(), st.one_of(SCALARS, MAPS))
def test_changed_field_is_conflict_that_names_the_field(drawn: tuple[dict[str, Any], Change], other: Any) -> None:
    obj, change = drawn
    stale = Change(change.stage, change.kind, change.path, "was-something-else", "is-something-else")
    if change.state(obj) is State.OTHER or field_paths.read(obj, change.path) in (stale.before, stale.after):
        return
    assert stale.state(obj) is State.OTHER
    with pytest.raises(ConflictingChange, match="StatefulSet") as caught:
        changing.to_patch(obj, [stale])
    assert caught.value.changes == (stale,)
    assert change.path in str(caught.value)


@given(edits())
def test_change_from_json_equals_original(drawn: tuple[dict[str, Any], Change]) -> None:
    _, change = drawn
    assert Change.from_json(change.to_json()) == change


def test_patch_tests_replaced_value_and_entry_names() -> None:
    obj = {"spec": {"containers": [{"name": "one"}, {"name": "two", "image": "a"}]}}
    change = Change("probes", "StatefulSet", "spec.containers[name=two].image", "a", "b")
    operations = changing.to_patch(obj, [change])
    assert {"op": "test", "path": "/spec/containers/1/name", "value": "two"} in operations
    assert {"op": "test", "path": "/spec/containers/1/image", "value": "a"} in operations
    moved = {"spec": {"containers": list(reversed(obj["spec"]["containers"]))}}
    with pytest.raises((jsonpatch.JsonPatchTestFailed, jsonpatch.JsonPatchConflict)):
        jsonpatch.apply_patch(moved, operations)


def test_inverse_of_removed_argument_restores_its_index() -> None:
    obj = {"spec": {"containers": [{"name": "one", "args": ["a", "--x=1", "b"]}]}}
    change = Change("enforce", "StatefulSet", "spec.containers[name=one].args[^=--x=]", "--x=1", None, 1)
    removed = changing.apply(obj, [change])
    assert removed["spec"]["containers"][0]["args"] == ["a", "b"]
    assert changing.apply(removed, [change.inverse]) == obj


def test_inverse_of_first_list_entry_removes_the_list() -> None:
    obj: dict[str, Any] = {"spec": {"containers": [{"name": "one"}]}}
    path = "spec.containers[name=one].ports[containerPort=1,protocol=TCP]"
    change = Change("expose", "StatefulSet", path, None, {"containerPort": 1, "protocol": "TCP"})
    applied = changing.apply(obj, [change])
    assert applied["spec"]["containers"][0]["ports"] == [{"containerPort": 1, "protocol": "TCP"}]
    assert changing.apply(applied, [change.inverse]) == obj


@pytest.mark.parametrize("path", ["a.b", "a[b=1]", "a[b.c/d]", "a[^=--x=].b", "a[*=/x/]", "a[b=1,c=2].d"])
def test_missing_path_reads_as_none(path: str) -> None:
    assert field_paths.read({}, path) is None
    assert field_paths.read({"a": []}, path) is None
    assert field_paths.read({"a": "text"}, path) is None


@pytest.mark.parametrize("path", ["a]", "[", "a..b", "a[b", "."])
def test_malformed_path_raises_value_error(path: str) -> None:
    with pytest.raises(ValueError, match="malformed"):
        field_paths.parse(path)


def test_path_that_matches_several_entries_raises_lookup_error() -> None:
    with pytest.raises(LookupError, match="2 entries"):
        field_paths.read({"a": ["--x=1", "--x=2"]}, "a[^=--x=]")


def test_json_pointer_escapes_slash_and_tilde() -> None:
    assert field_paths.json_pointer(("a/b", "c~d", 0)) == "/a~1b/c~0d/0"
