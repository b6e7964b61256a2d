"""The time of day, from the machine."""

from __future__ import annotations

import time


class SystemClock:
    """The engine's clock in earnest."""

    def now(self) -> float:
        """Give the seconds since 1970."""
        return time.time()
