"""``policy render``: the NetworkPolicy that fits, printed for whoever provisions policies. It is never applied."""

from __future__ import annotations

import sys

import typer
import yaml

from seimigrate.cli import looking, selection
from seimigrate.cli.naming import pair
from seimigrate.cli.options import Connect, Controller, PlanFile, Target
from seimigrate.cli.shell import shell_of
from seimigrate.domain.network import ground, template, verdict
from seimigrate.domain.network.ground import Doors
from seimigrate.engine.errors import SeimigrateError
from seimigrate.engine.hold import named_account
from seimigrate.engine.survey import Survey

HEAD = """\
# Rendered by seimigrate from the cluster as it is; put it under version control and let GitOps apply it.
# {proxy}: the controller, and the plan's parameters.access.clients. {public}: parameters.access.monitoring, and the
# controller. The kubelet's probes need no rule: a pod's own Kubernetes node always reaches it. The nodes' other ports
# are open to everybody, as without a policy; the sidecar's own port is open to nobody.
"""


def render(ctx: typer.Context, target: Target, file: PlanFile, controller: Controller, connect: Connect) -> None:
    """Print a NetworkPolicy for each namespace that has nodes; apply none."""
    shell = shell_of(ctx)
    selection.check(target)
    account = controller.controller_account
    if account is not None:
        pair("--controller-account", account)
    plan = looking.the_plan(file)
    session = shell.open_session(connect)
    found = selection.select(session.cluster, target, session.namespace)
    look = looking.Look(session.cluster, found, plan, session.clock)
    on = Survey(session.cluster, session.clock, plan, named_account(account)).read().ground
    if not on.controllers:
        raise SeimigrateError(
            "no Deployment of sei-k8s-controller was found, whose pods the policy must let in",
            hint="name its ServiceAccount: --controller-account NAMESPACE/NAME",
        )
    nodes: dict[str, list[Doors]] = {}
    for namespace, name in found.keys:
        if (pod := verdict.after(look.at((namespace, name)), plan)) is not None:
            nodes.setdefault(namespace, []).append(ground.doors(pod["spec"], namespace, plan.parameters, on))
    ports = plan.parameters.ports
    text = HEAD.format(proxy=ports.proxy, public=ports.public)
    bodies = [template.policy(namespace, doors, plan.parameters, on) for namespace, doors in nodes.items()]
    sys.stdout.write(text + yaml.safe_dump_all(bodies, sort_keys=False))
