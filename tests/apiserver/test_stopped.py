"""^C as a terminal sends it, by a signal to the process in the middle of a write; whoever runs it again goes on."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from seimigrate.adapters.api import path_of
from seimigrate.domain.kube.kinds import LEASE_NAME, SYSTEM_NAMESPACE, Kind
from tests.apiserver.gateway import Gateway, Write
from tests.apiserver.killing import through
from tests.apiserver.scene import NAME, Scene
from tests.commandline import OPERATOR, read_until
from tests.forking import Command

PAUSED, DONE_HELD = 5, 9

IsMoment = Callable[[Write], bool]


def template(write: Write) -> bool:
    """A write of the template."""
    path = write.path.partition("?")[0]
    return write.method == "PATCH" and path.endswith(f"/statefulsets/{NAME}") and b"/spec/template" in write.body


def replacement(write: Write) -> bool:
    """The replacement of a pod."""
    return write.path.partition("?")[0].endswith(f"/pods/{NAME}-0/eviction")


class Stalled:
    """A process whose write was carried out, and which has not been told yet."""

    def __init__(self, process: Command, answered: threading.Event) -> None:
        self.process = process
        self._answered = answered
        self.said = ""

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def until_it_says(self, words: str) -> None:
        if words not in self.said:
            self.said += read_until(self.process.stderr, words)

    def answer(self) -> None:
        """Let the write's answer come."""
        self._answered.set()

    def ends(self) -> int:
        code = self.process.wait(60)
        self.said += self.process.stderr.read()
        assert "Traceback" not in self.said
        return code


@contextmanager
def stalled(scene: Scene, is_moment: IsMoment) -> Iterator[Stalled]:
    """Give a cutover that waits for the answer to its first write of a kind."""
    reached, answered = threading.Event(), threading.Event()

    def stall(write: Write) -> None:
        if is_moment(write) and not write.dry_run and not reached.is_set():
            reached.set()
            answered.wait(30)

    with Gateway(scene.controlplane.url, scene.controlplane.ca, scene.folder, stall) as gateway:
        kubeconfig = through(gateway, scene.kubeconfig, scene.folder / "gateway.kubeconfig")
        process = scene.start("apply", "--strategy", "merged", kubeconfig=kubeconfig)
        try:
            scene.wait_for(reached.is_set, "the write")
            yield Stalled(process, answered)
        finally:
            answered.set()
            process.kill()
            process.communicate()


def holder(scene: Scene) -> str:
    lease = scene.controlplane.admin.request("GET", path_of(Kind.LEASE, SYSTEM_NAMESPACE, LEASE_NAME))
    return str(lease["spec"].get("holderIdentity") or "")


def done(scene: Scene, is_moment: IsMoment) -> list[str]:
    """The changes of one kind that the API server has carried out since the scene began, without their guards."""
    found = []
    for event in scene.controlplane.audit_events(scene.mark):
        write = Write(
            {"patch": "PATCH", "create": "POST"}.get(event["verb"], ""),
            event["requestURI"],
            json.dumps(event.get("requestObject")).encode(),
        )
        mine = event["user"]["username"] == OPERATOR and event["responseStatus"]["code"] < 300
        if mine and is_moment(write) and not write.dry_run:
            operations = event["requestObject"] if isinstance(event["requestObject"], list) else []
            found.append(json.dumps([each for each in operations if each["op"] != "test"]))
    return found


@pytest.mark.parametrize("is_moment", [template, replacement])
def test_once_the_step_is_finished_and_the_lock_let_go(scene: Scene, is_moment: IsMoment) -> None:
    with stalled(scene, is_moment) as run:
        run.interrupt()
        run.until_it_says("stopping after the current step; press Ctrl-C again to exit immediately")
        assert run.process.poll() is None
        assert holder(scene)
        run.answer()
        assert run.ends() == PAUSED
    assert "interrupted; rerun the same command to resume" in run.said
    assert holder(scene) == ""
    assert scene.record["outcome"] is None
    assert_goes_on(scene, is_moment)


@pytest.mark.parametrize("is_moment", [template, replacement])
def test_twice_it_leaves_at_once_with_its_step_unfinished(scene: Scene, is_moment: IsMoment) -> None:
    with stalled(scene, is_moment) as run:
        run.interrupt()
        run.until_it_says("press Ctrl-C again to exit immediately")
        run.interrupt()
        assert run.ends() == -signal.SIGINT
        assert holder(scene)
    assert_goes_on(scene, is_moment)


def assert_goes_on(scene: Scene, is_moment: IsMoment) -> None:
    """See that a following run comes to the end, and that what had been done was not done again."""
    assert len(done(scene, is_moment)) == 1
    again = scene.run("apply", "--strategy", "merged")
    assert again.code == DONE_HELD, again.err
    assert len(done(scene, is_moment)) == 1
    assert len(scene.record["replaced_pods"]) == 1
    assert scene.ready
