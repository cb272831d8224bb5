"""Tests what differs between a PostgreSQL server and a SQLite file."""

import random
import string
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from playhouse.schema_diff import diff_models

from app import app
from db import conversations, idempotency_keys, lists, messages
from db.clock import new_id
from db.engine.connect import store_at
from db.engine.database import database, transaction
from db.errors import Unavailable
from db.idempotency_keys import Claim
from db.messages import Draft
from db.models import MODELS
from db.scope import EVERYTHING
from db.settings import SettingsError, settings
from db.startup import open_store
from db.upkeep import schema

from .support.clients import Api, InProcess, assert_problem
from .support.clock import Clock
from .support.postgres import LOCALE
from .support.postgres import Server as PostgresServer
from .support.threads import at_once
from .support.world import PROJECT

engine = pytest.importorskip("db.engine.postgres")
PostgresStore = engine.PostgresStore

CONVERSATIONS = "/api/v1/conversations"
NOWHERE = "postgresql://confab:secret@127.0.0.1:1/confab"


@pytest.fixture(autouse=True)
def store(postgres_url: str, configure: Callable[..., None]) -> Iterator[PostgresStore]:
    configure(database_url=postgres_url)
    store = open_store(settings())
    yield store
    store.close_all()
    database.initialize(None)


@pytest.fixture
def reopen(store: PostgresStore, configure: Callable[..., None]) -> Iterator[Callable[[str], None]]:
    """`reopen(url)` makes the next request open another database, as in a new process."""

    def reopen(url: str) -> None:
        store.close_all()
        configure(database_url=url)
        database.initialize(None)

    yield reopen
    if database.obj is not None:
        database.obj.close_all()


def in_another_thread(verb: Callable[[], Any]) -> Any:
    def run() -> Any:
        try:
            return verb()
        finally:
            database.close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


@pytest.mark.system
def test_the_tests_sort_as_most_servers_do(store: PostgresStore):
    query = "SELECT datcollate FROM pg_database WHERE datname = current_database()"
    assert store.execute_sql(query).fetchall() == [(LOCALE,)]


# The URL


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://confab:secret@db.example/confab", "postgresql://db.example/confab"),
        ("postgres://confab:secret@db.example:6543/x", "postgresql://db.example:6543/x"),
        ("postgresql:///confab?password=secret", "postgresql://localhost/confab"),
    ],
)
def test_the_place_is_shown_without_the_password(url: str, place: str):
    assert store_at(url).place == place


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://",
        "postgresql://confab:secret@db.example",
        "postgresql://confab:secret@db.example/confab?journal_mode=wal",
        "postgresql://confab:secr%et@db.example/confab",
    ],
)
def test_a_url_that_libpq_cannot_read_is_refused_without_telling_the_password(url: str):
    with pytest.raises(SettingsError, match=r"^DATABASE_URL is not usable: [^\n]+\.$") as refused:
        store_at(url)
    assert "secr" not in str(refused.value)


def test_without_the_driver_the_error_names_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "db.engine.postgres", None)
    with pytest.raises(SettingsError, match=r"psycopg\[binary\]"):
        store_at(NOWHERE)


# The schema


def test_the_models_and_the_migrated_schema_are_the_same(store: PostgresStore):
    assert not diff_models(store, MODELS)


def test_a_server_is_migrated_only_by_command(
    postgres: PostgresServer,
    api: Api,
    reopen: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
):
    url = postgres.blank()
    reopen(url)
    assert_problem(api.get("/health"), 503, "unavailable")
    assert "run python -m db migrate" in caplog.text

    store = store_at(url)
    schema.migrate(store)
    store.close_all()
    assert api.get("/health").json["schema"] == schema.version(database.obj)


def test_only_one_of_several_concurrent_migrations_runs(postgres: PostgresServer):
    url = postgres.blank()

    def migrate() -> list[str]:
        store = store_at(url)
        try:
            return schema.migrate(store)
        finally:
            store.close_all()

    assert sorted(map(len, at_once(*[migrate] * 6)))[:5] == [0] * 5


# What an index of the server takes


def test_names_that_cannot_be_indexed_are_refused(api: Api):
    name = "".join(random.Random(7).choices(string.ascii_letters, k=6_000))
    path = f"/projects/{name}/conversations/{new_id()}/messages"
    answer = api.post(path, {"messages": [{"role": "user", "content": "Hi"}]})
    assert_problem(answer, 422, "invalid")
    assert "too long" in answer.json["errors"][0]["msg"]
    assert api.post(CONVERSATIONS, {"project_id": PROJECT}).status == 201
    assert api.get(f"/projects/{name}/conversations").json["data"] == []


# A server that is unreachable or busy


def test_a_server_that_does_not_answer_is_a_503(api: Api, reopen: Callable[[str], None]):
    reopen(NOWHERE)
    answer = api.post(CONVERSATIONS, {"project_id": PROJECT})
    assert "secret" not in assert_problem(answer, 503, "unavailable")["detail"]
    assert answer.headers["retry-after"] == "1"


def test_connections_that_died_in_the_pool_are_replaced(
    postgres: PostgresServer, postgres_url: str, api: Api
):
    assert api.get(CONVERSATIONS).status == 200
    postgres.execute(
        postgres_url,
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid != pg_backend_pid()",
    )
    assert api.get(CONVERSATIONS).status == 200


