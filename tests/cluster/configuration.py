"""What the programs of the test cluster read: certificates, tokens, kubeconfigs and settings."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import trustme
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

NODE = "node1"
NODE_ADDRESS = "10.200.0.1"
API = f"https://{NODE_ADDRESS}:6443"
POD_NETWORK = "10.244.0.0/16"
POD_SUBNET = "10.244.0.0/24"
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
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
    "operator": ("operator", ""),
    "nobody": ("nobody", ""),
}
"""Who may come in with a token. Those without a group have no rights until a test binds them to a role."""


def write(state: Path, pause_image: str) -> dict[str, str]:
    """Write everything into a cluster's folder; give the users' tokens."""
    _write_certificates(state)
    tokens = {short: secrets.token_hex(16) for short in USERS}
    lines = [f'{tokens[short]},{name},{short},"{group}"' for short, (name, group) in USERS.items()]
    _private(state / "tokens.csv", "\n".join(lines) + "\n")
    for short, token in tokens.items():
        write_kubeconfig(state / f"{short}.kubeconfig", state / "ca.crt", API, token)
    (state / "kubelet.yaml").write_text(yaml.safe_dump(_kubelet(state)))
    (state / "containerd.toml").write_text(_containerd(state, pause_image))
    (state / "cni").mkdir()
    (state / "cni" / "10-pods.conflist").write_text(json.dumps(_pod_network()))
    (state / "hosts").write_text(f"127.0.0.1 localhost\n{NODE_ADDRESS} {NODE}\n")
    (state / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    return tokens


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


def _write_certificates(state: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(state / "ca.crt")
    issued = {
        "server": authority.issue_cert(
            NODE_ADDRESS, API_SERVICE, "127.0.0.1", "kubernetes", "kubernetes.default.svc", common_name="kube-apiserver"
        ),
        "kubelet": authority.issue_cert(NODE_ADDRESS, NODE, common_name=NODE),
        # Who the API server is to the kubelet.
        "kubelet-client": authority.issue_cert(
            "kube-apiserver", common_name="kube-apiserver-kubelet-client", organization_name="system:masters"
        ),
    }
    for name, certificate in issued.items():
        certificate.cert_chain_pems[0].write_to_path(state / f"{name}.crt")
        certificate.private_key_pem.write_to_path(state / f"{name}.key")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    _private(state / "accounts.key", pem.decode())


def _kubelet(state: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "failSwapOn": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": "/",
        "oomScoreAdj": 0,  # less than that needs CAP_SYS_RESOURCE
        "protectKernelDefaults": True,  # the kernel's settings are the machine's: node.py shows the wanted ones
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "address": NODE_ADDRESS,
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


def _pod_network() -> dict[str, Any]:
    addresses = {
        "type": "host-local",
        "dataDir": "/run/cni-addresses",
        "ranges": [[{"subnet": POD_SUBNET}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": "pods0", "isGateway": True, "ipMasq": False, "hairpinMode": True}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge | {"ipam": addresses}]}
