"""Signs of life: an answer stays open while its model says nothing.

A model that thinks may be silent for longer than STREAM_TIMEOUT. Its answer must not count as one
whose writer is gone, which anybody who meets it would end.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from db import streams
from db.engine.database import release
from db.errors import StoreError, Unavailable
from db.scope import Scope
from db.settings import settings

SIGNS = 3  # in the time after which a silent writer counts as gone


@contextmanager
def signs_of_life(
    scope: Scope, conversation_id: str, answer_id: str, length: Callable[[], int]
) -> Iterator[None]:
    """Say now and then that the answer's writer is there. It has so many code points by now."""
    if settings().chat_timeout <= settings().stream_timeout:  # no answer takes that long
        yield
        return
    ended = threading.Event()

    def say() -> None:
        while not ended.wait(settings().stream_timeout / SIGNS):
            try:
                streams.append(scope, conversation_id, answer_id, length(), "")
            except (StoreError, Unavailable):  # the writer will hear of it with its next piece
                pass
            finally:
                release()

    thread = threading.Thread(target=say, daemon=True, name="signs of life")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
