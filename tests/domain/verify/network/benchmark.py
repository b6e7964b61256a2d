"""Measure the evaluation of a large fleet: ``python -m tests.domain.verify.network.benchmark [PODS [POLICIES]]``.

The pods of the nodes are spread over twenty namespaces. Half of the policies select one node each; each rule differs.
"""

from __future__ import annotations

import sys
import time

from seimigrate.domain.verify.network import inventory, verdict
from seimigrate.domain.verify.network.evaluate import PolicyEvaluator
from tests.domain.verify.network import objects
from tests.engine.harness import make_plan

SPACES = 20


def main(pods: int = 10_000, policies: int = 500) -> None:
    parameters = make_plan().parameters
    spaces = [f"sei-{number}" for number in range(SPACES)]
    namespaces = [*objects.NAMESPACES, *(objects.namespace(name) for name in spaces)]
    nodes = []
    for number in range(pods):
        body = objects.node(**{"sei.io/node": f"node-{number}"})
        body["metadata"] |= {"namespace": spaces[number % SPACES], "name": f"node-{number}-0"}
        nodes.append(body)
    made_policies = []
    for number in range(policies):
        peer = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": f"app-{number % 50}"}}}
        selector = {"matchLabels": {"sei.io/node": f"node-{number}"}} if number % 2 else {}
        rules = [
            objects.rule(8443, 9100, peers=[peer, objects.CONTROLLER_PEER]),
            objects.rule(*objects.REACHABLE_PORTS),
        ]
        target_namespace = spaces[number % SPACES]
        made_policies.append(objects.policy(f"policy-{number}", target_namespace, podSelector=selector, ingress=rules))
    started = time.perf_counter()
    network_inventory = inventory.build_inventory(namespaces, made_policies, nodes, [objects.deployment()])
    evaluator = PolicyEvaluator(network_inventory, parameters)
    count = sum(len(verdict.evaluate(node, parameters, network_inventory, evaluator)) for node in nodes)
    print(f"{pods} pods, {policies} policies: {count} findings in {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
