"""Saved plans: what is applied is what was looked at, or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seimigrate.domain.kube.kinds import HOLD_LABEL, SYSTEM_NAMESPACE, Kind
from seimigrate.engine.errors import Forbidden, Unreachable
from seimigrate.simulation.cluster import Request
from seimigrate.simulation.world import SPLIT_IMAGE, World
from tests.cli.world import GO, SEI, SPLIT, WorldSession, say
from tests.engine.invariant_monitor import WRITES, Interrupted


@pytest.fixture
def world() -> World:
    made = World()
    made.add_node(SEI, "full-0")
    made.add_node(SEI, "validator-0", "validator")
    return made


@pytest.fixture
def file(world: World, tmp_path: Path) -> str:
    saved = str(tmp_path / "cutover.plan")
    assert say(WorldSession(world), "plan", *GO, "--out", saved).code == 0
    return saved


def refused(world: World, file: str, *more: str, session: WorldSession | None = None) -> str:
    """Apply a saved plan that must be refused; gives what was said. Nothing is written, not even the lock."""
    world.stop_controller()
    world.cluster.requests.clear()
    session = session or WorldSession(world)
    told = say(session, "apply", file, "--yes", "--no-guard", *more)
    assert told.code in (1, 2)
    assert {request.verb for request in world.cluster.requests} <= {"get", "list"}
    assert "lock" not in session.opened
    return told.err


def test_plan_says_how_to_apply_the_file(world: World, tmp_path: Path) -> None:
    saved = str(tmp_path / "p")
    assert (
        say(WorldSession(world), "plan", *GO, "--out", saved).out.splitlines()[-1] == f"next: seimigrate apply {saved}"
    )


def test_who_lacks_a_right_is_told_before_anything_is_read(world: World, file: str) -> None:
    session = WorldSession(world, lacks="get namespaces")
    assert "error: you may not get namespaces" in refused(world, file, session=session)
    assert world.cluster.requests == []
    assert f"namespaces=('{SEI}',)" in session.asked
    assert "identity=True" in session.asked


def test_a_saved_plan_is_applied_with_its_own_parameters(world: World, file: str) -> None:
    told = say(WorldSession(world), "apply", file, "--yes", "--no-guard", "-o", "json")
    assert told.code == 9
    assert {node["outcome"] for node in told.json["nodes"]} == {"done-held"}
    containers = world.statefulset(SEI, "full-0")["spec"]["template"]["spec"]["initContainers"]
    assert SPLIT_IMAGE in [container["image"] for container in containers]
    assert say(WorldSession(world), "apply", file, "--yes", "--no-guard").code == 9


def test_a_saved_plan_goes_on_where_it_was_interrupted(world: World, file: str) -> None:
    def die(request: Request) -> None:
        if request.verb == "evict":
            world.cluster.after_request = None
            raise Interrupted

    world.cluster.after_request = die
    with pytest.raises(Interrupted):
        say(WorldSession(world), "apply", file, "--yes", "--no-guard")
    told = say(WorldSession(world), "apply", file, "--yes", "--no-guard", "-o", "json")
    assert {node["outcome"] for node in told.json["nodes"]} == {"done-held"}


@pytest.mark.parametrize("way", ["saved", "typed", "job"])
def test_a_canary_that_is_done_is_no_obstacle_to_going_on(world: World, tmp_path: Path, way: str) -> None:
    assert say(WorldSession(world), "hold", *SPLIT, "--yes").code == 0
    world.replace_controller("new")
    named, file = (*GO, "--canary", f"{SEI}/full-0"), str(tmp_path / "cutover.plan")
    assert say(WorldSession(world), "plan", *named, "--out", file).code == 0
    words = {"saved": [file], "typed": [*named], "job": [file, "--job"]}[way]
    apply = ("apply", *words, "--yes", "--no-guard", "-o", "json")
    die(world, lambda request: request.verb == "evict" and request.name == "validator-0-0")
    with pytest.raises(Interrupted):
        say(WorldSession(world), *apply)
    assert outcome(world, "full-0") == "done"
    told = say(WorldSession(world), *apply)
    assert told.code == 0
    assert {outcome(world, name) for name in ("full-0", "validator-0")} == {"done"}


def test_a_jobs_next_pod_stays_paused_and_who_types_the_command_goes_on(world: World, file: str) -> None:
    """The first pod is lost with a node on its way; a person had paused the run just before."""
    apply = ("apply", file, "--yes", "--no-guard", "-o", "json")
    die(world, lambda request: request.verb == "evict")
    with pytest.raises(Interrupted):
        say(WorldSession(world), *apply, "--job")
    pause_the_record(world)
    late = world.clock.now() + 3600
    die(world, lambda request: world.clock.now() > late)
    with pytest.raises(Interrupted):
        say(WorldSession(world), *apply, "--job")
    assert {name: outcome(world, name) for name in ("full-0", "validator-0")} == {
        "full-0": "done-held",
        "validator-0": None,
    }
    told = say(WorldSession(world), *apply)
    assert told.code == 9
    assert {node["outcome"] for node in told.json["nodes"]} == {"done-held"}


def test_a_jobs_next_pod_does_not_try_again_what_came_to_its_end(world: World, file: str) -> None:
    world.kubelet.settings.broken_images.add(SPLIT_IMAGE)
    apply = ("apply", file, "--yes", "--no-guard", "-o", "json")
    assert say(WorldSession(world), *apply, "--job").code == 6
    rewrite_the_record(world, lambda record: record.update(exit_code=None))  # lost just before its end
    world.cluster.requests.clear()
    told = say(WorldSession(world), *apply, "--job")
    written = {(request.kind, request.name) for request in world.cluster.requests if request.verb in WRITES}
    assert told.code == 6
    assert [node["outcome"] for node in told.json["nodes"]][:1] == ["rolled-back"]
    assert Kind.STATEFUL_SET not in {kind for kind, _ in written}
    assert Kind.POD not in {kind for kind, _ in written}
    world.kubelet.settings.broken_images.clear()
    assert say(WorldSession(world), *apply).code == 9


def test_a_jobs_second_pod_stands_by_and_goes_on_when_the_first_is_lost(
    world: World, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile the API server does not answer for a moment; the first pod is lost with a node on its way."""
    apply = ("apply", file, "--yes", "--no-guard", "-o", "json", "--job")
    session, waited = WorldSession(world, other="first@there:1"), []

    def on(seconds: float) -> None:
        waited.append(seconds)
        match len(waited):
            case 2:
                session.no_lock = Unreachable("no answer")
            case 3:
                session.no_lock = None
                die(world, lambda request: request.verb == "evict")
                with pytest.raises(Interrupted):
                    say(WorldSession(world), *apply)
                session.other = ""

    monkeypatch.setattr("time.sleep", on)
    told = say(session, *apply)
    assert told.code == 9
    assert {node["outcome"] for node in told.json["nodes"]} == {"done-held"}
    assert told.err.count("lock held by first@there:1; on standby until it is released") == 1
    assert told.err.count("retrying: no answer") == 1
    assert len(waited) == 3


