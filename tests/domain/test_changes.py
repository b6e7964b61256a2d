"""Paths and changes: a change and its inverse undo each other, on whatever object, by whichever patch library."""

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
    """An object, and a change of one of its fields in any of the forms that transforms make."""
    obj = draw(objects())
    entry = draw(st.sampled_from(obj["spec"]["containers"]))
    where = f"spec.containers[name={entry['name']}]"
    kind = draw(st.sampled_from(["label", "field", "port", "remove-port", "argument", "replace-argument"]))
    after: field_paths.Value
    index = None
    if kind == "label":
        path, after = f"metadata.labels[{draw(NAMES)}]", draw(st.one_of(st.none(), SCALARS))
    elif kind == "field":
        path, after = f"{where}.probe.{_key(draw(NAMES))}".replace(".[", "["), draw(st.one_of(st.none(), SCALARS))
    elif kind == "port":
        number = draw(st.integers(1, 6))
        path = f"{where}.ports[containerPort={number},protocol=TCP]"
        after = {"containerPort": number, "protocol": "TCP", "name": "public"}
    elif kind == "remove-port":
        number = draw(st.integers(1, 6))
        path, after = f"{where}.ports[containerPort={number},protocol=TCP]", None
        index = _index(entry.get("ports", []), lambda port: port["containerPort"] == number)
    else:
        path, after = f"{where}.args[^=--x=]", None
        index = _index(entry.get("args", []), lambda argument: argument.startswith("--x="))
        if kind == "replace-argument":
            path, after, index = f"{where}.args[*=x=]", "--x=2", None
    try:
        before = field_paths.read(obj, path)
    except LookupError:
        return obj, Change("expose", "StatefulSet", "metadata.labels.none", None, "x")
    if kind == "replace-argument" and before is None:
        after = None
    return obj, Change("expose", "StatefulSet", path, before, after, index)


def _index(entries: list[Any], wanted: Any) -> int | None:
    return next((i for i, entry in enumerate(entries) if wanted(entry)), None)


@given(edits())
def test_a_change_and_its_inverse_give_the_equal_object(made: tuple[dict[str, Any], Change]) -> None:
    obj, change = made
    kept = copy_json(obj)
    there = changing.apply(obj, [change])
    assert obj == kept
    assert field_paths.read(there, change.path) == change.after
    back = changing.apply(there, [change.inverse])
    if "labels" not in obj["metadata"]:
        # A map that came with its only key is left empty here; the API server stores no empty map.
        back["metadata"] = {k: v for k, v in back["metadata"].items() if v or k in obj["metadata"]}
    for entry, was in zip(back["spec"]["containers"], obj["spec"]["containers"], strict=True):
        for name in ("probe", "args", "ports"):
            if name not in was and not entry.get(name, True):
                del entry[name]
    assert back == obj


@given(edits())
def test_the_second_patch_is_empty(made: tuple[dict[str, Any], Change]) -> None:
    obj, change = made
    assert changing.to_patch(changing.apply(obj, [change]), [change]) == []


@given(edits())
def test_the_patch_does_what_apply_does_in_any_implementation(made: tuple[dict[str, Any], Change]) -> None:
    obj, change = made
    operations = changing.to_patch(obj, [change])
    assert jsonpatch.apply_patch(obj, operations) == changing.apply(obj, [change])


@given(edits())
def test_every_named_entry_that_a_patch_goes_through_is_tested_by_its_name(made: tuple[dict[str, Any], Change]) -> None:
    """An index alone means another entry as soon as somebody puts one before it."""
    obj, change = made
    operations = changing.to_patch(obj, [change])
    tested = {operation["path"]: operation["value"] for operation in operations if operation["op"] == "test"}
    for operation in operations:
        where = operation["path"].split("/")[1:]
        if where[:2] == ["spec", "containers"]:
            name = obj["spec"]["containers"][int(where[2])]["name"]
            assert tested[f"/spec/containers/{where[2]}/name"] == name


@given(edits(), st.one_of(SCALARS, MAPS))
def test_a_field_that_somebody_changed_is_a_conflict_that_names_it(
    made: tuple[dict[str, Any], Change], other: Any
) -> None:
    obj, change = made
    stale = Change(change.stage, change.kind, change.path, "was-something-else", "is-something-else")
    if change.state(obj) is State.OTHER or field_paths.read(obj, change.path) in (stale.before, stale.after):
        return
    assert stale.state(obj) is State.OTHER
    with pytest.raises(ConflictingChange, match="StatefulSet") as caught:
        changing.to_patch(obj, [stale])
    assert caught.value.changes == (stale,)
    assert change.path in str(caught.value)


@given(edits())
def test_a_change_survives_the_journal(made: tuple[dict[str, Any], Change]) -> None:
    _, change = made
    assert Change.from_json(change.to_json()) == change


def test_a_patch_tests_what_it_replaces_and_the_names_on_its_way() -> None:
    obj = {"spec": {"containers": [{"name": "one"}, {"name": "two", "image": "a"}]}}
    change = Change("probes", "StatefulSet", "spec.containers[name=two].image", "a", "b")
    operations = changing.to_patch(obj, [change])
    assert {"op": "test", "path": "/spec/containers/1/name", "value": "two"} in operations
    assert {"op": "test", "path": "/spec/containers/1/image", "value": "a"} in operations
    moved = {"spec": {"containers": list(reversed(obj["spec"]["containers"]))}}
    with pytest.raises((jsonpatch.JsonPatchTestFailed, jsonpatch.JsonPatchConflict)):
        jsonpatch.apply_patch(moved, operations)


def test_an_argument_comes_back_to_its_place() -> None:
    obj = {"spec": {"containers": [{"name": "one", "args": ["a", "--x=1", "b"]}]}}
    change = Change("enforce", "StatefulSet", "spec.containers[name=one].args[^=--x=]", "--x=1", None, 1)
    gone = changing.apply(obj, [change])
    assert gone["spec"]["containers"][0]["args"] == ["a", "b"]
    assert changing.apply(gone, [change.inverse]) == obj


def test_the_last_entry_goes_with_its_list_as_it_came() -> None:
    obj: dict[str, Any] = {"spec": {"containers": [{"name": "one"}]}}
    path = "spec.containers[name=one].ports[containerPort=1,protocol=TCP]"
    change = Change("expose", "StatefulSet", path, None, {"containerPort": 1, "protocol": "TCP"})
    there = changing.apply(obj, [change])
    assert there["spec"]["containers"][0]["ports"] == [{"containerPort": 1, "protocol": "TCP"}]
    assert changing.apply(there, [change.inverse]) == obj


@pytest.mark.parametrize("path", ["a.b", "a[b=1]", "a[b.c/d]", "a[^=--x=].b", "a[*=/x/]", "a[b=1,c=2].d"])
def test_a_path_that_is_not_there_is_absent(path: str) -> None:
    assert field_paths.read({}, path) is None
    assert field_paths.read({"a": []}, path) is None
    assert field_paths.read({"a": "text"}, path) is None


@pytest.mark.parametrize("path", ["a]", "[", "a..b", "a[b", "."])
def test_a_malformed_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="malformed"):
        field_paths.parse(path)


def test_a_path_that_fits_several_entries_means_none_of_them() -> None:
    with pytest.raises(LookupError, match="2 entries"):
        field_paths.read({"a": ["--x=1", "--x=2"]}, "a[^=--x=]")


def test_a_json_pointer_escapes_what_it_must() -> None:
    assert field_paths.json_pointer(("a/b", "c~d", 0)) == "/a~1b/c~0d/0"
