"""The adapters, on a real API server wherever one is needed to settle a claim."""
