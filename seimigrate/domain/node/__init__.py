"""One node: observe, decide, and the record of what was decided."""
