"""The hold as admission policies that admit the controller's writes only if they change nothing.

While a StatefulSet or Service has the hold label, a write of the controller that would change the pod template or its
update strategy (for a Service, its spec) is denied. Scaling to zero is always admitted, because ``spec.paused`` works
that way. With the freeze label, no other write of the controller is admitted. The controller is identified by its
account or by its field manager, so that any client can prove the hold with a dry run (ValidatingAdmissionPolicy, stable
since Kubernetes 1.30).
"""

from __future__ import annotations

import json

from seimigrate.domain.kube.kinds import CONTROLLER_MANAGER, FREEZE_LABEL, HOLD_LABEL, Kind, Object

POLICY = "seimigrate-hold"
SERVICE_POLICY = "seimigrate-hold-service"
DENIAL = "held by seimigrate"
"""Prefix of the message of each denial."""

_STATEFUL_SET_RULE = (
    "object.spec.replicas == 0 || ("
    f"!(has(oldObject.metadata.labels) && '{FREEZE_LABEL}' in oldObject.metadata.labels) && "
    "object.spec.template == oldObject.spec.template && "
    "object.spec.updateStrategy == oldObject.spec.updateStrategy)"
)
_SERVICE_RULE = "object.spec == oldObject.spec"


def policies(accounts: list[str]) -> list[tuple[Kind, Object]]:
    """Return the policies and their bindings; ``accounts`` are the controllers' ``system:serviceaccount:NS:NAME``."""
    return [
        (Kind.ADMISSION_POLICY, _policy(POLICY, accounts, "apps", "statefulsets", _STATEFUL_SET_RULE)),
        (Kind.ADMISSION_BINDING, _binding(POLICY)),
        (Kind.ADMISSION_POLICY, _policy(SERVICE_POLICY, accounts, "", "services", _SERVICE_RULE)),
        (Kind.ADMISSION_BINDING, _binding(SERVICE_POLICY)),
    ]


def _policy(name: str, accounts: list[str], group: str, resource: str, rule: str) -> Object:
    by_controller = (
        f"request.userInfo.username in {json.dumps(sorted(accounts))} || "
        f"(has(request.options.fieldManager) && request.options.fieldManager == '{CONTROLLER_MANAGER}')"
    )
    message = f"'{DENIAL}: this write would change {resource} ' + request.namespace + '/' + request.name"
    return {
        "apiVersion": Kind.ADMISSION_POLICY.resource.api_version,
        "kind": Kind.ADMISSION_POLICY.resource.kind,
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            # The API server's defaults are spelled out, so that the object in the cluster can be compared as a whole.
            "matchConstraints": {
                "matchPolicy": "Equivalent",
                "namespaceSelector": {},
                "objectSelector": {"matchExpressions": [{"key": HOLD_LABEL, "operator": "Exists"}]},
                "resourceRules": [
                    {
                        "apiGroups": [group],
                        "apiVersions": ["v1"],
                        "operations": ["UPDATE"],
                        "resources": [resource],
                        "scope": "*",
                    }
                ],
            },
            "matchConditions": [{"name": "only-the-controller", "expression": by_controller}],
            "validations": [{"expression": rule, "reason": "Forbidden", "messageExpression": message}],
        },
    }


def _binding(name: str) -> Object:
    return {
        "apiVersion": Kind.ADMISSION_BINDING.resource.api_version,
        "kind": Kind.ADMISSION_BINDING.resource.kind,
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }


def account_of(deployment: Object) -> str:
    """Return the user name with which a controller's Deployment authenticates to the API server."""
    spec = deployment["spec"]["template"]["spec"]
    return user_name(deployment["metadata"]["namespace"], spec.get("serviceAccountName", "default"))


def user_name(namespace: str, account: str) -> str:
    """Return the user name of a ServiceAccount on the API server."""
    return f"system:serviceaccount:{namespace}:{account}"


def is_controller(deployment: Object) -> bool:
    """Return whether a Deployment is sei-k8s-controller's manager, by its labels (upstream facts)."""
    labels = deployment["metadata"].get("labels") or {}
    return (
        labels.get("app.kubernetes.io/name") == "sei-k8s-controller"
        and labels.get("control-plane") == "controller-manager"
    )
