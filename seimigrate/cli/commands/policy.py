"""``policy render``: print the NetworkPolicies for the nodes. It never applies them."""

from __future__ import annotations

import sys

import typer
import yaml

from seimigrate.app import selection, snapshot
from seimigrate.app.names import parse_namespaced_name
from seimigrate.app.options import ConnectionOptions, ControllerOptions, NodeSelection, PlanFileOptions
from seimigrate.cli.invocation import invocation_of
from seimigrate.domain.verify.network import inventory, render_policy, verdict
from seimigrate.domain.verify.network.inventory import NodePorts
from seimigrate.engine.access_review import AccessReviewer
from seimigrate.engine.errors import SeimigrateError
from seimigrate.engine.hold import named_account

HEAD = """\
# Rendered by seimigrate from the cluster as it is; put it under version control and let GitOps apply it.
# {proxy}: the controller, and the plan's parameters.access.clients. {public}: parameters.access.monitoring, and the
# controller. The kubelet's probes need no rule: a pod's own Kubernetes node always reaches it. The nodes' other ports
# are open to any client, as without a policy; the sidecar's own port is open to none.
"""


def render(
    ctx: typer.Context,
    target: NodeSelection,
    file: PlanFileOptions,
    controller: ControllerOptions,
    connection: ConnectionOptions,
) -> None:
    """Print one NetworkPolicy per namespace (does not apply it)."""
    invocation = invocation_of(ctx)
    selection.validate_target(target)
    account = controller.controller_account
    if account is not None:
        parse_namespaced_name("--controller-account", account)
    plan = snapshot.load_plan_file(file)
    session = invocation.open_session(connection)
    selected = selection.select(session.cluster, target, session.namespace)
    observed = snapshot.ClusterSnapshot(session.cluster, selected, plan, session.clock)
    network = AccessReviewer(session.cluster, session.clock, plan, named_account(account)).read().inventory
    if not network.controllers:
        raise SeimigrateError(
            "found no Deployment of sei-k8s-controller, whose pods the policy must allow",
            hint="name its ServiceAccount: --controller-account NAMESPACE/NAME",
        )
    ports_by_namespace: dict[str, list[NodePorts]] = {}
    for namespace, name in selected.keys:
        if (pod := verdict.after(observed.observe((namespace, name)), plan)) is not None:
            node_ports = inventory.node_ports(pod["spec"], namespace, plan.parameters, network)
            ports_by_namespace.setdefault(namespace, []).append(node_ports)
    ports = plan.parameters.ports
    head = HEAD.format(proxy=ports.proxy, public=ports.public)
    policies = [
        render_policy.policy(namespace, all_ports, plan.parameters, network)
        for namespace, all_ports in ports_by_namespace.items()
    ]
    sys.stdout.write(head + yaml.safe_dump_all(policies, sort_keys=False))
