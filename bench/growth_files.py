"""The files of the measurements of growth and of side bars: made once, and kept between runs."""

import hashlib
import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

from db import messages
from db.messages import Draft
from db.scope import EVERYTHING
from db.upkeep.schema import DIRECTORY

from . import data
from .data import TEXTS, Batch, fill, ids, project, use

# It has every second conversation with messages; 1,000 others share the rest.
LARGE_PROJECT = project(1)
PROJECTS = [each for number in range(2, 1002) for each in (LARGE_PROJECT, project(number))]
USERS: list[str | None] = [f"user-{number}" for number in range(100)]
CREATED_PROJECT = project(2001)
# As many as the large project has, all of them archived but for a few old ones, and no messages.
ARCHIVED_PROJECT = project(2002)
NOT_ARCHIVED = 30
REVIVED_CONVERSATIONS = 100  # of all ages: the last ones in which somebody said something


def file_of(size: int, cache: Path) -> Path:
    """The file with that many conversations. A million take a few minutes the first time."""
    half = size // 2
    batches = (
        Batch([ARCHIVED_PROJECT], [None], half, 0, archived=range(NOT_ARCHIVED, half)),
        Batch(PROJECTS, USERS, size, 10, archived=range(half), is_marked=True),
    )
    path = cache / f"{size}-{_fingerprint(batches)}.db"
    if not path.exists():
        for outdated in cache.glob(f"{size}-*"):
            outdated.unlink()
        unfinished = path.with_suffix(".part")
        fill(unfinished, *batches)
        _revive(unfinished)
        _number_and_discard(unfinished)
        unfinished.rename(path)
        os.sync()
    _undo(path)
    return path


def kept_ids(path: Path) -> list[str]:
    """The ids of the large project's conversations that are not in the trash, oldest first."""
    with closing(sqlite3.connect(path)) as connection:
        query = (
            "SELECT id FROM conversation WHERE project_id = ? AND deleted_at IS NULL ORDER BY id"
        )
        return [id for (id,) in connection.execute(query, [LARGE_PROJECT])]


def _revive(path: Path) -> None:
    """Let old and new conversations stand beside each other in the lists by activity."""
    store = use(path, "off")
    for id in random.Random(1).sample(ids(path, LARGE_PROJECT), REVIVED_CONVERSATIONS):
        messages.append(EVERYTHING, id, [Draft("user", TEXTS[0])])
    store.close_all()


def _number_and_discard(path: Path) -> None:
    """Number the changes by activity, and put 2 % of the large project into the trash."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "UPDATE conversation SET changed = numbered.number FROM (SELECT id, row_number() OVER "
            "(ORDER BY activity) AS number FROM conversation) AS numbered "
            "WHERE numbered.id = conversation.id"
        )
        connection.execute(
            "UPDATE conversation SET deleted_at = updated_at "
            "WHERE project_id = ? AND substr(id, -2) < '05'",
            [LARGE_PROJECT],
        )
        connection.execute(
            "DELETE FROM tag WHERE conversation_id IN "
            "(SELECT id FROM conversation WHERE deleted_at IS NOT NULL)"
        )


def _undo(path: Path) -> None:
    """Undo what an earlier run has created and restored."""
    every = kept_ids(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM conversation WHERE project_id = ?", [CREATED_PROJECT])
        for table, id in (("conversation", "id"), ("tag", "conversation_id")):
            connection.execute(
                f"UPDATE {table} SET is_archived = 1 "
                f"WHERE project_id = ? AND {id} < ? AND is_archived = 0",
                [LARGE_PROJECT, every[len(every) // 2]],
            )


def _fingerprint(batches: tuple[Batch, ...]) -> str:
    """A hash of all that decides what is in a file."""
    digest = hashlib.sha256(repr(batches).encode())
    for source in (Path(data.__file__), Path(__file__), *sorted(DIRECTORY.glob("*.py"))):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]
