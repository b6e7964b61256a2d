"""The two hold policies as this simulation enforces them: what they answered on a real API server, without CEL.

They act only while the cluster has both the policy and its binding, and judge what the controller's account or its
field manager writes, dry runs included. Deletes are not judged, as the policies name UPDATE only.
"""

from __future__ import annotations

from collections.abc import Callable

from seimigrate.domain.kube.kinds import CONTROLLER_MANAGER, FREEZE_LABEL, HOLD_LABEL, Kind, Object
from seimigrate.engine.errors import Denied
from seimigrate.simulation.objects import CONTROLLER_USER, labels_of

POLICIES = {Kind.STATEFUL_SET: "seimigrate-hold", Kind.SERVICE: "seimigrate-hold-service"}


def evaluate(kind: Kind, old: Object, new: Object, user: str, manager: str, has: Callable[[Kind, str], bool]) -> None:
    """Raise ``Denied`` for a write that a policy of this cluster refuses; ``has`` says which objects there are."""
    policy = POLICIES.get(kind)
    if policy is None or (user != CONTROLLER_USER and manager != CONTROLLER_MANAGER):
        return
    if HOLD_LABEL not in labels_of(old) and HOLD_LABEL not in labels_of(new):
        return
    if not has(Kind.ADMISSION_POLICY, policy) or not has(Kind.ADMISSION_BINDING, policy):
        return
    where = f"{old['metadata'].get('namespace', '')}/{old['metadata']['name']}"
    if kind is Kind.SERVICE:
        if new["spec"] != old["spec"]:
            raise Denied(f"held by seimigrate: this write would change Service {where}")
        return
    was, becomes = old["spec"], new["spec"]
    same = all(was.get(name) == becomes.get(name) for name in ("template", "updateStrategy"))
    if becomes.get("replicas") != 0 and (FREEZE_LABEL in labels_of(old) or not same):
        raise Denied(f"held by seimigrate: this write would change the pod template of {where}")
