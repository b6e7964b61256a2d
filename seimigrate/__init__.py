"""Carry a fleet of Kubernetes workloads through a rolling cutover, node by node, with a way back from every step."""

__version__ = "0.1.0"
