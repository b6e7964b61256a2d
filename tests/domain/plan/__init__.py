"""Tests of gates and image references."""
