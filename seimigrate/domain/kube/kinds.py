"""The kinds of Kubernetes objects that a cutover reads or writes, and the names that the project gives to things."""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

Object = dict[str, Any]
"""A Kubernetes object as plain JSON: typed models would drop the fields that they do not know."""


SERVED = "*"
"""Stands for whatever version the API server serves, for kinds of others of which only the names are read."""


class Resource(NamedTuple):
    """Where the API server serves a kind; ``version`` may be ``SERVED`` where it is only ever listed."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """Give the apiVersion that objects of this kind carry."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """Give the name that RBAC rules and kubectl use, like ``statefulsets.apps``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


class Kind(Enum):
    """Every kind that is used; the values say where the API server serves it."""

    NAMESPACE = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
    NODE = Resource("", "v1", "nodes", "Node", namespaced=False)
    POD = Resource("", "v1", "pods", "Pod")
    SERVICE = Resource("", "v1", "services", "Service")
    CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")
    SERVICE_ACCOUNT = Resource("", "v1", "serviceaccounts", "ServiceAccount")
    STATEFUL_SET = Resource("apps", "v1", "statefulsets", "StatefulSet")
    DEPLOYMENT = Resource("apps", "v1", "deployments", "Deployment")
    EVENT = Resource("events.k8s.io", "v1", "events", "Event")
    LEASE = Resource("coordination.k8s.io", "v1", "leases", "Lease")
    DISRUPTION_BUDGET = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
    ADMISSION_POLICY = Resource(
        "admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", False
    )
    ADMISSION_BINDING = Resource(
        "admissionregistration.k8s.io",
        "v1",
        "validatingadmissionpolicybindings",
        "ValidatingAdmissionPolicyBinding",
        False,
    )
    NETWORK_POLICY = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
    CLUSTER_ROLE = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)
    CLUSTER_ROLE_BINDING = Resource(
        "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
    )
    ROLE = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
    ROLE_BINDING = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
    ADMIN_NETWORK_POLICY = Resource(
        "policy.networking.k8s.io", SERVED, "adminnetworkpolicies", "AdminNetworkPolicy", namespaced=False
    )
    BASELINE_ADMIN_NETWORK_POLICY = Resource(
        "policy.networking.k8s.io", SERVED, "baselineadminnetworkpolicies", "BaselineAdminNetworkPolicy", False
    )
    CLUSTER_NETWORK_POLICY = Resource(
        "policy.networking.k8s.io", SERVED, "clusternetworkpolicies", "ClusterNetworkPolicy", namespaced=False
    )
    CALICO_POLICY = Resource("crd.projectcalico.org", SERVED, "networkpolicies", "NetworkPolicy")
    CALICO_GLOBAL_POLICY = Resource(
        "crd.projectcalico.org", SERVED, "globalnetworkpolicies", "GlobalNetworkPolicy", namespaced=False
    )
    CALICO_OWN_POLICY = Resource("projectcalico.org", SERVED, "networkpolicies", "NetworkPolicy")
    CALICO_OWN_GLOBAL_POLICY = Resource(
        "projectcalico.org", SERVED, "globalnetworkpolicies", "GlobalNetworkPolicy", namespaced=False
    )
    CILIUM_POLICY = Resource("cilium.io", SERVED, "ciliumnetworkpolicies", "CiliumNetworkPolicy")
    CILIUM_CLUSTERWIDE_POLICY = Resource(
        "cilium.io", SERVED, "ciliumclusterwidenetworkpolicies", "CiliumClusterwideNetworkPolicy", namespaced=False
    )
    ANTREA_POLICY = Resource("crd.antrea.io", SERVED, "networkpolicies", "NetworkPolicy")
    ANTREA_CLUSTER_POLICY = Resource(
        "crd.antrea.io", SERVED, "clusternetworkpolicies", "ClusterNetworkPolicy", namespaced=False
    )
    POD_MONITOR = Resource("monitoring.coreos.com", "v1", "podmonitors", "PodMonitor")
    SERVICE_MONITOR = Resource("monitoring.coreos.com", "v1", "servicemonitors", "ServiceMonitor")
    PROBE = Resource("monitoring.coreos.com", "v1", "probes", "Probe")
    SCRAPE_CONFIG = Resource("monitoring.coreos.com", "v1alpha1", "scrapeconfigs", "ScrapeConfig")
    SEI_NODE = Resource("sei.io", "v1alpha1", "seinodes", "SeiNode")
    SEI_NODE_TASK = Resource("sei.io", "v1alpha1", "seinodetasks", "SeiNodeTask")
    SEI_NODE_WORKFLOW = Resource("sei.io", "v1alpha1", "seinodetaskworkflows", "SeiNodeTaskWorkflow")

    @property
    def resource(self) -> Resource:
        """Give where the API server serves this kind."""
        return self.value


MANAGER = "seimigrate"
"""The field manager of every write of ours."""

CONTROLLER_MANAGER = "seinode-controller"
"""The field manager with which sei-k8s-controller applies its StatefulSets and Services (upstream)."""

HOLD_LABEL = "seimigrate.sei.io/hold"
"""On a StatefulSet or Service: the controller may not change it. The value is the fencing token of a run."""

FREEZE_LABEL = "seimigrate.sei.io/freeze"
"""On a held StatefulSet: its node is moving, and the controller may do nothing to it but scale it to zero."""

HOLD_PATH = f"metadata.labels[{HOLD_LABEL}]"
FREEZE_PATH = f"metadata.labels[{FREEZE_LABEL}]"

FENCE_ANNOTATION = "seimigrate.sei.io/fence"
"""On a pod whose replacement was begun by a run that lost its lock: makes the old run's delete miss."""

MIGRATION_LABEL = "seimigrate.sei.io/migration"
"""On the journal's ConfigMaps: the name of the migration that they belong to."""

SYSTEM_NAMESPACE = "seimigrate-system"
"""The namespace of the lock and of the run's record: one for a cluster, so that two runs always meet."""

LEASE_NAME = "seimigrate"
RUN_NAME = "seimigrate-run"
JOURNAL_PREFIX = "seimigrate-"
"""A node's journal is the ConfigMap ``seimigrate-<node>`` in the node's namespace."""
