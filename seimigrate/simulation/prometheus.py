"""A model of a Prometheus that scrapes the sidecars of all nodes: it knows ``up``, and counts, and nothing more."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.domain.node import observation
from seimigrate.domain.plan.gates import Token
from seimigrate.engine.errors import Unreachable
from seimigrate.engine.ports import Response
from seimigrate.simulation.world import World

PLACE = ("monitoring", "prometheus-0", 9090)
"""Its pod, which is in no simulated cluster, and its port."""


class SimulatedPrometheus:
    """What gates ask (``engine.ports.Web``)."""

    def __init__(self, world: World) -> None:
        self._world = world

    def get(self, url: str, *, token: Token | None, timeout: float) -> Response:
        """Refuse: there is no network."""
        raise Unreachable("there is no network here")

    def get_from_pod(
        self, namespace: str, pod: str, port: int, path: str, *, token: Token | None, timeout: float
    ) -> Response:
        """Answer an instant query; raises ``Unreachable`` for any pod but its own."""
        if (namespace, pod, port) != PLACE:
            raise Unreachable("nothing listens there")
        if parse_qs(urlsplit(path).query).get("query") != ["up"]:
            said = {"status": "error", "errorType": "bad_data", "error": "this one knows only: up"}
            return Response(400, json.dumps(said))
        pods = [pod for pod in self._world.cluster.listed(Kind.POD) if "sei.io/node" in observation.labels(pod)]
        result = [self._up(pod) for pod in pods]
        return Response(200, json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}))

    def _up(self, pod: Object) -> Object:
        value = [self._world.clock.now(), str(int(observation.is_ready(pod)))]
        return {"metric": {"__name__": "up", "pod": pod["metadata"]["name"]}, "value": value}

    def check_token(self, token: Token) -> None:
        """Accept any: nobody looks at it."""
