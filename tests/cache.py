"""Where everything is that the tests' build scripts have made, outside every checkout."""

from __future__ import annotations

import os
from pathlib import Path


def cache() -> Path:
    """Give the folder, as the build scripts find it."""
    given = os.environ.get("SEIMIGRATE_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seimigrate"
