"""Tests of the checks of `verify`."""
