"""Whole runs in memory: there and back, interrupted, disturbed, and resumed."""
