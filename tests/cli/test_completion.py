"""What a shell, or kubectl for its plugin, is offered where a person presses tab."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seimigrate.engine.errors import Forbidden
from seimigrate.simulation.world import World
from tests.cache import cache
from tests.cli.world import WorldSession, say

BIN = Path(sys.executable).parent
SHELLS = cache() / "shells"
"""Where tests/shells/build.sh puts them."""
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
    assert "--lease-duration" in offered(monkeypatch, session, "apply", "--lease")


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
    subprocess.run([find(shell), "-n"], input=script.out, text=True, check=True, timeout=30)


def test_bash_completes_by_its_script() -> None:
    asks = "COMP_WORDS=(seimigrate ro); COMP_CWORD=1; _seimigrate_completion seimigrate; echo ${COMPREPLY[@]}"
    done = subprocess.run(["bash", "-c", f"source <(seimigrate completion bash); {asks}"], **_quietly(), check=False)
    assert (done.stdout, done.stderr) == ("rollback\n", "")


def test_zsh_completes_by_its_script_where_tab_is_pressed(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(KUBECONFIG)
    unpacked = SHELLS / "zshrc"
    (tmp_path / ".zshrc").write_text(
        f"{unpacked.read_text() if unpacked.exists() else ''}\n"
        "autoload -Uz compinit && compinit -u -D; source <(seimigrate completion zsh)\n"
        "typed() { print -r -- \"[$BUFFER]\" }; zle -N typed; bindkey '^X' typed; PS1='ready> '\n"
    )
    quietly = _quietly()["env"] | {"HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "config"), "TERM": "dumb"}
    with Terminal([find("zsh"), "-d", "-i"], quietly) as zsh:
        zsh.until("ready> ")
        zsh.type("seimigrate ro\t\x18")
        assert "[seimigrate rollback ]" in zsh.until("]")
        zsh.type("--context de\t\x18")
        assert "[seimigrate rollback --context dev ]" in zsh.until("dev ]")


def test_fish_completes_by_its_script(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(KUBECONFIG)
    quietly = _quietly()
    quietly["env"] |= {"HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "config")}
    asks = "complete -C 'seimigrate ro'; complete -C 'seimigrate plan --context prod'"
    words = [find("fish"), "-c", f"seimigrate completion fish | source; {asks}"]
    done = subprocess.run(words, **quietly, check=False)
    offers = [line.split("\t")[0] for line in done.stdout.splitlines()]
    assert (offers, done.stderr) == (["rollback", "prod-eu", "prod-us"], "")


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


def find(shell: str) -> str:
    """Give the shell of this machine, or the one that was unpacked."""
    found = shutil.which(shell) or shutil.which(shell, path=str(SHELLS))
    if found is None:
        pytest.skip(f"there is no {shell}: tests/shells/build.sh unpacks Debian's")
    return found


class Terminal:
    """A program in a terminal of its own, as a context manager."""

    def __init__(self, words: list[str], environment: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self._program = subprocess.Popen(
            words, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._program.kill()
        self._program.wait()
        os.close(self._ours)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    def until(self, word: str) -> str:
        """Wait until it shows a word; give all that it has shown meanwhile."""
        shown = ""
        while word not in shown:
            assert select.select([self._ours], [], [], 60)[0], shown
            shown += os.read(self._ours, 4096).decode()
        return shown


def _quietly() -> dict[str, Any]:
    """Give how to call a program of the project's, without any cluster."""
    environment = {k: v for k, v in os.environ.items() if k != "KUBECONFIG"}
    environment |= {"PATH": f"{BIN}:{os.environ['PATH']}", "KUBECONFIG": "/nonexistent"}
    return {"env": environment, "capture_output": True, "text": True, "timeout": 60}