def test_a_jobs_second_pod_changes_nothing_when_the_first_has_brought_all_to_its_end(
    world: World, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = ("apply", file, "--yes", "--no-guard", "-o", "json", "--job")
    session = WorldSession(world, other="first@there:1")

    def on(seconds: float) -> None:
        session.other = ""
        assert say(WorldSession(world), *apply).code == 9
        world.cluster.requests.clear()

    monkeypatch.setattr("time.sleep", on)
    told = say(session, *apply)
    assert told.code == 9
    assert told.out == ""
    assert {request.verb for request in world.cluster.requests} == {"get"}


@pytest.mark.parametrize("change", ["edited", "gone"])
def test_a_jobs_next_pod_goes_on_though_a_node_has_changed_whose_turn_has_not_come(
    world: World, file: str, change: str
) -> None:
    """The plan fitted when the Job began; the node is judged when its turn comes, and stays as it is."""
    apply = ("apply", file, "--yes", "--no-guard", "-o", "json")
    die(world, lambda request: request.verb == "evict")
    with pytest.raises(Interrupted):
        say(WorldSession(world), *apply, "--job")
    {"edited": _podlabels, "gone": _gone}[change](world, "validator-0")
    told = say(WorldSession(world), *apply, "--job")
    assert told.code == 9
    first, second = told.json["nodes"]
    assert (first["name"], first["outcome"]) == ("full-0", "done-held")
    assert (second["name"], second["outcome"]) == ("validator-0", "blocked")
    assert second["blockers"][0]["code"] == "plan-stale"
    assert HOLD_LABEL not in world.statefulset(SEI, "validator-0")["metadata"].get("labels", {})


def test_a_jobs_second_pod_without_rights_ends_with_an_error(world: World, file: str) -> None:
    session = WorldSession(world, no_lock=Forbidden("you may not get leases"))
    told = say(session, "apply", file, "--yes", "--job")
    assert told.code == 1
    assert "you may not get leases" in told.err


def test_a_job_without_a_saved_plan_is_a_usage_error(world: World) -> None:
    told = say(WorldSession(world), "apply", *GO, "--job", "--yes")
    assert told.code == 2
    assert "--job requires a saved plan" in told.err


def die(world: World, when: Callable[[Request], bool]) -> None:
    """Let the next process be killed after a request."""

    def killed(request: Request) -> None:
        if when(request):
            world.cluster.after_request = None
            raise Interrupted

    world.cluster.after_request = killed


def pause_the_record(world: World) -> None:
    """Leave the run's record as one leaves it that a person has paused."""
    rewrite_the_record(world, lambda record: record["campaign"].update(paused="by ann@there:1"))


def rewrite_the_record(world: World, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the run's record in its ConfigMap."""
    body = world.cluster.objects[Kind.CONFIG_MAP][SYSTEM_NAMESPACE, "seimigrate-run"]
    record = json.loads(body["data"]["record"])
    change(record)
    world.cluster.put(Kind.CONFIG_MAP, body | {"data": {"record": json.dumps(record)}})


def outcome(world: World, name: str) -> str | None:
    """Give how a node came out by its journal, None if it never set out."""
    body = world.cluster.objects[Kind.CONFIG_MAP].get((SEI, f"seimigrate-{name}"))
    return None if body is None else str(json.loads(body["data"]["record"])["outcome"])


def _podlabels(world: World, name: str = "full-0") -> None:
    world.edit_seinode(SEI, name, {"podLabels": {"a": "b"}})


def _edit(path: str, value: object) -> Callable[[World], None]:
    def edit(world: World) -> None:
        world.stop_controller()  # it would put it right
        operation = {"op": "replace", "path": f"/spec/template/spec/{path}", "value": value}
        world.cluster.patch(Kind.STATEFUL_SET, SEI, "full-0", [operation], manager="kubectl")

    return edit


def _restart(world: World) -> None:
    pod = world.pod(SEI, "full-0")
    assert pod is not None
    world.cluster.delete(Kind.POD, SEI, "full-0-0", uid=pod["metadata"]["uid"])
    world.run(120)


def _gone(world: World, name: str = "full-0") -> None:
    world.stop_controller()
    node = world.cluster.objects[Kind.SEI_NODE][SEI, name]
    world.cluster.delete(Kind.SEI_NODE, SEI, name, uid=node["metadata"]["uid"])


CHANGED = {
    "SeiNode metadata.generation was 1, is 2": _podlabels,
    "StatefulSet seid: image was ghcr.io/sei-protocol/sei:v6.3.0, is sei:v9": _edit("containers/0/image", "sei:v9"),
    "kube-rbac-proxy: livenessProbe.httpGet.port was 8443, is 9100": _edit(
        "initContainers/2/livenessProbe/httpGet/port", 9100
    ),
    "Pod metadata.uid was ": _restart,
    "SeiNode was there, is gone": _gone,
}


@pytest.mark.parametrize("said", CHANGED)
def test_what_changed_since_is_named_and_nothing_is_done(world: World, file: str, said: str) -> None:
    CHANGED[said](world)
    err = refused(world, file)
    assert "does not fit any more, and nothing was changed" in err
    lines = [line for line in err.splitlines() if line.startswith("  sei/full-0: ")]
    assert any(said in line for line in lines), err
    assert "validator-0" not in err
    assert "hint: make it anew, and look at it: seimigrate plan --set " in err


def test_what_changes_all_the_time_is_no_difference(world: World, file: str) -> None:
    world.run(600)
    label = {"op": "add", "path": "/metadata/labels/somebody", "value": "else"}
    world.cluster.patch(Kind.STATEFUL_SET, SEI, "full-0", [label])
    assert say(WorldSession(world), "hold", "--yes").code == 0
    assert HOLD_LABEL in world.statefulset(SEI, "full-0")["metadata"]["labels"]
    assert say(WorldSession(world), "apply", file, "--yes", "--no-guard").code == 9


def test_another_cluster_is_refused(file: str) -> None:
    other = World()
    other.add_node(SEI, "full-0")
    other.add_node(SEI, "validator-0", "validator")
    other.cluster.put(Kind.NAMESPACE, {"metadata": {"name": "kube-system", "uid": "another"}})
    assert "was saved for another cluster than https://simulated: nothing was changed" in refused(other, file)


def spoil(file: str, old: str, new: str) -> None:
    text = Path(file).read_text()
    assert old in text
    Path(file).write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"public": 9100', '"public": 9200', "the file was modified after it was saved"),
        ('"kind": "seimigrate plan"', '"kind": "other"', 'not a saved plan: "kind" is not "seimigrate plan"'),
        ('"version": 1', '"version": 2', "version is 2, expected 1"),
        ('"content": {', '"content": ', "not JSON: the file is truncated or not a saved plan"),
    ],
)
def test_a_damaged_file_is_one_clear_error(world: World, file: str, old: str, new: str, said: str) -> None:
    spoil(file, old, new)
    err = refused(world, file)
    assert said in err
    assert len(err.splitlines()) == 2
    assert "hint: save it anew" in err


