"""Events: what a follower of a conversation is told, however often it is cut off."""

import threading
import time
from collections.abc import Callable

import pytest
from playhouse.test_utils import assert_query_count

from db import feed, transcript
from db.conversation import Conversation
from db.database import database
from db.errors import ConversationNotFound
from db.message import Draft, Message
from db.scope import EVERYTHING
from handlers.http.caller import Caller
from handlers.http.preconditions import etag
from handlers.streams import FollowQuery, LastEventId, follow_conversation

from .clients import Api, assert_problem
from .conftest import PROJECT, Clock
from .readers import Reader, dispatched
from .test_streams import Writer

EVENTS = "/api/v1/conversations/{}/events"


class Follower(Reader):
    """A reader that asks the handler."""

    def __init__(self, conversation_id: str, last_event_id: int = 0) -> None:
        super().__init__(last_event_id)
        self.conversation_id = conversation_id

    def ask(self, wait: float = 0) -> bytes:
        return follow_conversation(
            Caller(EVERYTHING),
            self.conversation_id,
            FollowQuery(wait=wait),
            LastEventId(last_event_id=self.last_event_id),
        ).encode()

    def look(self) -> list[str]:
        """Ask once; the kinds of events that came."""
        return [event.event for event in self.receive(self.ask())]

    def catch_up(self) -> "Follower":
        while self.look():
            pass
        return self


def say(conversation_id: str, *contents: object) -> list[str]:
    drafts = [Draft("user", content) for content in contents]
    return [row.id for row in Message.append(EVERYTHING, conversation_id, drafts)]


def stored(conversation_id: str) -> dict[str, tuple[object, str]]:
    _, rows = transcript.read(EVERYTHING, conversation_id)
    return {row.id: (row.content, row.status) for row in rows}


@pytest.fixture
def reader(conversation_id: str) -> Follower:
    return Follower(conversation_id)


