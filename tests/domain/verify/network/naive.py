"""A second evaluator of NetworkPolicies, slow and simple, for comparison with the project's.

Written from the API's documentation alone (kubectl explain networkpolicy.spec --recursive, and the concept page on
network policies): it reads the objects as they are, sentence by sentence, and shares nothing with the project.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

Body = dict[str, Any]


def selected(selector: Body, labels: dict[str, str]) -> bool:
    """The result of matchLabels and matchExpressions are ANDed; an empty label selector matches all objects."""
    for key, value in selector.get("matchLabels", {}).items():
        if key not in labels or labels[key] != value:
            return False
    for requirement in selector.get("matchExpressions", []):
        key, operator = requirement["key"], requirement["operator"]
        if operator == "In" and (key not in labels or labels[key] not in requirement["values"]):
            return False
        if operator == "NotIn" and key in labels and labels[key] in requirement["values"]:
            return False
        if operator == "Exists" and key not in labels:
            return False
        if operator == "DoesNotExist" and key in labels:
            return False
    return True


def affects(policy: Body, direction: str) -> bool:
    """policyTypes; if not specified, Ingress always, and Egress if the policy has any egress rules."""
    types = policy["spec"].get("policyTypes")
    if types:
        return direction in types
    return direction == "Ingress" or len(policy["spec"].get("egress", [])) > 0


def port_fits(entry: Body, port: int, protocol: str, pod: Body) -> bool:
    """protocol defaults to TCP; no port matches all port names and numbers; endPort makes a range."""
    if entry.get("protocol", "TCP") != protocol:
        return False
    if "port" not in entry:
        return True
    wanted = entry["port"]
    if isinstance(wanted, str):
        containers = list(pod["spec"]["containers"])
        init = pod["spec"].get("initContainers", [])
        containers += [container for container in init if container.get("restartPolicy") == "Always"]
        for container in containers:
            for declared in container.get("ports", []):
                same = declared.get("name") == wanted and declared.get("protocol", "TCP") == protocol
                if same and declared["containerPort"] == port:
                    return True
        return False
    if "endPort" in entry:
        return bool(wanted <= port <= entry["endPort"])
    return bool(wanted == port)


def peer_fits(entry: Body, policy: Body, pod: Body, ip: str, namespaces: dict[str, dict[str, str]]) -> bool:
    """podSelector alone: this namespace; namespaceSelector alone: all pods there; both: ANDed; ipBlock: addresses."""
    if "ipBlock" in entry:
        block = entry["ipBlock"]
        if ip_address(ip) not in ip_network(block["cidr"]):
            return False
        return all(ip_address(ip) not in ip_network(each) for each in block.get("except", []))
    if "namespaceSelector" not in entry and "podSelector" not in entry:
        return False
    namespace = pod["metadata"]["namespace"]
    if "namespaceSelector" in entry:
        if not selected(entry["namespaceSelector"], namespaces[namespace]):
            return False
    elif namespace != policy["metadata"]["namespace"]:
        return False
    return "podSelector" not in entry or selected(entry["podSelector"], pod["metadata"]["labels"])


def one_way(
    direction: str,
    pod: Body,
    other: Body,
    other_ip: str,
    destination: Body,
    port: int,
    protocol: str,
    policies: list[Body],
    namespaces: dict[str, dict[str, str]],
) -> bool:
    """Traffic is allowed if no policy selects the pod, or if it matches at least one rule across all that do."""
    isolated = False
    for policy in policies:
        if policy["metadata"]["namespace"] != pod["metadata"]["namespace"] or not affects(policy, direction):
            continue
        if not selected(policy["spec"]["podSelector"], pod["metadata"]["labels"]):
            continue
        isolated = True
        for rule in policy["spec"].get(direction.lower(), []):
            ports = rule.get("ports", [])
            if ports and not any(port_fits(entry, port, protocol, destination) for entry in ports):
                continue
            peers = rule.get("from" if direction == "Ingress" else "to", [])
            if not peers or any(peer_fits(entry, policy, other, other_ip, namespaces) for entry in peers):
                return True
    return not isolated


def allowed(
    source: Body,
    destination: Body,
    port: int,
    protocol: str,
    policies: list[Body],
    namespaces: dict[str, dict[str, str]],
) -> bool:
    """Both the egress of the source and the ingress of the destination must allow the connection."""
    if source is destination:
        return True
    for one in source["status"]["podIPs"]:
        for two in destination["status"]["podIPs"]:
            here, there = one["ip"], two["ip"]
            if (":" in here) != (":" in there):
                continue
            about = (destination, port, protocol, policies, namespaces)
            if one_way("Egress", source, destination, there, *about) and one_way(
                "Ingress", destination, source, here, *about
            ):
                return True
    return False
