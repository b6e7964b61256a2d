"""Decisions as pure values and functions, without clock, cluster or log."""
