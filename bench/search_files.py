"""The files of the measurement of search: made once, and kept between runs."""

import hashlib
import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from db import search_index, terms
from db.engine import full_text
from db.upkeep.schema import DIRECTORY, runner

from . import data, texts
from .data import Batch, fill, project, use
from .texts import text

MESSAGES = 10  # a conversation
USER_CONVERSATIONS = 10  # a user; every second conversation has one
PROJECTS = [project(number) for number in range(1, 4)]
MIGRATION = "0006_search"
SOURCES = [Path(str(each.__file__)) for each in (data, texts, terms, full_text, search_index)]


class Filed(NamedTuple):
    """A file with so many messages, and what its index cost when it was made."""

    path: Path
    seconds: float  # to build the index
    plain_bytes: int  # of the file without the index

    @property
    def bytes(self) -> int:
        return self.path.stat().st_size


def users_in(messages: int) -> int:
    return messages // MESSAGES // 2 // USER_CONVERSATIONS


def file_of(messages: int, cache: Path) -> Filed:
    """The file with that many messages. A million take three minutes the first time."""
    path = cache / f"search-{messages}-{_fingerprint()}.db"
    about = path.with_suffix(".json")
    if not about.exists():
        for outdated in cache.glob(f"search-{messages}-*"):
            outdated.unlink()
        fill(path, Batch(PROJECTS, [None], messages // MESSAGES, MESSAGES), text_of=text)
        _number_and_own(path, users_in(messages))
        plain_bytes, began = path.stat().st_size, perf_counter()
        store = use(path, "off")
        search_index.follow_all(lambda behind: None)
        seconds = perf_counter() - began
        store.close_all()
        os.sync()
        about.write_text(json.dumps([seconds, plain_bytes]))
    return Filed(path, *json.loads(about.read_text()))


def copy(of: Path, to: Path) -> Path:
    shutil.copy(of, to)
    os.sync()
    return to


def copy_without_index(of: Path, to: Path) -> Path:
    """A copy as the code before search has it."""
    store = use(copy(of, to), "off")
    with store.connection_context():
        store.execute_sql("PRAGMA secure_delete = 0")  # or it would take a minute
        store.alone(lambda: runner(store).down(MIGRATION))
    store.close_all()
    os.sync()
    return to


def _number_and_own(path: Path, users: int) -> None:
    """Number the changes by age, and give every second conversation to a user."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "UPDATE conversation SET changed = number, user_id = "
            "CASE WHEN number % 2 THEN 'user-' || (number / 2 % ?) END "
            "FROM (SELECT id AS numbered, row_number() OVER (ORDER BY id) AS number "
            "FROM conversation) WHERE id = numbered",
            [users],
        )


def _fingerprint() -> str:
    """A hash of all that decides what is in a file."""
    digest = hashlib.sha256()
    for source in (Path(__file__), *SOURCES, *sorted(DIRECTORY.glob("*.py"))):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]
