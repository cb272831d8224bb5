"""Runs jobs in threads at the same moment."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from db.engine.database import database

T = TypeVar("T")


def at_once(*jobs: Callable[[], T]) -> list[T]:
    """Run each job in its own thread, all from the same moment. Return their results."""
    gate = threading.Barrier(len(jobs))

    def run(job: Callable[[], T]) -> T:
        gate.wait()
        try:
            return job()
        finally:
            database.close()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs))
