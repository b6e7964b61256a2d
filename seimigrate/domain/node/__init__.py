"""One node: what is observed, what is decided, and the record of the decisions."""