def test_any_file_cut_anywhere_is_refused(world: World, file: str) -> None:
    text = Path(file).read_text()
    for length in range(0, len(text) - 2, 997):
        Path(file).write_text(text[:length])
        assert "not JSON" in refused(world, file)


def test_no_file_is_one_clear_error(world: World, tmp_path: Path) -> None:
    assert "cannot be read: No such file" in refused(world, str(tmp_path / "absent"))
    assert "cannot be read: Is a directory" in refused(world, str(tmp_path))


@pytest.mark.parametrize("words", [("-A",), ("--set", "ports.public=1"), ("--strategy", "merged"), ("-n", "x")])
def test_what_the_file_says_cannot_be_said_again(world: World, file: str, words: tuple[str, ...]) -> None:
    assert f"says that already: {words[0]}" in refused(world, file, *words)


def test_a_file_that_cannot_be_written_is_said(world: World, tmp_path: Path) -> None:
    told = say(WorldSession(world), "plan", *GO, "--out", str(tmp_path / "absent" / "p"))
    assert (told.code, told.out) == (1, "")
    assert "cannot be written: No such file or directory" in told.err
    assert list(tmp_path.iterdir()) == []


def test_the_file_holds_the_plan_the_waves_and_the_fingerprints_and_no_long_values(world: World, file: str) -> None:
    content = json.loads(Path(file).read_text())["content"]
    assert content["plan"]["parameters"]["sidecars"]["image"] == SPLIT_IMAGE
    assert [(wave["kind"], wave["nodes"]) for wave in content["waves"]] == [
        ("canary", ["sei/full-0"]),
        ("canary", ["sei/validator-0"]),
    ]
    assert content["estimate"] > content["plan"]["fleet"]["canary"]["soak"]
    [full, _] = content["nodes"]
    assert (full["restarts"], full["stage"], full["blocked"]) == (2, "expose", False)
    assert full["fields"]["SeiNode metadata.generation"] == 1
    script = next(value for name, value in full["fields"].items() if "/dev/tcp" in name)
    assert script.startswith("sha256:")
    assert "resourceVersion" not in Path(file).read_text()


