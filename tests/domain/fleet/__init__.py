"""Tests of the decisions about a fleet: order, waves, budgets, run control."""
