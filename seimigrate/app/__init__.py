"""Compose a run, a plan and a report from the engine, the domain and the adapters."""
