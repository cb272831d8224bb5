"""Tests `/events`: what a reader of a conversation receives, also after it was cut off."""

import threading
import time
from collections.abc import Callable

import pytest
from playhouse.test_utils import assert_query_count

from db import conversations, events, messages
from db.engine.database import database
from db.errors import ConversationNotFound
from db.messages import Draft
from db.scope import EVERYTHING
from handlers.http.preconditions import etag

from .support.clients import Api, assert_problem
from .support.clock import Clock
from .support.followers import Follower, say, stored
from .support.readers import dispatched
from .support.world import PROJECT
from .support.writer import Writer

EVENTS = "/api/v1/conversations/{}/events"


@pytest.fixture
def reader(conversation_id: str) -> Follower:
    return Follower(conversation_id)


@pytest.fixture(params=[1, 2, 3, 7])
def narrow(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make answers end after a few rows, code points or pieces."""
    monkeypatch.setattr(events, "BATCH_ROWS", request.param)
    monkeypatch.setattr(events, "PIECE_CODE_POINTS", request.param)
    monkeypatch.setattr(events, "BATCH_CODE_POINTS", 2 * request.param)


def test_events_have_the_documented_form(api: Api, conversation_id: str):
    answer = Writer(conversation_id)
    answer.append("Hi 👋\n\r\u2028")
    answer.append("!", "completed")
    database.close()
    told = api.get(EVENTS.format(conversation_id))
    assert told.status == 200
    assert told.headers["content-type"] == "text/event-stream"
    retry, message, delta, done, rest = told.body.decode().split("\n\n")
    assert retry == "retry: 500"
    assert message.startswith("id: 1\nevent: message\ndata: {")
    read = api.get(f"/api/v1/conversations/{conversation_id}/messages/{answer.id}").json
    first, second, third = dispatched(told.body)
    # The message as it was opened, but with its present times.
    assert first.data == {**read, "content": "", "status": "in_progress"}
    assert second == (
        9, "delta", {"message_id": answer.id, "offset": 0, "delta": "Hi 👋\n\r\u2028!"},
    )  # fmt: skip
    assert third == (
        10, "done", {"message_id": answer.id, "status": "completed", "length": 8},
    )  # fmt: skip
    assert delta.count("\n") == done.count("\n") == 2
    assert rest == ""


def test_a_change_of_the_conversation_is_an_event(reader: Follower):
    scope, id = EVERYTHING, reader.conversation_id
    conversations.change(scope, id, title="One")
    conversations.change(scope, id, title="Two", is_archived=True)
    assert reader.look() == ["conversation"]
    assert reader.conversation == {
        "id": id,
        "title": "Two",
        "is_archived": True,
        "is_pinned": False,
        "tags": [],
        "last_message_id": None,
    }
    conversations.change(scope, id, title="Three", is_pinned=True, tags=["b", "a"])
    assert reader.look() == ["conversation"]
    assert (reader.conversation["is_pinned"], reader.conversation["tags"]) == (True, ["b", "a"])


def test_a_request_that_changes_nothing_makes_no_event(reader: Follower):
    conversations.change(EVERYTHING, reader.conversation_id, title="One")
    reader.catch_up()
    conversations.change(EVERYTHING, reader.conversation_id, title="One")
    answer = Writer(reader.conversation_id)
    answer.append("Hello")
    reader.catch_up()
    answer.append("")
    answer.append_at(0, "Hello")
    answer.edit()
    assert reader.look() == []


def test_a_new_reader_receives_only_what_still_matters(reader: Follower):
    first, second = say(reader.conversation_id, "first", "second")
    messages.edit(EVERYTHING, reader.conversation_id, first, content="FIRST")
    messages.edit(EVERYTHING, reader.conversation_id, first, metadata={"n": 1})
    messages.remove(EVERYTHING, reader.conversation_id, second)
    assert reader.look() == ["message", "deleted"]
    assert reader.texts == {first: ("FIRST", "completed")}


def test_a_reader_of_an_edited_message_receives_it_whole(reader: Follower):
    answer = Writer(reader.conversation_id)
    answer.append("Hello, ")
    reader.catch_up()
    answer.append("world")
    answer.edit(content="Bye")
    answer.append_at(3, "!")
    assert reader.look() == ["message", "delta"]
    assert reader.texts == {answer.id: ("Bye!", "in_progress")}


def test_a_reader_of_a_deleted_message_receives_its_deletion(reader: Follower):
    answer = Writer(reader.conversation_id)
    answer.append("Hello")
    reader.catch_up()
    answer.append(", world")
    messages.remove(EVERYTHING, reader.conversation_id, answer.id)
    assert reader.look() == ["deleted"]
    assert reader.texts == {}


@pytest.mark.parametrize("more", ["", ", world"])
def test_a_reader_of_a_reopened_message_receives_its_new_text(reader: Follower, more: str):
    answer = Writer(reader.conversation_id)
    answer.append("Hello", "completed")
    other = Follower(reader.conversation_id).catch_up()
    answer.edit(status="in_progress")
    answer.append(more, "completed")
    for follower in (reader, other):
        follower.catch_up()
        assert follower.texts == {answer.id: ("Hello" + more, "completed")}


def test_a_message_that_was_reopened_and_went_silent_is_received_whole(
    reader: Follower, clock: Clock
):
    answer = Writer(reader.conversation_id)
    answer.append("Hello", "completed")
    answer.edit(status="in_progress")
    answer.append("!")
    clock.move(seconds=61)
    reader.catch_up()
    assert reader.texts == {answer.id: ("Hello!", "incomplete")}


def test_a_reader_finds_out_that_a_writer_went_silent(reader: Follower, clock: Clock):
    answer = Writer(reader.conversation_id)
    answer.append("Hello")
    reader.catch_up()
    clock.move(seconds=61)
    assert reader.look() == ["done"]
    assert reader.texts == {answer.id: ("Hello", "incomplete")}


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("is_done", [False, True])
def test_a_reader_receives_the_rest_of_a_text_from_any_offset(conversation_id: str, is_done: bool):
    text = "The 🦊 jumps"
    answer = Writer(conversation_id, "🦊")
    for letter in text:
        answer.append(letter)
    if is_done:
        answer.append("", "completed")
    for seen in range(len(text) + 1):
        reader = Follower(conversation_id, last_event_id=1 + seen)
        reader.messages[answer.id] = {"content": "🦊" + text[:seen], "status": "in_progress"}
        reader.catch_up()
        assert reader.texts == {answer.id: answer.text}


@pytest.mark.usefixtures("narrow")
def test_streams_that_alternate_are_told_apart(reader: Follower):
    live = Follower(reader.conversation_id)
    writers = [Writer(reader.conversation_id, name) for name in "AB"]
    for number in range(20):
        writers[number % 2].append(str(number) * (number % 5 + 1))
        if number % 3 == 0:
            say(reader.conversation_id, f"message {number}")
        if number % 4 == 0:
            live.look()
    writers[0].append("", "completed")
    for follower in (live, reader):
        assert follower.catch_up().texts == stored(reader.conversation_id)


@pytest.mark.usefixtures("narrow")
def test_a_batch_has_no_gap_where_one_of_its_lists_ends(reader: Follower):
    """Messages and changes are read as two lists, each with its own end."""
    ids = say(reader.conversation_id, *"abcdefgh")
    for id in ids[1::2]:
        messages.edit(EVERYTHING, reader.conversation_id, id, metadata={})
    say(reader.conversation_id, *"ijklmnop")
    messages.remove(EVERYTHING, reader.conversation_id, ids[0])
    for id in ids[1:]:
        messages.edit(EVERYTHING, reader.conversation_id, id, content="edited")
    assert reader.catch_up().texts == stored(reader.conversation_id)


@pytest.mark.usefixtures("narrow")
def test_superseded_events_do_not_look_like_the_end(reader: Follower):
    """More superseded events than a batch holds come before one that still matters."""
    ids = say(reader.conversation_id, *map(str, range(30)))
    for id in ids[:-1]:
        messages.edit(EVERYTHING, reader.conversation_id, id, content="edited")
    conversations.change(EVERYTHING, reader.conversation_id, title="Title")
    assert reader.catch_up().texts == stored(reader.conversation_id)
    assert reader.conversation is not None


@pytest.mark.parametrize(
    "content", ["x" * 400, [{"type": "image", "data": "x" * 390}]], ids=["text", "parts"]
)
def test_an_answer_is_no_longer_than_its_budget(
    reader: Follower, monkeypatch: pytest.MonkeyPatch, content: object
):
    monkeypatch.setattr(events, "BATCH_CODE_POINTS", 1000)
    say(reader.conversation_id, *[content] * 5, "x" * 2000, content)
    answers = []
    while kinds := reader.look():
        answers.append(len(kinds))
    assert answers == [2, 2, 1, 1, 1]


def test_a_budget_counts_metadata(reader: Follower, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(events, "BATCH_CODE_POINTS", 1000)
    draft = Draft("user", "", metadata={"text": "x" * 600})
    messages.append(EVERYTHING, reader.conversation_id, [draft] * 3)
    assert reader.look() == ["message"]


def test_long_text_comes_in_separate_pieces(reader: Follower):
    """A reader that is cut off receives only the cut piece again."""
    answer = Writer(reader.conversation_id)
    answer.append("x" * (3 * events.PIECE_CODE_POINTS))
    body = reader.ask()
    reader.receive(body[: len(body) // 2])
    assert reader.messages[answer.id]["content"] == "x" * events.PIECE_CODE_POINTS
    reader.catch_up()
    assert reader.texts == {answer.id: answer.text}


def test_a_reader_of_a_live_stream_gets_each_byte_once(reader: Follower):
    answer = Writer(reader.conversation_id)
    piece = "Größe 𝄞 " * 50
    received = looks = 0
    for _ in range(100):
        answer.append(piece)
        body = reader.ask()
        received += len(body)
        looks += len(reader.receive(body))
    assert reader.texts == {answer.id: (piece * 100, "in_progress")}
    assert received <= 1.5 * len((piece * 100).encode()) + 300 * looks


def test_a_reader_can_start_from_a_conversations_etag(api: Api, conversation_id: str):
    answer = Writer(conversation_id)
    answer.append("Hello")
    database.close()
    read = api.get(f"/api/v1/conversations/{conversation_id}")
    follower = Follower(conversation_id, int(read.headers["etag"].strip('"')))
    follower.messages = {message["id"]: message for message in read.json["messages"]}
    answer.append(", world", "completed")
    follower.catch_up()
    assert follower.texts == {answer.id: ("Hello, world", "completed")}
    version = conversations.find(EVERYTHING, conversation_id).version
    assert follower.last_event_id == version
    assert etag(version) == f'"{version}"'


def test_a_reader_with_an_id_from_the_future_starts_again(conversation_id: str):
    """This happens after the database was restored from a backup."""
    (id,) = say(conversation_id, "Hello")
    told = events.after(EVERYTHING, conversation_id, 1000)
    assert [(event.position, event.data.id) for event in told] == [(1, id)]


def test_a_waiting_reader_receives_an_event_at_once(conversation_id: str):
    reader = Follower(conversation_id)
    answer = Writer(conversation_id)
    reader.catch_up()
    waiting = threading.Event()
    kinds: list[str] = []

    def wait() -> None:
        waiting.set()
        kinds.extend(event.event for event in reader.receive(reader.ask(wait=20)))
        database.close()

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.wait()
    answer.append("Hello")
    thread.join(timeout=10)
    assert kinds == ["delta"]


def test_a_reader_waits_no_longer_than_it_said(conversation_id: str):
    assert Follower(conversation_id).ask(wait=0.2) == b"retry: 500\n\n"


def test_no_reader_waits_if_max_wait_is_0(
    conversation_id: str, configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
):
    configure(max_wait=0)
    monkeypatch.setattr(time, "sleep", pytest.fail)
    assert Follower(conversation_id).ask(wait=20) == b"retry: 500\n\n"


def test_a_reader_that_waits_learns_that_the_conversation_was_deleted(conversation_id: str):
    reader = Follower(conversation_id)
    timer = threading.Timer(0.2, conversations.remove, (EVERYTHING, conversation_id))
    timer.start()
    with pytest.raises(ConversationNotFound):
        reader.ask(wait=20)
    timer.join()


def test_one_look_takes_at_most_four_queries(reader: Follower):
    say(reader.conversation_id, *map(str, range(50)))
    with assert_query_count(4):  # the conversation, its streams, its messages, its changes
        reader.look()
    with assert_query_count(2):
        assert reader.look() == []


@pytest.mark.parametrize("last", ["", "x", "-1", "1.5", str(2**63)])
def test_a_last_event_id_that_was_never_given_out_is_refused(
    api: Api, conversation_id: str, last: str
):
    headers = {"Last-Event-ID": last}
    answer = api.get(EVENTS.format(conversation_id), headers=headers)
    assert_problem(answer, 422, "invalid")


@pytest.mark.parametrize("query", [{"wait": -1}, {"wait": 21}, {"wait": "nan"}, {"after": 1}])
def test_a_wait_that_is_invalid_is_refused(
    api: Api, conversation_id: str, query: dict[str, object]
):
    assert_problem(api.get(EVENTS.format(conversation_id), **query), 422, "invalid")


def test_events_of_an_unknown_conversation_are_a_404(api: Api):
    assert_problem(api.get(EVENTS.format(PROJECT)), 404, "conversation-not-found")
