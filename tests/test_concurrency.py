"""Tests concurrent requests: no write is lost, doubled or out of order."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from app import app
from db import conversations, messages, streams
from db.clock import new_id
from db.engine.connect import Store
from db.engine.database import database
from db.errors import ConversationNotFound, OffsetConflict, StalePrecondition
from db.messages import Draft
from db.models import Conversation, Event, IdempotencyKey, Message, Stream
from db.scope import EVERYTHING
from db.settings import settings
from db.startup import open_store

from .support.clients import Api, InProcess
from .support.clock import Clock
from .support.followers import Follower, stored
from .support.processes import Server, append_messages, processes
from .support.threads import at_once
from .support.world import PROJECT
from .support.writer import Writer, events_left

CONVERSATIONS = "/api/v1/conversations"
HELLO = {"role": "user", "content": "Hello"}


@pytest.fixture
def streaming(conversation_id: str) -> Writer:
    writer = Writer(conversation_id)
    database.close()
    return writer


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> str:
    """Every test runs on both engines."""
    return request.param


@pytest.fixture(autouse=True)
def store(
    engine: str, configure: Callable[..., None], request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Store]:
    is_file = engine == "sqlite"
    url = f"sqlite:///{tmp_path}/confab.db" if is_file else request.getfixturevalue("postgres_url")
    configure(database_url=url)
    store = open_store(settings())
    yield store
    store.close_all()
    database.initialize(None)


@pytest.fixture(scope="module")
def servers(
    engine: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Server]]:
    """Four server processes on one database."""
    if engine == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('servers')}/confab.db"
    else:
        url = request.getfixturevalue("postgres").migrated()
    with ExitStack() as stack:
        started = [Server(url).start() for _ in range(4)]
        for server in started:
            stack.callback(server.kill)
        yield [server.wait() for server in started]


# How many messages each kind of request creates.
LEAVES = {"create": 0, "append": 1, "batch": 3, "chat": 2}


def request_of(kind: str, project_id: str, conversation_id: str) -> tuple[str, Any]:
    """Return the path and the body of a request."""
    messages = f"{CONVERSATIONS}/{conversation_id}/messages"
    return {
        "create": (CONVERSATIONS, {"project_id": project_id}),
        "append": (messages, HELLO),
        "batch": (messages, [HELLO] * 3),
        "chat": ("/api/v1/chat", {"conversation_id": conversation_id, "content": "Hello"}),
    }[kind]


def assert_one_effect(answers: list[tuple[int, bytes]]) -> None:
    """Assert that all answers are the same, except for 409s."""
    done = {answer for answer in answers if answer[0] != 409}
    assert len(done) == 1, answers
    assert done.pop()[0] in (200, 201)


@pytest.mark.parametrize("kind", LEAVES)
def test_twelve_copies_of_a_post_in_threads_have_one_effect(
    api: Api, conversation_id: str, kind: str
):
    path, body = request_of(kind, PROJECT, conversation_id)

    def send(client: Api) -> tuple[int, bytes]:
        answer = client.post(path, body, headers={"Idempotency-Key": "the same"})
        return answer.status, answer.body

    clients = [Api(InProcess(app), api.headers) for _ in range(12)]
    assert_one_effect(at_once(*(partial(send, client) for client in clients)))
    assert Message.select().count() == LEAVES[kind]
    assert Conversation.select().count() == (2 if kind == "create" else 1)
    assert IdempotencyKey.select().count() == 1


@pytest.mark.parametrize("kind", LEAVES)
def test_twelve_copies_of_a_post_to_four_processes_have_one_effect(
    servers: list[Server], kind: str
):
    project_id = new_id()
    with ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client(base_url=server.url)) for server in servers * 3]
        made = clients[0].post(CONVERSATIONS, json={"project_id": project_id}).json()
        path, body = request_of(kind, project_id, made["id"])

        def send(client: httpx.Client) -> tuple[int, bytes]:
            client.get("/health")  # opens the connection
            gate.wait()
            answer = client.post(path, json=body, headers={"Idempotency-Key": project_id})
            return answer.status_code, answer.content

        gate = threading.Barrier(len(clients))
        assert_one_effect(at_once(*(partial(send, client) for client in clients)))
        left = clients[0].get(CONVERSATIONS, params={"project_id": project_id}).json()
        assert left["total"] == (2 if kind == "create" else 1)
        assert sum(len(row["messages"]) for row in left["conversations"]) == LEAVES[kind]


# How many messages a request creates that names what it makes, by a client id or a key.
NAMED = {"append": 1, "batch": 3, "chat": 2, "by-key": 1}


def named_request(kind: str, project_id: str, conversation_id: str) -> tuple[str, str, Any]:
    """Return the method, the path and the body of a request."""
    if kind == "by-key":
        body = {"project_id": project_id, "tags": ["work"], "messages": [HELLO]}
        return "PUT", f"{CONVERSATIONS}/by-key/the same", body
    path, body = request_of(kind, project_id, conversation_id)
    if kind == "batch":
        return "POST", path, [{**HELLO, "client_id": str(number)} for number in range(3)]
    return "POST", path, {**body, "client_id": "the same"}


def assert_one_row(kind: str, answers: list[tuple[int, Any]]) -> None:
    """Assert that one request made it, and that all answer it."""
    statuses = sorted(status for status, _ in answers)
    if kind == "chat":  # it says 409 while the first one is being answered
        assert statuses == [200] * statuses.count(200) + [409] * statuses.count(409)
    else:
        assert statuses == [200] * (len(answers) - 1) + [201]
    first, *others = [body for status, body in answers if status != 409]
    assert others == [first] * len(others)


@pytest.mark.parametrize("kind", NAMED)
def test_twelve_threads_that_name_what_they_make_make_one(
    api: Api, conversation_id: str, kind: str
):
    method, path, body = named_request(kind, PROJECT, conversation_id)

    def send(client: Api) -> tuple[int, Any]:
        answer = client.request(method, quote(path), body)
        return answer.status, answer.json

    clients = [Api(InProcess(app), api.headers) for _ in range(12)]
    assert_one_row(kind, at_once(*(partial(send, client) for client in clients)))
    assert Message.select().count() == NAMED[kind]
    assert Conversation.select().count() == (2 if kind == "by-key" else 1)


@pytest.mark.parametrize("kind", NAMED)
def test_twelve_requests_to_four_processes_that_name_what_they_make_make_one(
    servers: list[Server], kind: str
):
    project_id = new_id()
    with ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client(base_url=server.url)) for server in servers * 3]
        made = clients[0].post(CONVERSATIONS, json={"project_id": project_id}).json()
        method, path, body = named_request(kind, project_id, made["id"])

        def send(client: httpx.Client) -> tuple[int, Any]:
            client.get("/health")  # opens the connection
            gate.wait()
            answer = client.request(method, path, json=body)
            return answer.status_code, answer.json()

        gate = threading.Barrier(len(clients))
        assert_one_row(kind, at_once(*(partial(send, client) for client in clients)))
        left = clients[0].get(CONVERSATIONS, params={"project_id": project_id}).json()
        assert left["total"] == (2 if kind == "by-key" else 1)
        assert sum(len(row["messages"]) for row in left["conversations"]) == NAMED[kind]


def assert_kept(conversation_id: str, written: dict[str, list[str]]) -> None:
    """Assert that all `written` messages are stored in each writer's order, with growing ids."""
    rows = messages.page_for(EVERYTHING, conversation_id, limit=10_000).rows
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))
    assert [row.id for row in rows] == sorted(row.id for row in rows)
    kept: dict[str, list[str]] = {name: [] for name in written}
    for row in rows:
        name, number = str(row.content).split(" ")
        assert len(kept[name]) == int(number)
        kept[name].append(row.id)
    assert kept == written


