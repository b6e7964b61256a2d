"""How long a judgement of a large fleet takes: ``python -m tests.network.benchmark [PODS [POLICIES]]``; no test.

The nodes' pods are in twenty namespaces with as many others; half of the policies are in these, each rule different.
"""

from __future__ import annotations

import sys
import time

from seimigrate.domain.verify.network import inventory, verdict
from seimigrate.domain.verify.network.evaluate import PolicyEvaluator
from tests.engine.harness import make_plan
from tests.network import scene

SPACES = 20


def main(pods: int = 10_000, policies: int = 500) -> None:
    parameters = make_plan().parameters
    spaces = [f"sei-{number}" for number in range(SPACES)]
    namespaces = [*scene.NAMESPACES, *(scene.namespace(name) for name in spaces)]
    nodes = []
    for number in range(pods):
        body = scene.node(**{"sei.io/node": f"node-{number}"})
        body["metadata"] |= {"namespace": spaces[number % SPACES], "name": f"node-{number}-0"}
        nodes.append(body)
    found = []
    for number in range(policies):
        peer = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": f"app-{number % 50}"}}}
        selector = {"matchLabels": {"sei.io/node": f"node-{number}"}} if number % 2 else {}
        rules = [scene.rule(8443, 9100, peers=[peer, scene.CONTROLLER_PEER]), scene.rule(*scene.OPEN)]
        where = spaces[number % SPACES]
        found.append(scene.policy(f"policy-{number}", where, podSelector=selector, ingress=rules))
    started = time.perf_counter()
    laid = inventory.build_inventory(namespaces, found, nodes, [scene.deployment()])
    judge = PolicyEvaluator(laid, parameters)
    count = sum(len(verdict.evaluate(node, parameters, laid, judge)) for node in nodes)
    print(f"{pods} pods, {policies} policies: {count} findings in {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
