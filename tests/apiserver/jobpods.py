"""A Job's pods on a control plane without kubelets: their commands are run here, their status says how they ended."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from seimigrate.adapters.api import path_of
from seimigrate.domain.kube.kinds import SYSTEM_NAMESPACE, Kind, Object
from seimigrate.engine.errors import NotFound
from tests.controlplane.process import ControlPlane
from tests.forking import FORKS

PATIENCE = 120.0
"""How many seconds a command may take."""


class JobPods:
    """Run the pods of Jobs in namespace seimigrate-system as a kubelet does, as a context manager.

    The command has what its container would have: the plan's ConfigMap as files, and a token that is bound to the pod.
    """

    def __init__(self, controlplane: ControlPlane, folder: Path) -> None:
        self.controlplane = controlplane
        self.folder = folder
        self._kubelet = controlplane.connection("kubelet")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._at_work = ThreadPoolExecutor()
        self._failed: BaseException | None = None

    def __enter__(self) -> JobPods:
        self.folder.mkdir()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._at_work.shutdown()
        if self._failed is not None:
            raise self._failed

    def _work(self) -> None:
        begun: dict[str, Future[None]] = {}
        try:
            while not self._over.wait(0.1):
                for pod in self._pending():
                    if pod["metadata"]["uid"] not in begun:
                        begun[pod["metadata"]["uid"]] = self._at_work.submit(self._run, pod)
                for each in begun.values():
                    if each.done():
                        each.result()
        except BaseException as error:
            self._failed = error

    def _pending(self) -> list[Object]:
        query = {"labelSelector": "batch.kubernetes.io/job-name", "fieldSelector": "status.phase=Pending"}
        found: list[Object] = self._kubelet.request("GET", path_of(Kind.POD, SYSTEM_NAMESPACE), query=query)["items"]
        return found

    def _run(self, pod: Object) -> None:
        with contextlib.suppress(NotFound):  # its Job has failed, and has no use for it any more
            code = self._run_container(pod)
            [container] = pod["spec"]["containers"]
            ended = {"name": container["name"], "image": container["image"], "imageID": "", "ready": False}
            ended |= {"restartCount": 0, "state": {"terminated": {"exitCode": code}}}
            status = {"phase": "Failed" if code else "Succeeded", "containerStatuses": [ended]}
            path = f"{self._path(pod)}/status"
            self._kubelet.request("PATCH", path, body={"status": status}, content_type="application/merge-patch+json")

    def _run_container(self, pod: Object) -> int:
        """Run the command of a pod's container, until the pod is deleted; give how it ended."""
        name, [container] = pod["metadata"]["name"], pod["spec"]["containers"]
        kubeconfig = self.controlplane.kubeconfig("job", self.folder / f"{name}.kubeconfig", token=self._token(pod))
        files = self._mounted(pod)
        words = [word.replace("/plan/", f"{files}/") for word in container["args"]]
        with (self.folder / f"{name}.log").open("wb") as log:
            running = FORKS.start([*words, "--kubeconfig", str(kubeconfig)], cwd=self.folder, log=log.fileno())
        deadline = time.monotonic() + PATIENCE
        try:
            while (code := running.poll()) is None:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"pod {name} has not ended in {PATIENCE:.0f} s")
                self._kubelet.request("GET", self._path(pod))
                time.sleep(0.2)
            return code
        finally:
            running.terminate()
            running.wait()

    def _path(self, pod: Object) -> str:
        return path_of(Kind.POD, SYSTEM_NAMESPACE, pod["metadata"]["name"])

    def _mounted(self, pod: Object) -> Path:
        """Write the files of the pod's ConfigMap, and give their folder."""
        [source] = [volume["configMap"]["name"] for volume in pod["spec"]["volumes"] if "configMap" in volume]
        folder = self.folder / str(pod["metadata"]["name"])
        folder.mkdir()
        files: dict[str, str] = self._kubelet.request("GET", path_of(Kind.CONFIG_MAP, SYSTEM_NAMESPACE, source))["data"]
        for file, text in files.items():
            (folder / file).write_text(text)
        return folder

    def _token(self, pod: Object) -> str:
        meta = pod["metadata"]
        path = path_of(Kind.SERVICE_ACCOUNT, SYSTEM_NAMESPACE, pod["spec"]["serviceAccountName"])
        bound = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"boundObjectRef": bound}}
        answer: Object = self._kubelet.request("POST", f"{path}/token", body=asked)
        return str(answer["status"]["token"])
