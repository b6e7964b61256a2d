"""Verification: which clients can reach a node, and what its listeners return."""
