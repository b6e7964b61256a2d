"""Tests of the decisions about one node."""
