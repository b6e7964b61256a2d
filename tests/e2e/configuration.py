"""What the programs of the test cluster read: certificates, tokens, kubeconfigs and settings."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


@dataclass(frozen=True)
class Node:
    """A machine as the cluster knows it: its name, its address, and its pods' subnet."""

    name: str
    address: str
    pods: str
    taints: tuple[str, ...] = ()
    """Keys, each without a value and with the effect NoSchedule."""


POD_NETWORK = "10.244.0.0/16"
FIRST = Node("node1", "10.200.0.1", "10.244.0.0/24")
SECOND = Node("node2", "10.200.0.2", "10.244.1.0/24", ("seimigrate.test/reserved",))
"""Subnets are in the order in which the controller manager gives them to nodes that come."""
API = f"https://{FIRST.address}:6443"
SERVICE_NETWORK = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
SOCKET = "/run/containerd/containerd.sock"
USERS = {
    # short name: (name as the API server sees it, group)
    "admin": ("admin", "system:masters"),
    "manager": ("kube-controller-manager", "system:masters"),
    "scheduler": ("kube-scheduler", "system:masters"),
    "network": ("network", "system:masters"),
    FIRST.name: (f"system:node:{FIRST.name}", "system:nodes"),
    SECOND.name: (f"system:node:{SECOND.name}", "system:nodes"),
    "operator": ("operator", ""),
    "nobody": ("nobody", ""),
}
"""Who may come in with a token. Those without a group have no rights until a test binds them to a role."""


def write(state: Path, pause_image: str) -> dict[str, str]:
    """Write everything for the first machine and its control plane into a cluster's folder; give the users' tokens."""
    authority = trustme.CA()
    _write_certificates(state, authority)
    tokens = {short: secrets.token_hex(16) for short in USERS}
    lines = [f'{tokens[short]},{name},{short},"{group}"' for short, (name, group) in USERS.items()]
    _private(state / "tokens.csv", "\n".join(lines) + "\n")
    _write_machine(state, FIRST, authority, tokens, pause_image)
    return tokens


def write_second(cluster: Path, state: Path, tokens: Mapping[str, str], pause_image: str) -> None:
    """Write everything for the second machine of a cluster into a folder of its own."""
    authority = trustme.CA.from_pem((cluster / "ca.crt").read_bytes(), (cluster / "ca.key").read_bytes())
    needed = {short: tokens[short] for short in (SECOND.name, "network")}
    _write_machine(state, SECOND, authority, needed, pause_image)


def _write_machine(state: Path, node: Node, authority: trustme.CA, tokens: Mapping[str, str], pause_image: str) -> None:
    authority.cert_pem.write_to_path(state / "ca.crt")
    _write_certificate(state, "kubelet", authority.issue_cert(node.address, node.name, common_name=node.name))
    for short, token in tokens.items():
        write_kubeconfig(state / f"{short}.kubeconfig", state / "ca.crt", API, token)
    (state / "kubelet.yaml").write_text(yaml.safe_dump(_kubelet(state, node)))
    (state / "containerd.toml").write_text(_containerd(state, pause_image))
    (state / "cni").mkdir()
    (state / "cni" / "10-pods.conflist").write_text(json.dumps(_pod_network(node)))
    (state / "hosts").write_text(f"127.0.0.1 localhost\n{node.address} {node.name}\n")
    (state / "resolv.conf").write_text("nameserver 127.0.0.1\n")


def write_kubeconfig(path: Path, ca: Path, server: str, token: str) -> Path:
    """Write a kubeconfig with one context and give its path."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": str(ca)}}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    }
    return _private(path, yaml.safe_dump(config))


def _private(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def _write_certificates(state: Path, authority: trustme.CA) -> None:
    _private(state / "ca.key", authority.private_key_pem.bytes().decode())
    names = (FIRST.address, API_SERVICE, "127.0.0.1", "kubernetes", "kubernetes.default.svc")
    _write_certificate(state, "server", authority.issue_cert(*names, common_name="kube-apiserver"))
    # Who the API server is to the kubelet.
    client = authority.issue_cert(
        "kube-apiserver", common_name="kube-apiserver-kubelet-client", organization_name="system:masters"
    )
    _write_certificate(state, "kubelet-client", client)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    _private(state / "accounts.key", pem.decode())


def _write_certificate(state: Path, name: str, certificate: trustme.LeafCert) -> None:
    certificate.cert_chain_pems[0].write_to_path(state / f"{name}.crt")
    certificate.private_key_pem.write_to_path(state / f"{name}.key")


def _kubelet(state: Path, node: Node) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "failSwapOn": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": "/",
        "oomScoreAdj": 0,  # less than that needs CAP_SYS_RESOURCE
        "protectKernelDefaults": True,  # the kernel's settings are the machine's: machine.py shows the wanted ones
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "address": node.address,
        "registerWithTaints": [{"key": key, "effect": "NoSchedule"} for key in node.taints],
        "healthzBindAddress": "127.0.0.1",
        "tlsCertFile": str(state / "kubelet.crt"),
        "tlsPrivateKeyFile": str(state / "kubelet.key"),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(state / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "resolvConf": str(state / "resolv.conf"),
        "volumePluginDir": str(state / "volume-plugins"),
        "podLogsDir": "/var/log/pods",
        "nodeStatusUpdateFrequency": "4s",
        "syncFrequency": "10s",
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "shutdownGracePeriod": "0s",
    }


def _containerd(state: Path, pause_image: str) -> str:
    return f"""version = 3
root = "{state / "containerd"}"
state = "/run/containerd"
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{pause_image}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        SystemdCgroup = false
        BinaryName = "/usr/sbin/runc"
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "{state / "cni"}"
"""


def _pod_network(node: Node) -> dict[str, Any]:
    addresses = {
        "type": "host-local",
        "dataDir": "/run/cni-addresses",
        "ranges": [[{"subnet": node.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": "pods0", "isGateway": True, "ipMasq": False, "hairpinMode": True}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge | {"ipam": addresses}]}
