"""What the tests of the judge share."""

from __future__ import annotations

import pytest

from tests.audit.logs import Log


@pytest.fixture
def log() -> Log:
    """Give a log with a run on two nodes that are held."""
    log = Log()
    log.run()
    for node in ("a", "b"):
        log.node(node)
        log.hold(node)
    return log