def test_eight_processes_append_to_one_conversation(conversation_id: str):
    append = partial(append_messages, settings().database_url, conversation_id, count=100)
    names = [f"writer-{number}" for number in range(8)]
    with processes(8) as pool:
        written = dict(zip(names, pool.map(append, names), strict=True))
    assert sum(map(len, written.values())) == 800
    assert_kept(conversation_id, written)
    conversation = conversations.find(EVERYTHING, conversation_id)
    assert conversation.version == 800
    assert conversation.last_message_id == max(id for ids in written.values() for id in ids)


def test_twelve_threads_append_to_one_conversation(conversation_id: str):
    def append(name: str) -> list[str]:
        ids = []
        for number in range(25):
            draft = Draft("user", f"{name} {number}")
            ids += [row.id for row in messages.append(EVERYTHING, conversation_id, [draft])]
        return ids

    names = [f"writer-{number}" for number in range(12)]
    written = at_once(*(partial(append, name) for name in names))
    assert_kept(conversation_id, dict(zip(names, written, strict=True)))


def test_batches_are_not_torn_apart(conversation_id: str):
    def append(name: str) -> None:
        for _ in range(5):
            drafts = [Draft("user", name)] * 10
            messages.append(EVERYTHING, conversation_id, drafts)

    at_once(*(partial(append, str(number)) for number in range(6)))
    names = [row.content for row in messages.page_for(EVERYTHING, conversation_id, limit=300).rows]
    assert len(names) == 300
    assert all(len(set(names[start : start + 10])) == 1 for start in range(0, 300, 10))


