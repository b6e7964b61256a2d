"""Whole runs in memory: cut over, rolled back, interrupted, disturbed and resumed."""
