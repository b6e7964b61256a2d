"""The kinds of Kubernetes objects that seimigrate reads or writes, and the names of its own objects."""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

Object = dict[str, Any]
"""A Kubernetes object as plain JSON: typed models would drop unknown fields."""


SERVED = "*"
"""Any version that the API server serves, for kinds of which only object names are read."""


class Resource(NamedTuple):
    """The API resource of a kind; ``version`` may be ``SERVED`` for a kind that is only listed."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """Return the apiVersion of objects of this kind."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """Return the name in RBAC rules and kubectl, such as ``statefulsets.apps``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


class Kind(Enum):
    """The kinds in use, with their API resources."""

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
        """Return the API resource of this kind."""
        return self.value


MANAGER = "seimigrate"
"""The field manager of all writes of seimigrate."""

CONTROLLER_MANAGER = "seinode-controller"
"""The field manager with which sei-k8s-controller applies its StatefulSets and Services (upstream)."""

HOLD_LABEL = "seimigrate.sei.io/hold"
"""On a StatefulSet or Service: the controller cannot change it. The value is the fencing token of a run."""

FREEZE_LABEL = "seimigrate.sei.io/freeze"
"""On a held StatefulSet whose node is in progress: the controller can only scale it to zero."""

HOLD_PATH = f"metadata.labels[{HOLD_LABEL}]"
FREEZE_PATH = f"metadata.labels[{FREEZE_LABEL}]"

FENCE_ANNOTATION = "seimigrate.sei.io/fence"
"""On a pod whose replacement a run started before it lost its lock: makes that run's delete fail."""

MIGRATION_LABEL = "seimigrate.sei.io/migration"
"""On the journal's ConfigMaps: the name of their migration."""

SYSTEM_NAMESPACE = "seimigrate-system"
"""The namespace of the lock and of the run's record: one per cluster, so that two runs always conflict."""

LEASE_NAME = "seimigrate"
RUN_NAME = "seimigrate-run"
JOURNAL_PREFIX = "seimigrate-"
"""A node's journal is the ConfigMap ``seimigrate-<node>`` in the node's namespace."""