@pytest.fixture(params=[1, 2, 3, 7])
def narrow(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that end after a few rows, code points or pieces."""
    monkeypatch.setattr(feed, "BATCH", request.param)
    monkeypatch.setattr(feed, "PIECE", request.param)
    monkeypatch.setattr(feed, "BUDGET", 2 * request.param)


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
    # As it was opened; its times are those of now.
    assert first.data == {**read, "content": "", "status": "in_progress"}
    assert second == (
        9, "delta", {"message_id": answer.id, "offset": 0, "delta": "Hi 👋\n\r\u2028!"},
    )  # fmt: skip
    assert third == (
        10, "done", {"message_id": answer.id, "status": "completed", "length": 8},
    )  # fmt: skip
    assert delta.count("\n") == done.count("\n") == 2
    assert rest == ""


def test_a_change_of_the_conversation_is_told(reader: Follower):
    scope, id = EVERYTHING, reader.conversation_id
    Conversation.change(scope, id, title="One")
    Conversation.change(scope, id, title="Two", is_archived=True)
    assert reader.look() == ["conversation"]
    assert reader.conversation == {"id": id, "title": "Two", "is_archived": True}
    Conversation.change(scope, id, title="Three")
    assert reader.look() == ["conversation"]


def test_what_changes_nothing_is_not_told(reader: Follower):
    Conversation.change(EVERYTHING, reader.conversation_id, title="One")
    reader.catch_up()
    Conversation.change(EVERYTHING, reader.conversation_id, title="One")
    answer = Writer(reader.conversation_id)
    answer.append("Hello")
    reader.catch_up()
    answer.append("")
    answer.append_at(0, "Hello")
    answer.edit()
    assert reader.look() == []


def test_a_new_reader_is_told_what_still_matters(reader: Follower):
    first, second = say(reader.conversation_id, "first", "second")
    Message.edit(EVERYTHING, reader.conversation_id, first, content="FIRST")
    Message.edit(EVERYTHING, reader.conversation_id, first, metadata={"n": 1})
    Message.remove(EVERYTHING, reader.conversation_id, second)
    assert reader.look() == ["message", "deleted"]
    assert reader.texts == {first: ("FIRST", "completed")}


def test_a_reader_of_an_edited_message_is_told_it_whole(reader: Follower):
    answer = Writer(reader.conversation_id)
    answer.append("Hello, ")
    reader.catch_up()
    answer.append("world")
    answer.edit(content="Bye")
    answer.append_at(3, "!")
    assert reader.look() == ["message", "delta"]
    assert reader.texts == {answer.id: ("Bye!", "in_progress")}


def test_a_reader_of_a_deleted_message_is_told_so(reader: Follower):
    answer = Writer(reader.conversation_id)
    answer.append("Hello")
    reader.catch_up()
    answer.append(", world")
    Message.remove(EVERYTHING, reader.conversation_id, answer.id)
    assert reader.look() == ["deleted"]
    assert reader.texts == {}


@pytest.mark.parametrize("more", ["", ", world"])
def test_a_reader_of_a_reopened_message_is_told_of_that(reader: Follower, more: str):
    answer = Writer(reader.conversation_id)
    answer.append("Hello", "completed")
    other = Follower(reader.conversation_id).catch_up()
    answer.edit(status="in_progress")
    answer.append(more, "completed")
    for follower in (reader, other):
        follower.catch_up()
        assert follower.texts == {answer.id: ("Hello" + more, "completed")}


def test_a_message_that_was_reopened_and_went_silent_is_told_whole(reader: Follower, clock: Clock):
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
def test_from_anywhere_in_a_text_a_reader_gets_the_rest_of_it(conversation_id: str, is_done: bool):
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
        Message.edit(EVERYTHING, reader.conversation_id, id, metadata={})
    say(reader.conversation_id, *"ijklmnop")
    Message.remove(EVERYTHING, reader.conversation_id, ids[0])
    for id in ids[1:]:
        Message.edit(EVERYTHING, reader.conversation_id, id, content="edited")
    assert reader.catch_up().texts == stored(reader.conversation_id)


@pytest.mark.usefixtures("narrow")
def test_what_was_superseded_does_not_end_a_feed(reader: Follower):
    """A stretch with nothing left to tell, longer than a batch, with something after it."""
    ids = say(reader.conversation_id, *map(str, range(30)))
    for id in ids[:-1]:
        Message.edit(EVERYTHING, reader.conversation_id, id, content="edited")
    Conversation.change(EVERYTHING, reader.conversation_id, title="Title")
    assert reader.catch_up().texts == stored(reader.conversation_id)
    assert reader.conversation is not None


@pytest.mark.parametrize(
    "content", ["x" * 400, [{"type": "image", "data": "x" * 390}]], ids=["text", "parts"]
)
def test_an_answer_is_no_longer_than_its_budget(
    reader: Follower, monkeypatch: pytest.MonkeyPatch, content: object
):
    monkeypatch.setattr(feed, "BUDGET", 1000)
    say(reader.conversation_id, *[content] * 5, "x" * 2000, content)
    answers = []
    while kinds := reader.look():
        answers.append(len(kinds))
    assert answers == [2, 2, 1, 1, 1]


def test_a_budget_counts_metadata(reader: Follower, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(feed, "BUDGET", 1000)
    draft = Draft("user", "", metadata={"text": "x" * 600})
    Message.append(EVERYTHING, reader.conversation_id, [draft] * 3)
    assert reader.look() == ["message"]


def test_long_text_comes_in_pieces_that_count_each(reader: Follower):
    """A reader that is cut off gets the one piece again that was cut."""
    answer = Writer(reader.conversation_id)
    answer.append("x" * (3 * feed.PIECE))
    body = reader.ask()
    reader.receive(body[: len(body) // 2])
    assert reader.messages[answer.id]["content"] == "x" * feed.PIECE
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


def test_a_conversations_etag_is_where_its_reader_goes_on(api: Api, conversation_id: str):
    answer = Writer(conversation_id)
    answer.append("Hello")
    database.close()
    read = api.get(f"/api/v1/conversations/{conversation_id}")
    follower = Follower(conversation_id, int(read.headers["etag"].strip('"')))
    follower.messages = {message["id"]: message for message in read.json["messages"]}
    answer.append(", world", "completed")
    follower.catch_up()
    assert follower.texts == {answer.id: ("Hello, world", "completed")}
    version = Conversation.find(EVERYTHING, conversation_id).version
    assert follower.last_event_id == version
    assert etag(version) == f'"{version}"'


def test_a_reader_from_the_future_begins_at_the_beginning(conversation_id: str):
    """The database was restored from a backup."""
    (id,) = say(conversation_id, "Hello")
    told = feed.events_after(EVERYTHING, conversation_id, 1000)
    assert [(event.position, event.data.id) for event in told] == [(1, id)]


def test_a_waiting_reader_is_told_at_once(conversation_id: str):
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


def test_where_one_instance_serves_everybody_nobody_waits(
    conversation_id: str, configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
):
    configure(max_wait=0)
    monkeypatch.setattr(time, "sleep", pytest.fail)
    assert Follower(conversation_id).ask(wait=20) == b"retry: 500\n\n"


def test_a_reader_that_waits_learns_that_the_conversation_was_deleted(conversation_id: str):
    reader = Follower(conversation_id)
    timer = threading.Timer(0.2, Conversation.remove, (EVERYTHING, conversation_id))
    timer.start()
    with pytest.raises(ConversationNotFound):
        reader.ask(wait=20)
    timer.join()


def test_one_look_takes_as_many_queries_whatever_there_is_to_tell(reader: Follower):
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
