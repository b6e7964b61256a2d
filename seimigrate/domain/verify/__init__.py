"""Verification: who can reach a node, and what its listeners answer."""
