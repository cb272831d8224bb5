"""The threads for requests that may wait (server/threads.py)."""

import threading
import time
from collections.abc import Callable

import pytest

import server.threads
from server.threads import Threads

from .support.local_server import eventually

NAME = "a thread of this test"


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Threads:
    monkeypatch.setattr(server.threads, "IDLE_SECONDS", 0.02)
    return Threads(NAME)


def running() -> int:
    return sum(thread.name == NAME for thread in threading.enumerate())


def test_work_is_done_at_once_and_by_an_idle_thread_if_there_is_one(threads: Threads):
    done: list[int | None] = []
    both = threading.Barrier(3)

    def meet() -> None:
        done.append(threading.current_thread().ident)
        both.wait(10)

    threads.run(meet)
    threads.run(meet)
    both.wait(10)
    assert len(set(done)) == 2
    assert eventually(lambda: running() == 0)


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.02])
def test_work_that_comes_when_a_thread_is_about_to_end_is_done(threads: Threads, seconds: float):
    done: list[int] = []

    def work(number: int) -> Callable[[], None]:
        return lambda: (time.sleep(seconds), done.append(number))[1]

    for number in range(60):
        threads.run(work(number))
        threads.run(work(number))
        time.sleep(0.02)
    assert eventually(lambda: len(done) == 120)
    assert eventually(lambda: running() == 0)
