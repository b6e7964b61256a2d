"""A whole simulated world: a cluster in memory, its controllers and its kubelet, on a clock of its own.

Time passes only in ``View.wait`` and ``World.run``, from one event to the next, so that hours take milliseconds.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.simulation.cluster import FakeCluster
from seimigrate.simulation.containers import Faults, Settings
from seimigrate.simulation.controllers import Controller
from seimigrate.simulation.kubelet import KUBELET_USER, Kubelet
from seimigrate.simulation.locks import FakeLock
from seimigrate.simulation.objects import CONTROLLER_NAME, CONTROLLER_NAMESPACE, CONTROLLER_USER, condition
from seimigrate.simulation.render import Generation
from seimigrate.simulation.requestlog import RequestLog
from seimigrate.simulation.sidecar import Volume
from seimigrate.simulation.statefulsets import StatefulSets

SHARED_IMAGE = "ghcr.io/sei-protocol/seictl@sha256:" + "a" * 64
SPLIT_IMAGE = "ghcr.io/sei-protocol/seictl@sha256:" + "5" * 64
SEID_IMAGE = "ghcr.io/sei-protocol/sei:v6.3.0"
NODE = "simulated-0"

_STATEFULSETS_USER = "system:serviceaccount:kube-system:statefulset-controller"
_SPECS: Mapping[str, Object] = {
    "validator": {"nodeKey": {"secret": {"secretName": "node-key"}}},
    "seed": {"nodeKey": {"secret": {"secretName": "node-key"}}},
    "archive": {},
    "replayer": {"snapshot": {"s3": {"targetHeight": 1}}},
    "fullNode": {},
}


class VirtualClock:
    """A clock that is set (``engine.ports.Clock``)."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self.time = start

    def now(self) -> float:
        """Give the seconds since 1970."""
        return self.time


class FakeCache:
    """What the cluster shows, always fresh (``engine.ports.View``); the objects are not to be changed."""

    def __init__(self, world: World) -> None:
        self._world = world

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Give an object's state."""
        return self._world.cluster.objects[kind].get((namespace, name))

    def list(self, kind: Kind, namespace: str = "") -> Sequence[Object]:
        """Give the state of all objects of a kind."""
        return self._world.cluster.listed(kind, namespace)

    def observe(self, kind: Kind, body: Object) -> None:
        """Do nothing: what is seen here is always fresh."""

    def wait_for_change(self, seconds: float) -> None:
        """Let the world go on until something changes, at most for these seconds."""
        self._world.wait(seconds)

    def notify(self) -> None:
        """Do nothing: nobody waits."""


