"""The models of kubelet and controller on a real API server, in threads and in real (but scaled) time.

The API server reaches the kubelet's port-forward endpoint through a Node object, as on any cluster; the StatefulSet
controller is the real one. The proxy asks the API server who a token belongs to and what they may do.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seimigrate.adapters.api import Connection, path_of
from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.domain.plan.plan import Mode
from seimigrate.engine.errors import ApiError, Conflict, Invalid, NotFound, Unreachable
from seimigrate.simulation.containers import Settings
from seimigrate.simulation.controllers import Controller, Timing
from seimigrate.simulation.kubelet import Kubelet
from seimigrate.simulation.objects import CONTROLLER_NAME, CONTROLLER_NAMESPACE, CONTROLLER_USER, condition
from seimigrate.simulation.pods import Authorizer
from seimigrate.simulation.render import Generation
from seimigrate.simulation.requestlog import RequestLog
from seimigrate.simulation.world import SEID_IMAGE, SHARED_IMAGE, SPLIT_IMAGE
from tests.apiserver.models.client import WatchedClient
from tests.controlplane.kubelet_server import PortForwardServer
from tests.controlplane.process import ControlPlane

SCALE = 0.02
"""How long a simulated second of probes, graces and back-offs lasts: a node takes about one second to get ready."""

SHORTEST, LONGEST = 0.002, 0.03
"""Between which bounds a model waits for the next change, in seconds."""


class RealModels:
    """Run the models for some namespaces of a real control plane, as a context manager."""

    def __init__(
        self,
        controlplane: ControlPlane,
        *,
        controller: str = "old",
        default_sidecar_image: str | None = None,
        splits: Callable[[str], bool] | None = None,
        poll_seconds: float = 1.0,
        log_path: Path | None = None,
        scale: float = SCALE,
    ) -> None:
        self.controlplane = controlplane
        self._clients: dict[str, WatchedClient] = {}
        self.node = f"simulated-{secrets.token_hex(4)}"
        self.namespaces: list[str] = []
        self.log = RequestLog(log_path)
        self.errors: list[BaseException] = []
        self.on_task: Callable[[Object], None] = lambda task: None
        """Is called with each task that a sidecar took by port-forward, before the answer goes back."""
        self.settings = Settings(
            splits=splits or (lambda image: image == SPLIT_IMAGE),
            start_seconds=scale,
            init_seconds=scale,
            boot_seconds=scale,
            gate_seconds=5 * scale,
            time_scale=scale,
        )
        self.kubelet = Kubelet(
            self._client("kubelet"),
            time.time,
            self.settings,
            log=self.log,
            authorise=reviewing(controlplane.connection("kubelet")),
        )
        self.controller: Controller | None = None
        self._first = (controller, default_sidecar_image)
        self._timing = Timing(poll=poll_seconds, reaction=0.02, retry=5 * scale, scale=0.1)
        self._server = PortForwardServer(self._forwarded, controlplane.kubelet_cert, controlplane.kubelet_key)
        self._threads: dict[str, tuple[threading.Thread, threading.Event]] = {}

    def __enter__(self) -> RealModels:
        self._server.start()
        try:
            self._furnish()
            self._run("kubelet", self.kubelet)
            self.swap_controller(*self._first)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._threads):
            self._end(name)
        self._server.stop()
        for client in self._clients.values():
            client.close()
        admin = self.controlplane.admin
        try:
            # Without its kubelet, nobody would ever end these pods, and their namespaces would stay for ever.
            for namespace in self.namespaces:
                for kind in (Kind.SEI_NODE, Kind.STATEFUL_SET, Kind.POD):
                    for item in admin.request("GET", path_of(kind, namespace))["items"]:
                        self._remove(path_of(kind, namespace, item["metadata"]["name"]))
            self._remove(path_of(Kind.NODE, "", self.node))
        finally:
            self.log.close()
        self._raise_unexpected()

    def swap_controller(self, generation: str, default_sidecar_image: str | None = None) -> Controller:
        """Run another controller instead of the present one."""
        self.stop_controller()
        which = Generation(generation)
        self.controller = Controller(
            self._client("controller"),
            self.kubelet,
            which,
            default_sidecar_image or (SPLIT_IMAGE if which is Generation.NEW else SHARED_IMAGE),
            timing=self._timing,
            token=self.controlplane.tokens["controller"],
        )
        self._run("controller", self.controller)
        return self.controller

    def stop_controller(self) -> None:
        """Let no controller run."""
        if "controller" in self._threads:
            self._end("controller")
        self.controller = None

    def adopt(self, namespace: str) -> None:
        """Make a namespace, which exists, one of those that the models look after."""
        if namespace not in self.namespaces:
            body = {"metadata": {"namespace": namespace, "name": "seid-node"}}
            _ignoring(Conflict, lambda: self._post(Kind.SERVICE_ACCOUNT, body))
            self.namespaces.append(namespace)

    def add_node(
        self,
        namespace: str,
        name: str,
        mode: str = "fullNode",
        *,
        chain: str = "pacific-1",
        sidecar_port: int = 7777,
        sidecar_image: str | None = None,
        until_ready: bool = True,
    ) -> Object:
        """Create a SeiNode and wait until its controller says that it runs and is ready."""
        self.adopt(namespace)
        sidecar: Object = {"port": sidecar_port} | ({"image": sidecar_image} if sidecar_image else {})
        spec = {"chainId": chain, "image": SEID_IMAGE, Mode(mode).value: {}, "sidecar": sidecar}
        self._post(Kind.SEI_NODE, {"metadata": {"namespace": namespace, "name": name}, "spec": spec})
        if until_ready:
            self.wait_for(lambda: self.is_ready(namespace, name), f"{namespace}/{name} to get ready")
        return self.get(Kind.SEI_NODE, namespace, name)

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """Read an object as the administrator; raises ``NotFound``."""
        found: Object = self.controlplane.admin.request("GET", path_of(kind, namespace, name))
        return found

    def is_ready(self, namespace: str, name: str) -> bool:
        """Tell whether the pod is Ready and the controller says that the node runs and its sidecar is ready."""
        client = self._client("kubelet")
        pod, node = client.get(Kind.POD, namespace, f"{name}-0"), client.get(Kind.SEI_NODE, namespace, name)
        if pod is None or node is None:
            return False
        return (
            "deletionTimestamp" not in pod["metadata"]
            and condition(pod, "Ready") == "True"
            and node.get("status", {}).get("phase") == "Running"
            and condition(node, "SidecarReady") == "True"
        )

    def wait_for(self, reached: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        """Wait until something is so; raises ``TimeoutError``, with what the models ran into."""
        end = time.monotonic() + seconds
        while not reached():
            self._raise_unexpected()
            if time.monotonic() > end:
                raise TimeoutError(f"waited {seconds:g} s for {what}; the models ran into {self.errors[-3:]}")
            time.sleep(0.02)

    # How it is done.

    def _client(self, user: str) -> WatchedClient:
        if user not in self._clients:
            connection = self.controlplane.connection(user)
            self._clients[user] = WatchedClient(connection, lambda: list(self.namespaces), self.node)
        return self._clients[user]

    def _post(self, kind: Kind, body: Object) -> Object:
        typed = {"apiVersion": kind.resource.api_version, "kind": kind.resource.kind}
        path = path_of(kind, body["metadata"].get("namespace", ""))
        created: Object = self.controlplane.admin.request("POST", path, body=typed | body)
        return created

    def _raise_unexpected(self) -> None:
        """Raise what a model ran into that no API server in trouble explains: a bug of the models."""
        for error in self.errors:
            if isinstance(error, Invalid) or not isinstance(error, ApiError):
                raise error

    def _remove(self, path: str) -> None:
        body = {"gracePeriodSeconds": 0}
        _ignoring(NotFound, lambda: self.controlplane.admin.request("DELETE", path, body=body))

    def _furnish(self) -> None:
        admin = self.controlplane.admin
        self._post(Kind.NODE, {"metadata": {"name": self.node}})
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._server.port}},
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        self._client("kubelet").patch_status(Kind.NODE, "", self.node, status)
        _ignoring(Conflict, lambda: self._post(Kind.NAMESPACE, {"metadata": {"name": CONTROLLER_NAMESPACE}}))
        _ignoring(Conflict, lambda: self._post(Kind.DEPLOYMENT, _deployment()))
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "simulated-sei-k8s-controller"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": CONTROLLER_USER}],
        }
        path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
        _ignoring(Conflict, lambda: admin.request("POST", path, body=binding))

    def _run(self, name: str, model: Kubelet | Controller) -> None:
        """Let a model step whenever something has changed or is due, and often enough to notice what a test turned."""
        stop, client = threading.Event(), self._client(name)

        def loop() -> None:
            while not stop.is_set():
                try:
                    model.step(time.time())
                    client.wait(max(SHORTEST, min(LONGEST, model.next_due() - time.time())))
                except Exception as error:  # what the models run into belongs to the test that runs them
                    self.errors.append(error)
                    stop.wait(LONGEST)

        thread = threading.Thread(target=loop, name=f"model-{name}", daemon=True)
        self._threads[name] = (thread, stop)
        thread.start()

    def _end(self, name: str) -> None:
        thread, stop = self._threads.pop(name)
        stop.set()
        thread.join()

    def _forwarded(self, namespace: str, pod: str, port: int, request: bytes) -> bytes:
        """Answer one HTTP request that came by port-forward."""
        head, _, data = request.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        token = headers.get("authorization", "").removeprefix("Bearer ")
        body = json.loads(data) if data else None
        try:
            answer = self.kubelet.request(namespace, pod, port, method, path, body=body, token=token, source="forward")
        except Unreachable as error:
            raise ConnectionRefusedError(str(error)) from error
        if (method, answer.status) == ("POST", 201):
            assert body is not None, "an empty task was taken"
            self.on_task(body)
        content = answer.body.encode()
        status = f"HTTP/1.1 {answer.status} Simulated\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
        return status.encode() + content


def reviewing(connection: Connection) -> Authorizer:
    """Give an authorizer that asks the API server, as kube-rbac-proxy does: TokenReview, then SubjectAccessReview."""

    def review(group: str, kind: str, spec: Object) -> Object:
        body = {"apiVersion": f"{group}/v1", "kind": kind, "spec": spec}
        answer: Object = connection.request("POST", f"/apis/{group}/v1/{kind.lower()}s", body=body)
        status: Object = answer["status"]
        return status

    def authorise(token: str, verb: str, namespace: str, node: str) -> tuple[str, bool] | None:
        who = review("authentication.k8s.io", "TokenReview", {"token": token})
        if not who.get("authenticated"):
            return None
        user = who["user"]
        resource = {"group": "sei.io", "resource": "seinodetasks", "verb": verb, "namespace": namespace, "name": node}
        spec = {"user": user["username"], "groups": user.get("groups", []), "resourceAttributes": resource}
        allowed = review("authorization.k8s.io", "SubjectAccessReview", spec).get("allowed", False)
        return user["username"], bool(allowed)

    return authorise


def _deployment() -> Object:
    labels = {"control-plane": "controller-manager", "app.kubernetes.io/name": "sei-k8s-controller"}
    containers = [{"name": "manager", "image": "controller:simulated"}]
    pod = {"serviceAccountName": CONTROLLER_NAME, "containers": containers}
    return {
        "metadata": {"namespace": CONTROLLER_NAMESPACE, "name": CONTROLLER_NAME, "labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _ignoring(error: type[ApiError], action: Callable[[], Any]) -> None:
    try:
        action()
    except error:
        return
