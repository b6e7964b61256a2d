"""Tests of the pure functions: field paths, changes, decisions about nodes and fleets, and checks of access."""