class World:
    """One cluster with the old controller, ready for nodes; ``log`` is what its pods were asked."""

    def __init__(
        self,
        *,
        controller: str = "old",
        splits: Callable[[str], bool] | None = None,
        log_path: Path | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.clock = VirtualClock()
        self.settings = settings or Settings(splits=splits or (lambda image: image == SPLIT_IMAGE))
        self.cluster = FakeCluster(self.clock.now, on_wait=self.wait)
        self.cache = FakeCache(self)
        self.log = RequestLog(log_path)
        self.lock = FakeLock()
        self.statefulsets = StatefulSets(self.cluster.client(_STATEFULSETS_USER))
        self.kubelet = Kubelet(self.cluster.client(KUBELET_USER), self.clock.now, self.settings, log=self.log)
        self.pods = self.kubelet
        self.controller: Controller | None = None
        self._ids = 0
        self._seen = 0
        self._create_base_objects()
        self.replace_controller(controller)

    # Nodes.

    def add_node(
        self,
        namespace: str,
        name: str,
        mode: str = "fullNode",
        *,
        chain: str = "pacific-1",
        sidecar_port: int = 7777,
        sidecar_image: str | None = None,
        pod_labels: Mapping[str, str] | None = None,
        until_ready: bool = True,
    ) -> Object:
        """Create a SeiNode, and let the world go on until its controller says that it runs and is ready."""
        self.add_namespace(namespace)
        spec: Object = {"chainId": chain, "image": SEID_IMAGE, mode: dict(_SPECS[mode])}
        if mode == "replayer":
            spec["peers"] = [{"label": {"selector": {"sei.io/chain": chain}}}]
        sidecar: Object = {"port": sidecar_port} if sidecar_port != 7777 else {}
        if sidecar_image is not None:
            sidecar["image"] = sidecar_image
        if sidecar:
            spec["sidecar"] = sidecar
        if pod_labels:
            spec["podLabels"] = dict(pod_labels)
        self.cluster.put(Kind.SEI_NODE, {"metadata": {"namespace": namespace, "name": name}, "spec": spec})
        if until_ready:
            self.run_until(lambda: self.is_ready(namespace, name))
        return self.seinode(namespace, name)

    def add_namespace(self, name: str) -> None:
        """Create a namespace unless it is there."""
        if self.cache.get(Kind.NAMESPACE, "", name) is None:
            labels = {"kubernetes.io/metadata.name": name}
            self.cluster.put(Kind.NAMESPACE, {"metadata": {"name": name, "labels": labels}})

    def seinode(self, namespace: str, name: str) -> Object:
        """Give a SeiNode; raises ``KeyError`` if it is not there."""
        return self.cluster.objects[Kind.SEI_NODE][(namespace, name)]

    def statefulset(self, namespace: str, name: str) -> Object:
        """Give a node's StatefulSet; raises ``KeyError`` if it is not there."""
        return self.cluster.objects[Kind.STATEFUL_SET][(namespace, name)]

    def pod(self, namespace: str, name: str) -> Object | None:
        """Give a node's pod."""
        return self.cache.get(Kind.POD, namespace, f"{name}-0")

    def is_ready(self, namespace: str, name: str) -> bool:
        """Tell whether the pod is Ready and the controller says that the node runs and its sidecar is ready."""
        pod, node = self.pod(namespace, name), self.seinode(namespace, name)
        return (
            pod is not None
            and "deletionTimestamp" not in pod["metadata"]
            and condition(pod, "Ready") == "True"
            and node.get("status", {}).get("phase") == "Running"
            and condition(node, "SidecarReady") == "True"
        )

    def edit_seinode(self, namespace: str, name: str, spec: Mapping[str, Any]) -> None:
        """Change members of a SeiNode's spec as a person would; ``None`` removes one."""
        body = self.seinode(namespace, name)
        merged = {key: value for key, value in (body["spec"] | dict(spec)).items() if value is not None}
        generation = body["metadata"]["generation"] + 1
        self.cluster.put(
            Kind.SEI_NODE, body | {"metadata": body["metadata"] | {"generation": generation}, "spec": merged}
        )

    def faults(self, namespace: str, name: str) -> Faults:
        """Give what can be broken on a node; call ``kubelet.reconsider`` after making a pod schedulable again."""
        return self.kubelet.faults(namespace, name)

    def volume(self, namespace: str, name: str) -> Volume:
        """Give a node's volume: the sidecar's tasks and the height."""
        return self.kubelet.volume(namespace, name)

    # The controller.

    def replace_controller(self, generation: str, default_sidecar_image: str | None = None) -> Controller:
        """Run another controller; the new one's default sidecar splits unless told otherwise."""
        which = Generation(generation)
        image = default_sidecar_image or (SPLIT_IMAGE if which is Generation.NEW else SHARED_IMAGE)
        client = self.cluster.client(CONTROLLER_USER)
        self.controller = Controller(client, self.kubelet, which, image, new_id=self._new_id)
        return self.controller

    def stop_controller(self) -> None:
        """Let no controller run."""
        self.controller = None

    # Time.

    def wait(self, seconds: float) -> None:
        """Let the world go on until something has changed since the last call, at most for these seconds."""
        self._settle()
        end = self.clock.time + max(seconds, 0.01)
        if self.cluster.version != self._seen:
            # A little time always passes: who waits and writes in turn must not stop the clock.
            end = self.clock.time + 0.01
        while self.clock.time < end:
            self._advance(end)
            if self.cluster.version != self._seen:
                break
        self._seen = self.cluster.version

    def run(self, seconds: float) -> None:
        """Let the world go on for these seconds, whatever happens."""
        end = self.clock.time + seconds
        self._settle()
        while self.clock.time < end:
            self._advance(end)

    def run_until(self, reached: Callable[[], bool], limit: float = 1800.0) -> None:
        """Let the world go on until something is so; raises ``TimeoutError`` after ``limit`` seconds."""
        end = self.clock.time + limit
        self._settle()
        while not reached():
            if self.clock.time >= end:
                raise TimeoutError(f"not reached in {limit:g} simulated seconds")
            self._advance(end)

    def _advance(self, end: float) -> None:
        due = min(model.next_due() for model in self._models())
        self.clock.time = min(end, max(due, self.clock.time + 0.001))
        self._settle()

    def _settle(self) -> None:
        """Let every model do what is due now, until nothing changes any more."""
        for _ in range(50):
            version = self.cluster.version
            for model in self._models():
                model.step(self.clock.time)
            if self.cluster.version == version:
                return
        raise RuntimeError("the models of the simulation do not come to rest")

    def _models(self) -> list[StatefulSets | Kubelet | Controller]:
        models: list[StatefulSets | Kubelet | Controller] = [self.statefulsets, self.kubelet]
        return [*models, self.controller] if self.controller is not None else models

    def _new_id(self) -> str:
        self._ids += 1
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"controller {self._ids}"))

    def _create_base_objects(self) -> None:
        for namespace in ("default", "kube-system", CONTROLLER_NAMESPACE):
            self.add_namespace(namespace)
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        self.cluster.put(Kind.NODE, {"metadata": {"name": NODE}, "spec": {}, "status": ready})
        labels = {"control-plane": "controller-manager", "app.kubernetes.io/name": "sei-k8s-controller"}
        pod = {
            "serviceAccountName": CONTROLLER_NAME,
            "containers": [{"name": "manager", "image": "controller:simulated"}],
        }
        template = {"metadata": {"labels": labels}, "spec": pod}
        spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
        metadata = {"namespace": CONTROLLER_NAMESPACE, "name": CONTROLLER_NAME, "labels": labels}
        self.cluster.put(Kind.DEPLOYMENT, {"metadata": metadata, "spec": spec, "status": {"readyReplicas": 1}})
