"""What runs in the image of the stand-in controllers: the project's model of sei-k8s-controller, on the real API.

The model renders and reconciles; here it gets its own ServiceAccount's rights, the real pod network and real time.
Its environment: GENERATION (old, new), SIDECAR_IMAGE (the default), POLL_SECONDS.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from seimigrate.adapters.api import Connection, connect, path_of
from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.engine.errors import ApiError, Unreachable
from seimigrate.engine.ports import Response
from seimigrate.simulation.controllers import Controller, Timing
from seimigrate.simulation.objects import PROXY, SEID, SIDECAR
from seimigrate.simulation.render import Generation
from tests.apiserver.models.client import HttpClient

TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
USER = 65532
LOOK_SECONDS = 0.25


class Client(HttpClient):
    """The API, with the security settings in every pod template that the real controller writes there."""

    def apply(self, kind: Kind, body: Object, *, manager: str) -> Object:
        if kind is Kind.STATEFUL_SET:
            secure(body["spec"]["template"]["spec"])
        return super().apply(kind, body, manager=manager)


def secure(pod: Object) -> None:
    """Complete the security settings: non-root, default seccomp, and a read-only root where upstream has one."""
    for container in [*pod["initContainers"], *pod["containers"]]:
        settings = container["securityContext"]
        settings |= {"runAsUser": USER, "runAsGroup": USER, "seccompProfile": {"type": "RuntimeDefault"}}
        if container["name"] in (SIDECAR, PROXY, "cosmos-exporter"):
            settings["readOnlyRootFilesystem"] = True
        elif container["name"] not in (SEID, "seid-init"):
            raise ValueError(f"no settings known for container {container['name']}")


class PodNetwork:
    """Calls over the pod network, by the name that the headless Service gives a pod."""

    def request(
        self,
        namespace: str,
        pod: str,
        port: int,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        token: str = "",
        source: str = "network",
    ) -> Response:
        service = pod.rpartition("-")[0]
        host = f"{pod}.{service}.{namespace}.svc.cluster.local"
        headers = {"User-Agent": "sei-k8s-controller"}
        if token:
            headers["Authorization"] = f"Bearer {TOKEN.read_text().strip()}"  # the kubelet renews the file
        data = None if body is None else json.dumps(body)
        connection = http.client.HTTPConnection(host, port, timeout=3)
        try:
            connection.request(method, path, body=data, headers=headers)
            answer = connection.getresponse()
            return Response(answer.status, answer.read().decode(errors="replace"))
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"no answer from {host}:{port}: {type(error).__name__}") from None
        finally:
            connection.close()


def namespaces(connection: Connection) -> Iterable[str]:
    """Give the namespaces that have a SeiNode."""
    items = connection.request("GET", path_of(Kind.SEI_NODE))["items"]
    return sorted({item["metadata"]["namespace"] for item in items})


def main() -> None:
    """Reconcile until told to stop."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    connection = connect()
    poll = float(os.environ["POLL_SECONDS"])
    controller = Controller(
        Client(connection, lambda: namespaces(connection), ""),
        PodNetwork(),
        Generation(os.environ["GENERATION"]),
        os.environ["SIDECAR_IMAGE"],
        timing=Timing(poll=poll),
        token="its own",  # PodNetwork reads the real one
    )
    log(event="started", generation=os.environ["GENERATION"])
    while True:
        try:
            controller.step(time.time())
        except ApiError as error:
            log(event="error", message=str(error))
        for at, node, reason in controller.denials:
            log(event="denied", at=at, node=node, error=reason)
        controller.denials.clear()
        time.sleep(LOOK_SECONDS)


def log(**about: object) -> None:
    """Write one JSON line."""
    print(json.dumps({"time": time.time()} | about), flush=True)


if __name__ == "__main__":
    main()
