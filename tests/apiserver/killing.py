"""Kills a process right after a write that got its node further: the next one has to go on from there."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import yaml

from seimigrate.domain.kube.kinds import Object
from tests.apiserver.gateway import Gateway, Write
from tests.apiserver.scene import Scene
from tests.commandline import Done, free_lock
from tests.forking import Command

MARK_READY = "mark-ready"
_FLEETING = ("run", "since", "reason")
"""What differs in a record that was only taken over."""


class Killer:
    """Runs one command again and again; each process dies after its first write that gets the node further.

    With ``only_back`` the way there is left in peace: only what goes back is killed.
    """

    def __init__(self, scene: Scene, *, only_back: bool = False) -> None:
        self._scene = scene
        self._armed = not only_back
        self._process: Command | None = None
        self._record: object = None
        self._patched: list[Any] = []
        self._marked: set[str] = set()
        self.killed: list[str] = []

    def run(self, command: str, *more: str, limit: int = 150) -> Done:
        """Run until a process comes to its end by itself; gives that end."""
        scene = self._scene
        scene.models.on_task = self._on_task
        with Gateway(scene.controlplane.url, scene.controlplane.ca, scene.folder, self._on_write) as gateway:
            kubeconfig = through(gateway, scene.kubeconfig, scene.folder / "gateway.kubeconfig")
            for _ in range(limit):
                self._process = scene.start(command, *more, kubeconfig=kubeconfig)
                out, err = self._process.communicate(timeout=120)
                assert "Traceback" not in err, err
                if (code := self._process.wait()) != -signal.SIGKILL:
                    return Done(code, out, err)
                free_lock(scene.controlplane.admin)
        raise AssertionError(f"no end after {limit} processes: {self.killed[-5:]}")

    def _on_write(self, write: Write) -> None:
        if write.dry_run or not self._further(write) or not self._armed:
            return
        assert self._process is not None
        self.killed.append(f"{write.method} {write.path.partition('?')[0]}")
        self._process.kill()

    def _on_task(self, task: Object) -> None:
        """Kill it when the sidecar has taken a mark-ready: to the gateway a forwarded port is a tunnel."""
        if self._armed and task["type"] == MARK_READY and task["id"] not in self._marked:
            assert self._process is not None
            self._marked.add(task["id"])
            self.killed.append(MARK_READY)
            self._process.kill()

    def _further(self, write: Write) -> bool:
        path = write.path.partition("?")[0]
        if "/configmaps" in path:
            return self._record_moved(json.loads(write.body))
        if path.endswith("/eviction") or (write.method == "DELETE" and "/pods/" in path):
            return True
        return write.method == "PATCH" and self._another(json.loads(write.body))

    def _another(self, operations: list[Any]) -> bool:
        """Tell a patch from the one that was killed last: who cannot know that it came through sends it anew."""
        if _takes_over(operations):
            return False
        changes = [operation for operation in operations if operation["op"] != "test"]
        another, self._patched = changes != self._patched, changes
        return another

    def _record_moved(self, config_map: Any) -> bool:
        text = config_map["data"]["record"]
        record = json.loads(text)
        if "nodes" in record or record["outcome"]:
            return False  # who is killed after the end, and runs again, sets out on another way
        record = json.loads(text.replace(record["run"], "this run"))  # a hold to be taken off bears it as well
        if record["intent"]:
            record["intent"] = {k: v for k, v in record["intent"].items() if k not in ("at", "token")}
        record = {key: value for key, value in record.items() if key not in _FLEETING}
        self._armed = self._armed or record["direction"] == "rollback"
        moved, self._record = record != self._record, record
        return moved


def _takes_over(operations: list[Any]) -> bool:
    changed = [operation["path"] for operation in operations if operation["op"] != "test"]
    return all("seimigrate.sei.io~1fence" in path or "seimigrate.sei.io~1hold" in path for path in changed)


def through(gateway: Gateway, kubeconfig: Path, path: Path) -> Path:
    """Write a kubeconfig that goes through a gateway; give its path."""
    config = yaml.safe_load(kubeconfig.read_text())
    config["clusters"][0]["cluster"] = {"server": gateway.url, "certificate-authority": str(gateway.ca)}
    path.write_text(yaml.safe_dump(config))
    return path


class Stopper:
    """Runs a command and kills it as soon as the journal says that the node has come to a stage."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._process: Command | None = None
        self._stage = ""

    def run(self, stage: str, command: str, *more: str) -> None:
        scene, self._stage = self._scene, stage
        with Gateway(scene.controlplane.url, scene.controlplane.ca, scene.folder, self._on_write) as gateway:
            kubeconfig = through(gateway, scene.kubeconfig, scene.folder / "gateway.kubeconfig")
            self._process = scene.start(command, *more, kubeconfig=kubeconfig)
            _, err = self._process.communicate(timeout=120)
        assert self._process.returncode == -9, f"it came to its end before stage {stage}: {err}"
        free_lock(scene.controlplane.admin)

    def _on_write(self, write: Write) -> None:
        if (
            "/configmaps" in write.path
            and json.loads(json.loads(write.body)["data"]["record"]).get("stage") == self._stage
        ):
            assert self._process is not None
            self._process.kill()