def test_of_two_changes_with_one_etag_one_is_refused(conversation_id: str):
    def rename(title: str) -> str | None:
        try:
            conversations.change(EVERYTHING, conversation_id, (0).__eq__, title=title)
        except StalePrecondition:
            return None
        return title

    titles = at_once(*(partial(rename, f"Title {number}") for number in range(12)))
    (title,) = filter(None, titles)
    assert conversations.find(EVERYTHING, conversation_id).title == title


def test_copies_of_a_piece_are_stored_once(streaming: Writer):
    for offset in range(0, 50, 5):
        progress = at_once(*[partial(streaming.append_at, offset, "Hello")] * 6)
        assert {row.length for row in progress} == {offset + 5}
    assert streaming.text == ("Hello" * 10, "in_progress")


def test_of_different_pieces_at_one_offset_one_is_stored(streaming: Writer):
    def append(delta: str) -> str | None:
        try:
            streaming.append_at(0, delta)
        except OffsetConflict:
            return None
        return delta

    (delta,) = filter(None, at_once(*(partial(append, letter * 3) for letter in "abcdef")))
    assert streaming.text == (delta, "in_progress")


def test_copies_of_the_last_piece_finish_once(streaming: Writer):
    progress = at_once(*[partial(streaming.append_at, 0, "Hello", "completed")] * 6)
    assert len(set(progress)) == 1
    assert events_left(streaming.conversation_id) == ["delta", "done"]


def test_many_readers_finish_a_silent_writers_message_once(streaming: Writer, clock: Clock):
    streaming.append("Hello")
    clock.move(seconds=61)
    database.close()
    assert set(at_once(*[lambda: streaming.text] * 8)) == {("Hello", "incomplete")}
    assert events_left(streaming.conversation_id) == ["delta", "done"]


@pytest.mark.usefixtures("no_trash")
def test_a_conversation_deleted_during_writes_leaves_no_rows(conversation_id: str):
    """Writers get ConversationNotFound, and no row is left behind."""

    def write() -> None:
        with suppress(ConversationNotFound):
            answer = Writer(conversation_id)
            while True:
                answer.append("Hello")

    def delete() -> None:
        while not Message.select().count():
            pass
        conversations.remove(EVERYTHING, conversation_id)

    at_once(write, write, delete, write)
    for table in (Message, Event, Stream):
        assert table.select().count() == 0


def test_readers_keep_up_with_writers_in_other_threads(conversation_id: str):
    """Six writers stream, edit and delete. Four readers see one consistent state at each look."""
    ended = threading.Event()

    def write(name: str) -> None:
        for round_ in range(6):
            answer = Writer(conversation_id, name)
            for number in range(10):
                answer.append(f"{number}" * number)
            if round_ % 3 == 0:
                answer.edit(metadata={"round": round_})
            answer.append("", "completed")
            if round_ % 3 == 1:
                answer.edit(status="in_progress")
                answer.append("!", "incomplete")
            elif round_ % 3 == 2:
                messages.remove(EVERYTHING, conversation_id, answer.id)

    def follow() -> Any:
        reader = Follower(conversation_id)
        while not ended.wait(0.005):
            reader.look()
        return reader.catch_up().texts

    def write_all() -> None:
        try:
            at_once(*(partial(write, name) for name in "ABCDEF"))
        finally:
            ended.set()

    _, *texts = at_once(write_all, *[follow] * 4)
    assert len(stored(conversation_id)) == 24
    assert texts == [stored(conversation_id)] * 4


def test_a_stream_is_finished_by_its_writer_or_by_its_reader(conversation_id: str, clock: Clock):
    """Both finish it at the same moment. The second one accepts the first one's result."""
    for _ in range(10):
        answer = Writer(conversation_id, "Hello")
        clock.move(seconds=61)
        database.close()
        at_once(
            partial(streams.finish_silent, conversation_id),
            lambda answer=answer: answer.edit(content="Bye", status="completed"),
            lambda answer=answer: answer.text,
        )
        assert answer.text == ("Bye", "completed")
        assert Stream.select().count() == 0
