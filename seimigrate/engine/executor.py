"""Who does the steps: this thread, one after the other, or a few threads side by side."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

MAX_WORKERS = 12
"""Threads for the steps of all nodes: most of a step's time goes into waiting for an answer."""


class InlineExecutor(Executor):
    """Does each job at once, in the thread that asks for it; what fails is raised there."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Do the job; give its result as a future that is done."""
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def thread_pool() -> ThreadPoolExecutor:
    """Give a few threads; leaving its ``with`` block waits for the steps that are being done."""
    return ThreadPoolExecutor(MAX_WORKERS, thread_name_prefix="step")
