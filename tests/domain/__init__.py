"""The decision core: paths, changes, shapes, transforms, checks, and what the machine never does."""
