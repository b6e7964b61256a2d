"""A simulated cluster: for the demo and for tests. It claims nothing that only a real API server can show."""
