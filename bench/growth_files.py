"""The files of the growth measurement: made once, and kept between runs."""

import hashlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from db.upkeep.schema import DIRECTORY

from . import data
from .data import Batch, fill, ids, project

LARGE_PROJECT = project(1)  # has every second conversation; 19 others share the rest
PROJECTS = [each for number in range(2, 21) for each in (LARGE_PROJECT, project(number))]
USERS: list[str | None] = [f"user-{number}" for number in range(100)]
CREATED_PROJECT = project(99)
ARCHIVED_CONVERSATIONS = 100  # the oldest


def file_of(size: int, cache: Path) -> Path:
    """The file with that many conversations. A million take a few minutes the first time."""
    batch = Batch(PROJECTS, USERS, size, 10, archived=ARCHIVED_CONVERSATIONS)
    path = cache / f"{size}-{_fingerprint(batch)}.db"
    if not path.exists():
        for outdated in cache.glob(f"{size}-*"):
            outdated.unlink()
        unfinished = path.with_suffix(".part")
        fill(unfinished, batch)
        unfinished.rename(path)
        os.sync()
    _undo(path)
    return path


def _undo(path: Path) -> None:
    """Undo what an earlier run has created and archived."""
    first = ids(path, LARGE_PROJECT)[ARCHIVED_CONVERSATIONS]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM conversation WHERE project_id = ?", [CREATED_PROJECT])
        connection.execute(
            "UPDATE conversation SET is_archived = 0 "
            "WHERE project_id = ? AND id >= ? AND is_archived = 1",
            [LARGE_PROJECT, first],
        )


def _fingerprint(batch: Batch) -> str:
    """A hash of all that decides what is in a file."""
    digest = hashlib.sha256(repr(batch).encode())
    for source in (Path(data.__file__), *sorted(DIRECTORY.glob("*.py"))):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]
