"""Tests of field paths, changes and managed fields."""
