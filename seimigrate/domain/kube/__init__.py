"""Kubernetes objects: kinds, field paths, managed fields, selectors, Leases and changes."""
