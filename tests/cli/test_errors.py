"""Whatever goes wrong is one clear error on stderr, with the next thing to do, and no traceback; nothing is changed."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from seimigrate.app import names
from seimigrate.cli.main import main
from seimigrate.domain.kube.kinds import JOURNAL_PREFIX, RUN_NAME, SYSTEM_NAMESPACE, Kind
from seimigrate.engine.errors import ApiError, Forbidden, NotFound, Unauthorized, Unreachable
from seimigrate.simulation.cluster import Request
from seimigrate.simulation.world import World
from tests.cli.world import GO, SEI, SPLIT, Said, WorldSession, say

EVERY = [
    ["plan", *GO],
    ["status", "-A"],
    ["apply", "--no-guard", *GO, "--yes"],
    ["rollback", "--yes"],
    ["hold", "--yes"],
]
every_command = pytest.mark.parametrize("words", EVERY, ids=lambda words: words[0])


@pytest.fixture
def world() -> World:
    made = World()
    made.add_node(SEI, "full-0")
    made.stop_controller()
    made.cluster.requests.clear()
    return made


def is_one_error(told: Said, code: int, text: str) -> bool:
    assert told.code == code, told.err
    assert told.out == ""
    assert "Traceback" not in told.err
    errors = [line for line in told.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert text in told.err
    return True


def wrote(world: World) -> set[str]:
    return {request.verb for request in world.cluster.requests} - {"get", "list"}


@every_command
@pytest.mark.parametrize(
    "error",
    [
        Unreachable("no answer from https://10.0.0.1", hint="kubectl cluster-info"),
        Unauthorized("the API server does not accept our credentials", hint="kubectl auth whoami"),
        Forbidden("forbidden", hint='bob needs a role with verb "list" on resource "seinodes.sei.io"'),
        NotFound("the API server does not serve seinodes", hint="install it: kubectl get crd seinodes.sei.io"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_api_server_refuses_is_told_with_its_hint(world: World, words: list[str], error: ApiError) -> None:
    def refuse(request: Request) -> None:
        if request.kind is Kind.SEI_NODE:
            raise error

    world.cluster.before_request = refuse
    told = say(WorldSession(world), *words)
    assert is_one_error(told, 1, f"error: {error.message}\n  hint: {error.hint}\n")
    assert not wrote(world)


@every_command
def test_no_node_is_an_error(world: World, words: list[str]) -> None:
    session = WorldSession(world, namespace="default")
    everywhere = [*words, *([] if "-A" in words else ["-A"])]
    assert is_one_error(say(session, *everywhere, "-l", "sei.io/role=none"), 1, "there is no SeiNode with labels")
    if "-A" not in words:
        assert is_one_error(say(session, *words), 1, "there is no SeiNode in namespace default")
    assert is_one_error(say(session, *words, "--node", "sei/nobody"), 1, "there is no SeiNode sei/nobody")
    assert not wrote(world)


@every_command
def test_a_foreign_or_damaged_journal_is_an_error(world: World, words: list[str]) -> None:
    meta = {"namespace": SEI, "name": f"{JOURNAL_PREFIX}full-0"}
    world.cluster.put(Kind.CONFIG_MAP, {"metadata": meta, "data": {}})
    before = world.statefulset(SEI, "full-0")
    if words[0] not in ("plan", "status"):  # they list journals by their label, and meet no other
        told = say(WorldSession(world), *words)
        assert is_one_error(told, 1, "ConfigMap sei/seimigrate-full-0 has the name of a journal")
    labels = {"app.kubernetes.io/managed-by": "seimigrate", "seimigrate.sei.io/migration": "split-listeners"}
    world.cluster.put(Kind.CONFIG_MAP, {"metadata": {**meta, "labels": labels}, "data": {"record": "{"}})
    told = say(WorldSession(world), *words)
    assert is_one_error(told, 1, "ConfigMap sei/seimigrate-full-0, the journal of a node, is damaged")
    assert world.statefulset(SEI, "full-0") == before


@pytest.mark.parametrize("words", EVERY[1:], ids=lambda words: words[0])
def test_a_damaged_record_of_the_run_is_an_error(world: World, words: list[str]) -> None:
    world.add_namespace(SYSTEM_NAMESPACE)
    meta = {"namespace": SYSTEM_NAMESPACE, "name": RUN_NAME}
    world.cluster.put(Kind.CONFIG_MAP, {"metadata": meta, "data": {"record": "[]"}})
    before = world.statefulset(SEI, "full-0")
    assert is_one_error(say(WorldSession(world), *words), 1, "the run's record, is damaged")
    assert world.statefulset(SEI, "full-0") == before


@every_command
def test_a_plan_that_is_off_is_a_usage_error_before_anything_is_asked(
    world: World, words: list[str], tmp_path: Path
) -> None:
    session = WorldSession(world)
    file = tmp_path / "plan.yaml"
    file.write_text("version: 1\nmigration: split-listeners\nstages: []\nstrategie: merged\n")
    told = say(session, *words, "-f", str(file))
    assert told.code == 2
    assert 'did you mean "strategy"?' in told.err
    assert "hint: the format: seimigrate schema" in told.err
    assert say(session, *words, "-f", str(tmp_path / "absent.yaml")).code == 2
    assert say(session, *words, "--set", "ports.publik=1").code == 2
    assert session.opened == []


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["plan", "-A", "-n", "sei"], "-A and -n are mutually exclusive"),
        (["plan", "--node", "full-0"], "--node full-0: expected NAMESPACE/NAME"),
        (["plan", "--node", "a/b/c"], "--node a/b/c: expected NAMESPACE/NAME"),
        (["plan", "--node", "a/b", "-l", "x=y"], "--node and -l are mutually exclusive"),
        (["plan", "--node", "a/b", "-n", "c"], "--node a/b is not in namespace c"),
        (["plan", "-n", "../x"], "-n ../x: not a valid namespace name"),
        (["status", "-n", "Sei"], "-n Sei: not a valid namespace name"),
        (["status", "-n", ""], "-n : not a valid namespace name"),
        (["guard", "-n", "sei", "-n", "a.b"], "-n a.b: not a valid namespace name"),
        (["verify", "-n", "x" * 64], "not a valid namespace name"),
        (["verify", "--probe-from", "a b"], "--probe-from a b: not a valid namespace name"),
        (["plan", "--node", "../x"], "--node ../x: .. is not a valid namespace name"),
        (["policy", "render", "--node", "sei/full_0"], "--node sei/full_0: full_0 is not a valid object name"),
        (["plan", "--node", "sei/?limit=1"], "--node sei/?limit=1: ?limit=1 is not a valid object name"),
        (["skip", "sei/.."], "skip sei/..: .. is not a valid object name"),
        (["runbook", "show", "rollback-hold", "--node", "sei/-"], "--node sei/-: - is not a valid object name"),
        (["plan", "--canary", "full-0"], "--canary full-0: expected NAMESPACE/NAME"),
        (["apply", "--yes", "-l", "a=b,"], "-l a=b,: invalid label selector term: (empty)"),
        (
            ["hold", "--yes", "-l", "sei.io/role=a b"],
            "-l sei.io/role=a b: invalid label selector term: sei.io/role=a b",
        ),
        (["plan", "-l", "a=1,b in (x"], "-l a=1,b in (x: invalid label selector term: b in (x"),
        (["rollback", "--yes", "-l", "=x"], "-l =x: invalid label selector term: =x"),
        (["hold", "--yes", "--controller-account", "x"], "--controller-account x: expected NAMESPACE/NAME"),
        (["apply", "--yes", "--service-account", "/"], "--service-account /: expected NAMESPACE/NAME"),
        (["rollback", "--yes", "--to", "release"], "--to release is the last stage of the cutover"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_words_that_are_off_are_usage_errors(world: World, words: list[str], text: str) -> None:
    session = WorldSession(world)
    assert is_one_error(say(session, *words), 2, text)
    assert session.opened == []


@pytest.mark.parametrize(
    "selector",
    ["", "a", "!a", "a=b", "a==b", "a!=b", "sei.io/role=node, sei.io/chain!=x", "a in (b, c),!d", "a notin (b)", "a>1"],
)
def test_every_selector_that_kubernetes_knows_is_passed_on(selector: str) -> None:
    assert names.selector("-l", selector) == selector


@pytest.mark.parametrize(
    "words",
    [
        ["-f", ""],
        ["-f", "/nope.yaml"],
        ["-f", "split-listner"],
        ["-f", "/"],
        ["--runbooks", "/nope"],
        ["--out", "/nope/plan"],
        ["--set", "=1"],
    ],
    ids=" ".join,
)
def test_what_names_no_file_is_told_with_what_to_type_instead(world: World, words: list[str]) -> None:
    told = say(WorldSession(world), "plan", *words)
    assert told.code in (1, 2)
    assert is_one_error(told, told.code, "\n  hint: ")
    assert not told.err.startswith("error:  "), "an empty name is shown as one"


def test_a_namespace_of_the_context_that_is_none_is_not_asked_for(world: World) -> None:
    told = say(WorldSession(world, namespace="../x"), "plan", *SPLIT)
    assert is_one_error(told, 2, "the context's namespace ../x: not a valid namespace name")
    assert not world.cluster.requests


def test_an_error_is_json_on_stderr_where_json_was_asked_for(world: World) -> None:
    told = say(WorldSession(world, namespace="empty"), "plan", "-o", "json")
    assert (told.code, told.out) == (1, "")
    assert json.loads(told.err) == {
        "version": 1,
        "error": {
            "message": "there is no SeiNode in namespace empty",
            "hint": "name another with -n, or all with -A",
            "exitCode": 1,
        },
    }


def test_a_bug_is_one_line_and_a_traceback_only_if_asked_for(world: World) -> None:
    def crash(request: Request) -> None:
        raise ZeroDivisionError("of some kind")

    world.cluster.before_request = crash
    told = say(WorldSession(world), "plan")
    assert is_one_error(told, 1, "error: unexpected ZeroDivisionError: of some kind\n  hint: -v shows the traceback\n")
    told = say(WorldSession(world), "plan", "-v")
    assert told.code == 1
    assert "Traceback" in told.err


def test_a_token_that_expires_in_the_middle_is_1_and_the_same_command_goes_on(world: World) -> None:
    expired: list[bool] = []

    def expire(request: Request) -> None:
        if request.user == world.cluster.user and (request.verb == "evict" or expired):
            expired.append(True)
            raise Unauthorized("the API server does not accept our credentials", hint="try: kubectl auth whoami")

    world.replace_controller("old")
    world.cluster.before_request = expire
    session = WorldSession(world)
    told = say(session, "apply", "--no-guard", *GO, "--yes")
    assert is_one_error(told, 1, "error: the API server does not accept our credentials\n")
    assert "  hint: try: kubectl auth whoami; then rerun the same command to resume\n" in told.err
    world.cluster.before_request = None
    status = say(session, "status", *SPLIT, "-o", "json").json["nodes"][0]
    assert (status["stage"], status["outcome"], status["held"]) == ("ready", None, True)
    assert say(session, "apply", "--no-guard", *GO, "--yes").code == 9


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 5), (signal.SIGTERM, 143)])
def test_an_interruption_in_the_middle_is_safe_and_its_code_says_whose_it_was(
    world: World, number: signal.Signals, code: int
) -> None:
    def interrupt(request: Request) -> None:
        if request.verb == "evict" or (request.kind is Kind.POD and request.verb in ("create", "delete")):
            world.cluster.before_request = None
            signal.raise_signal(number)

    before = signal.getsignal(number)
    world.replace_controller("old")
    world.cluster.before_request = interrupt
    session = WorldSession(world)
    told = say(session, "apply", "--no-guard", *GO, "--yes")
    assert told.code == code
    assert "error: interrupted; rerun the same command to resume\n" in told.err
    assert signal.getsignal(number) is before
    status = say(session, "status", *SPLIT)
    assert "interrupted" in status.out
    assert say(session, "apply", "--no-guard", *GO, "--yes").code == 9


def test_an_interruption_before_the_run_says_that_nothing_was_changed(world: World) -> None:
    world.cluster.before_request = lambda request: signal.raise_signal(signal.SIGINT)
    told = say(WorldSession(world), "apply", "--no-guard", *GO, "--yes")
    assert (told.code, told.out) == (5, "")
    assert "interrupted; nothing was changed" in told.err


class TestKubeconfig:
    def call(self, capsys: pytest.CaptureFixture[str], *words: str) -> Said:
        code = main(words)
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    def test_none_is_an_error(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        told = self.call(capsys, "plan", "--kubeconfig", str(tmp_path / "absent"))
        assert is_one_error(told, 1, "there is no kubeconfig")

    def test_a_context_that_is_not_there_is_an_error(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        file = tmp_path / "config"
        file.write_text("apiVersion: v1\nkind: Config\ncontexts: []\nclusters: []\nusers: []\n")
        told = self.call(capsys, "status", "--kubeconfig", str(file), "--context", "nowhere")
        assert is_one_error(told, 1, "nowhere")
        assert "kubectl config get-contexts" in told.err

    def test_no_cluster_is_an_error(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        file = tmp_path / "config"
        file.write_text(
            "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],"
            " clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}],"
            " users: [{name: u, user: {token: SECRET}}]}"
        )
        told = self.call(capsys, "hold", "--yes", "-v", "--kubeconfig", str(file))
        assert is_one_error(told, 1, "no answer from http://127.0.0.1:1")
        assert "SECRET" not in told.err
