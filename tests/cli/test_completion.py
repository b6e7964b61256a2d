"""What a shell, or kubectl for its plugin, is offered where a person presses tab."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from seimigrate.engine.errors import Forbidden
from seimigrate.simulation.world import World
from tests.cli.world import WorldSession, say

BIN = Path(sys.executable).parent
KUBECONFIG = "contexts: [{name: prod-eu, context: {}}, {name: prod-us, context: {}}, {name: dev, context: {}}]\n"


@pytest.fixture
def session() -> WorldSession:
    world = World()
    for namespace in ("sei", "atlantic"):
        world.add_namespace(namespace)
    for namespace, name in (("sei", "full-0"), ("sei", "full-1"), ("atlantic", "seed-0")):
        world.add_node(namespace, name)
    return WorldSession(world)


def offered(monkeypatch: pytest.MonkeyPatch, session: WorldSession, *words: str) -> list[str]:
    """Press tab behind words, the last of which may be begun only."""
    monkeypatch.setenv("_SEIMIGRATE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", " ".join(["seimigrate", *words]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    said = say(session)
    assert said.err == ""
    return said.out.split()


def test_commands_and_options_are_offered(monkeypatch: pytest.MonkeyPatch, session: WorldSession) -> None:
    assert "rollback" in offered(monkeypatch, session, "ro")
    assert "--lease-seconds" in offered(monkeypatch, session, "apply", "--lease")


@pytest.mark.parametrize("command", ["plan", "apply", "status", "rollback", "hold", "guard"])
def test_nodes_and_namespaces_are_the_clusters(
    monkeypatch: pytest.MonkeyPatch, session: WorldSession, command: str
) -> None:
    assert offered(monkeypatch, session, command, "--node", "sei/f") == ["sei/full-0", "sei/full-1"]
    assert offered(monkeypatch, session, command, "-n", "a") == ["atlantic"]


def test_contexts_are_the_kubeconfigs(monkeypatch: pytest.MonkeyPatch, session: WorldSession, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(KUBECONFIG)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    assert offered(monkeypatch, session, "status", "--context", "prod") == ["prod-eu", "prod-us"]


def test_nodes_are_those_of_the_context_that_was_typed(monkeypatch: pytest.MonkeyPatch, session: WorldSession) -> None:
    offered(monkeypatch, session, "plan", "--context", "dev", "--node", "sei/f")
    assert session.opened == ["connect dev"]


def test_a_cluster_that_refuses_gives_no_words_and_no_message(
    monkeypatch: pytest.MonkeyPatch, session: WorldSession
) -> None:
    def refuse(*_: object) -> list[object]:
        raise Forbidden("may not list seinodes")

    monkeypatch.setattr(session.world.cluster, "list", refuse)
    assert offered(monkeypatch, session, "plan", "--node", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shells_script_is_printed_and_understood_by_it(shell: str) -> None:
    script = say(WorldSession(World()), "completion", shell)
    assert script.code == 0
    assert "_SEIMIGRATE_COMPLETE" in script.out
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script.out, text=True, check=True, timeout=30)


def test_bash_completes_by_its_script() -> None:
    asks = "COMP_WORDS=(seimigrate ro); COMP_CWORD=1; _seimigrate_completion seimigrate; echo ${COMPREPLY[@]}"
    done = subprocess.run(["bash", "-c", f"source <(seimigrate completion bash); {asks}"], **_quietly(), check=False)
    assert (done.stdout, done.stderr) == ("rollback\n", "")


def test_kubectl_is_answered_as_it_wants() -> None:
    asked = subprocess.run([BIN / "kubectl_complete-seimigrate", "ro"], **_quietly(), check=False)
    assert asked.returncode == 0
    word, directive = asked.stdout.splitlines()
    assert word.split("\t")[0] == "rollback"
    assert directive == ":4"
    assert asked.stderr == ""


def test_as_a_plugin_it_calls_itself_by_the_name_that_was_typed() -> None:
    done = subprocess.run([BIN / "kubectl-seimigrate", "--help"], **_quietly(), check=False)
    assert done.stdout.startswith("Usage: kubectl seimigrate ")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not here")
def test_kubectl_finds_the_plugin_and_its_words() -> None:
    done = subprocess.run(["kubectl", "seimigrate", "--version"], **_quietly(), check=False)
    assert done.stdout.startswith("seimigrate ")
    done = subprocess.run(["kubectl", "__complete", "seimigrate", "ro"], **_quietly(), check=False)
    assert done.stdout.startswith("rollback\t")


def _quietly() -> dict[str, object]:
    """Give how to call a program of the project's, without any cluster."""
    environment = {k: v for k, v in os.environ.items() if k != "KUBECONFIG"}
    environment |= {"PATH": f"{BIN}:{os.environ['PATH']}", "KUBECONFIG": "/nonexistent"}
    return {"env": environment, "capture_output": True, "text": True, "timeout": 60}
