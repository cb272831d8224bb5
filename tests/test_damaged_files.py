"""Tests that no text of a message or a title gets into the log when pages are damaged."""

import io
import random
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from peewee import IntegrityError

from app import app
from db import conversations, messages
from db.engine.database import database
from db.engine.sqlite import SqliteStore
from db.messages import Draft
from db.models import Conversation, Message
from db.scope import Scope
from db.settings import Settings
from db.startup import open_store
from handlers.http import logs
from handlers.http.logs import traceback_of

from .support.clients import Api, InProcess, assert_problem
from .support.world import PROJECT, ROUTES, World, request_for

SECRET = "Qzxj"  # all texts consist of it, so a part of one has it, too
SCOPE = Scope(PROJECT, "alice")
PAGE_BYTES = 4096


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the service logs during the test."""
    lines = io.StringIO()
    monkeypatch.setattr(logs._handler, "stream", lines)
    return lines


@pytest.fixture
def api(configure: Callable[..., None]) -> Api:
    """A client that does not compare the answers with the OpenAPI document."""
    configure(require_api_key="false")
    return Api(InProcess(app), {"X-User-Id": "alice"})


def secret(count: int) -> str:
    return SECRET * count


def fill() -> list[World]:
    """Conversations whose messages are text, parts with metadata, and in progress."""
    worlds = []
    for number in range(8):
        row = conversations.start(SCOPE, PROJECT, secret(5 + number))
        drafts = [
            Draft("user", secret(100)),
            Draft("user", [{"type": "text", "text": secret(90)}], metadata={SECRET: secret(9)}),
            Draft("assistant", secret(30), "in_progress"),
        ]
        *_, streaming = messages.append(SCOPE, row.id, drafts)
        worlds.append(World(PROJECT, row.id, streaming.id))
    return worlds


def damage(path: str, seed: int) -> None:
    """Overwrite bytes of the file, not of its first page, by random ones."""
    chance = random.Random(seed)
    content = bytearray(Path(path).read_bytes())
    for _ in range(chance.choice((3, 30, 300))):
        start = chance.randrange(PAGE_BYTES, len(content))
        for place in range(start, min(start + chance.choice((1, 4, 40)), len(content))):
            content[place] = chance.randrange(256)
    Path(path).write_bytes(content)


@pytest.mark.parametrize("seed", range(30))
def test_damaged_pages_reveal_nothing_to_the_log_or_in_problems(
    api: Api,
    store: SqliteStore,
    log: io.StringIO,
    configure: Callable[..., None],
    seed: int,
):
    worlds = fill()
    store.close_all()
    damage(store.place, seed)
    if seed % 2:  # every request finds a silent writer
        configure(stream_timeout=1e-6)
    for world in worlds[::3]:
        for route in ROUTES:
            answer = request_for(route, world).send(api)
            if answer.status >= 400:
                assert SECRET.encode() not in answer.body
                assert answer.status != 500 or b"internal" in answer.body
    with suppress(Exception):
        database.close()
    assert SECRET not in log.getvalue()


# Each is valid as far as SQLite sees it
DAMAGES = {
    "text that is not UTF-8": {"content": b"Qzxj\xff\xfe"},
    "parts that are no JSON": {"content": "[Qzxj", "content_type": "parts"},
    "metadata that is no JSON": {"metadata": "{Qzxj"},
    "an unknown role": {"role": "Qzxj"},
    "an unknown status": {"status": "Qzxj"},
    "content of another type": {"content": '{"Qzxj": 1}', "content_type": "parts"},
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_value_is_an_error_whose_line_has_no_value(
    api: Api, store: SqliteStore, log: io.StringIO, how: str
):
    (world,) = fill()[:1]
    for column, value in DAMAGES[how].items():
        is_bytes = isinstance(value, bytes)
        cast = "CAST(? AS TEXT)" if is_bytes else "?"
        store.execute_sql(
            f"UPDATE message SET {column} = {cast} WHERE conversation_id = ?",
            [value, world.conversation_id],
        )
    database.close()
    answer = api.get(f"/api/v1/conversations/{world.conversation_id}")
    if answer.status >= 400:
        assert answer.status in (500, 503)
        assert_problem(answer, answer.status, "internal" if answer.status == 500 else "unavailable")
        assert '"level": "ERROR"' in log.getvalue()
    assert SECRET not in log.getvalue()


def test_text_that_is_not_utf_8_is_logged_with_its_column(
    api: Api, store: SqliteStore, log: io.StringIO
):
    (world,) = fill()[:1]
    store.execute_sql("UPDATE message SET content = CAST(? AS TEXT)", [b"Qzxj\xff"])
    database.close()
    path = f"/api/v1/conversations/{world.conversation_id}/messages"
    assert_problem(api.get(path), 503, "unavailable")
    assert "Could not decode to UTF-8 column 'content'" in log.getvalue()
    assert SECRET not in log.getvalue()


def test_a_file_with_a_damaged_page_is_503_and_logged_by_the_name_of_the_error(
    api: Api, store: SqliteStore, log: io.StringIO
):
    (world,) = fill()[:1]
    page = store.execute_sql(
        "SELECT rootpage FROM sqlite_master WHERE name = 'message'"
    ).fetchone()[0]
    store.close_all()
    with Path(store.place).open("r+b") as file:
        file.seek((page - 1) * PAGE_BYTES)
        file.write(b"\xff" * PAGE_BYTES)
    path = f"/api/v1/conversations/{world.conversation_id}"
    assert_problem(api.get(path), 503, "unavailable")
    assert '"message": "SQLITE_CORRUPT: database disk image is malformed"' in log.getvalue()
    assert "exception" not in log.getvalue()


def test_a_stored_value_that_does_not_fit_its_model_is_not_quoted_in_a_warning(api: Api):
    (world,) = fill()[:1]
    Message.update(content='{"Qzxj": 1}', content_type="parts").execute()
    database.close()
    with warnings.catch_warnings(record=True) as told:
        warnings.resetwarnings()
        logs.configure("INFO")
        api.get(f"/api/v1/conversations/{world.conversation_id}")
    assert not [warning for warning in told if SECRET in str(warning.message)]


@pytest.mark.parametrize(
    "fail",
    [
        lambda: int("Qzxj"),
        lambda: {}["Qzxj"],
        b"Qzxj\xff".decode,
        lambda: Conversation.insert(id="Qzxj").execute(),
        lambda: Message.insert(id="Qzxj", content="Qzxj").execute(),
    ],
    ids=["int", "key", "UTF-8", "constraint", "constraint of a message"],
)
def test_the_traceback_of_an_error_that_quotes_a_value_has_its_class_only(
    fail: Callable[[], object],
):
    try:
        try:
            fail()
        except Exception as error:
            raise RuntimeError("ours") from error
    except RuntimeError as error:
        text = traceback_of(error)
        name = type(error.__cause__).__name__
    assert "RuntimeError: ours" in text
    assert name in text
    assert not [line for line in text.splitlines() if "Qzxj" in line and "lambda" not in line]


def test_a_constraint_of_postgresql_reveals_no_row(postgres_url: str, log: io.StringIO):
    """The server's text has the row that it refuses, and the driver's error has the text."""
    store = open_store(Settings(database_url=postgres_url))
    try:
        values = dict.fromkeys(Conversation._meta.sorted_field_names, secret(5))
        values |= {"is_archived": False, "version": None, "changed": 0, "indexed_version": 0}
        with pytest.raises(IntegrityError) as caught:
            Conversation.insert(values).execute()
        assert SECRET in str(caught.value)
        assert SECRET not in traceback_of(caught.value)
        assert "23502" in traceback_of(caught.value)
    finally:
        database.close()
        store.close_all()