def test_the_plan_shows_the_order_and_how_long_it_may_take(world: World) -> None:
    told = say(WorldSession(world), "plan", *GO)
    assert "in this order\n  canary  sei/full-0\n  canary  sei/validator-0\n" in told.out
    assert "4 restarts, about " in told.out
    page = say(WorldSession(world), "plan", *GO, "-o", "json", "--canary", "sei/validator-0").json
    assert [wave["nodes"] for wave in page["waves"]] == [["sei/validator-0"], ["sei/full-0"]]
    assert page["estimate"] > 600


def test_a_canary_that_is_no_node_is_refused(world: World) -> None:
    told = say(WorldSession(world), "plan", *GO, "--canary", "sei/absent")
    assert (told.code, told.out) == (2, "")
    assert "the canary sei/absent is none of the nodes that are to move" in told.err


def test_a_node_that_changes_before_its_turn_comes_is_left_alone_and_named(world: World, file: str) -> None:
    def meanwhile(request: Request) -> None:
        if request.verb == "evict":
            world.cluster.after_request = None
            world.edit_seinode(SEI, "validator-0", {"podLabels": {"a": "b"}})

    world.cluster.after_request = meanwhile
    told = say(WorldSession(world), "apply", file, "--yes", "--no-guard", "-o", "json")
    full, validator = told.json["nodes"]
    assert (full["outcome"], validator["outcome"]) == ("done-held", "blocked")
    [blocker] = validator["blockers"]
    assert blocker["code"] == "plan-stale"
    assert "SeiNode metadata.generation was 1, is 2" in blocker["reason"]
    assert HOLD_LABEL not in world.statefulset(SEI, "validator-0")["metadata"]["labels"]