def test_a_connection_that_dies_in_a_verb_leaves_nothing_and_is_not_used_again():
    @transaction
    def verb() -> None:
        conversations.start(EVERYTHING, PROJECT)
        database.execute_sql("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(Unavailable):
        verb()
    database.close()
    assert lists.newest(EVERYTHING).rows == []


def test_a_write_that_waits_too_long_for_a_lock_is_a_503_and_leaves_nothing(
    postgres_url: str, api: Api, conversation_id: str, reopen: Callable[[str], None]
):
    reopen(f"{postgres_url}&options=-c%20lock_timeout%3D50ms")
    path = f"{CONVERSATIONS}/{conversation_id}"
    assert api.get(path).status == 200  # opens the store
    with database.atomic():
        conversations.lock(EVERYTHING, conversation_id)
        answer = in_another_thread(lambda: api.patch(path, {"title": "Too late"}))
        assert_problem(answer, 503, "unavailable")
    assert api.get(path).json["title"] is None


def test_more_threads_than_connections_wait_for_each_other(
    postgres_url: str,
    api: Api,
    reopen: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setitem(PostgresStore.POOL, "max_connections", 2)
    reopen(postgres_url)
    clients = [Api(InProcess(app), api.headers) for _ in range(8)]
    answers = at_once(
        *(lambda c=c: c.post(CONVERSATIONS, {"project_id": PROJECT}) for c in clients)
    )
    assert [answer.status for answer in answers] == [201] * 8


def test_a_pool_that_stays_busy_is_a_503(
    postgres_url: str,
    api: Api,
    reopen: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(PostgresStore, "POOL", {"max_connections": 1, "timeout": 0.05})
    reopen(postgres_url)
    assert api.get(CONVERSATIONS).status == 200
    with database.connection_context():
        answer = in_another_thread(lambda: api.get(CONVERSATIONS))
    assert_problem(answer, 503, "unavailable")


# Transactions that the server aborts


def break_off(state: str) -> None:
    database.execute_sql(f"DO $$ BEGIN RAISE 'broken off' USING ERRCODE = '{state}'; END $$")


@pytest.mark.parametrize("state", ["40001", "40P01"])
def test_a_transaction_that_the_server_aborts_is_run_again_as_a_whole(state: str):
    begun = []

    @transaction
    def verb() -> str:
        begun.append(conversations.start(EVERYTHING, PROJECT).id)
        if len(begun) < 3:
            break_off(state)
        return begun[-1]

    assert verb() == begun[2]
    assert [row.id for row in lists.newest(EVERYTHING).rows] == begun[2:]


def test_a_transaction_that_is_aborted_every_time_fails_in_the_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine, "PAUSES_SECONDS", [0, 0])
    begun = []

    @transaction
    def verb() -> None:
        begun.append(conversations.start(EVERYTHING, PROJECT))
        break_off("40001")

    with pytest.raises(Unavailable):
        verb()
    assert len(begun) == 3
    assert lists.newest(EVERYTHING).rows == []


def test_other_errors_are_not_run_again():
    begun = []

    @transaction
    def verb() -> None:
        begun.append(1)
        break_off("55P03")

    with pytest.raises(Unavailable):
        verb()
    assert begun == [1]


def test_two_transactions_that_deadlock_both_succeed():
    first, second = (conversations.start(EVERYTHING, PROJECT).id for _ in range(2))
    both_have_one, met = threading.Barrier(2), threading.Event()

    @transaction
    def append_to(*ids: str) -> None:
        for id in ids:
            messages.append(EVERYTHING, id, [Draft("user", "Hello")])
            if not met.is_set():
                both_have_one.wait()
                met.set()

    at_once(lambda: append_to(first, second), lambda: append_to(second, first))
    assert [len(messages.page_for(EVERYTHING, id).rows) for id in (first, second)] == [2, 2]


# Isolation


def test_a_snapshot_shows_one_state(store: PostgresStore, conversation_id: str):
    with store.snapshot():
        before = conversations.find(EVERYTHING, conversation_id)
        in_another_thread(lambda: conversations.change(EVERYTHING, conversation_id, title="New"))
        assert conversations.find(EVERYTHING, conversation_id) == before
    assert conversations.find(EVERYTHING, conversation_id).title == "New"


def test_a_snapshot_is_read_only(store: PostgresStore):
    with pytest.raises(Unavailable, match="read-only"), store.snapshot():
        conversations.start(EVERYTHING, PROJECT)


def test_sweeping_expired_keys_keeps_nobody_waiting(clock: Clock):
    for number in range(3):
        idempotency_keys.claim(Claim("caller", f"old {number}", "fingerprint"))
    clock.move(seconds=200_000)
    database.execute_sql("SET lock_timeout = '100ms'")

    def claim(key: str) -> None:
        assert idempotency_keys.claim(Claim("caller", key, "fingerprint")) is None

    with database.atomic():
        claim("new")
        in_another_thread(lambda: claim("another"))


def test_the_longest_user_id_and_key_fit_into_an_index(api: Api):
    user_id = "".join(map(chr, random.Random(1).choices(range(0x10000, 0x10FFFF), k=255)))
    key = "".join(random.Random(2).choices(string.printable[:94], k=255))
    headers = {"X-User-Id": user_id.encode().decode("latin-1"), "Idempotency-Key": key}
    answer = api.post(CONVERSATIONS, {"project_id": PROJECT}, headers=headers)
    assert answer.status == 201
    page = api.get(f"/projects/{PROJECT}/conversations", headers=headers).json
    assert [row["user_id"] for row in page["data"]] == [user_id]
