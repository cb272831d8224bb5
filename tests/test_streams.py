"""Tests streams: messages that a writer appends to and may abandon at any moment."""

from collections.abc import Callable
from pathlib import Path

import pytest

from db import conversations, messages, streams
from db.engine.database import database
from db.engine.sqlite import SqliteStore
from db.errors import MessageNotFound, OffsetConflict, StreamFinished
from db.messages import Draft
from db.models import Event, Stream
from db.scope import EVERYTHING

from .support.clients import Api, assert_problem
from .support.clock import Clock
from .support.world import dump, make_world
from .support.writer import Writer, events_left

MESSAGE = "/api/v1/conversations/{}/messages/{}"


@pytest.fixture
def answer(conversation_id: str) -> Writer:
    return Writer(conversation_id)


def test_a_message_is_written_piece_by_piece_over_http(api: Api, conversation_id: str):
    draft = {"role": "assistant", "content": "", "status": "in_progress"}
    made = api.post(f"/api/v1/conversations/{conversation_id}/messages", draft).json
    path = MESSAGE.format(conversation_id, made["id"])
    first = api.post(f"{path}/append", {"offset": 0, "delta": "Hel"}).json
    assert list(first) == ["id", "status", "length", "updated_at"]
    assert (first["id"], first["status"], first["length"]) == (made["id"], "in_progress", 3)
    assert api.get(path).json["content"] == "Hel"
    last = api.post(f"{path}/append", {"offset": 3, "delta": "lo", "status": "completed"}).json
    assert (last["status"], last["length"]) == ("completed", 5)
    read = api.get(path).json
    assert (read["content"], read["status"]) == ("Hello", "completed")
    assert read["updated_at"] == last["updated_at"]


def test_streamed_text_is_visible_wherever_the_message_is_read(answer: Writer):
    answer.append("Hel")
    answer.append("lo")
    page = messages.page_for(EVERYTHING, answer.conversation_id)
    assert [row.content for row in page.rows] == ["Hello"]
    assert answer.text == ("Hello", "in_progress")


def test_a_stream_continues_after_the_text_it_was_opened_with(conversation_id: str):
    answer = Writer(conversation_id, "Once upon ")
    answer.append("a time", "completed")
    assert answer.text == ("Once upon a time", "completed")


def test_offsets_count_code_points(answer: Writer):
    family = "👨‍👩‍👧"  # three astral characters and two joiners
    assert answer.append(family).length == 5
    answer.append_at(5, "é\U0001f600")
    assert answer.append_at(7, "!").length == 8
    assert answer.text == (family + "é\U0001f600!", "in_progress")


@pytest.mark.parametrize(("offset", "delta"), [(0, "Hel"), (3, "lo"), (0, "Hello"), (1, "ell")])
def test_a_retry_is_answered_and_stored_once(answer: Writer, offset: int, delta: str):
    answer.append("Hel")
    last = answer.append("lo")
    version = conversations.find(EVERYTHING, answer.conversation_id).version
    assert answer.append_at(offset, delta) == last
    assert answer.text == ("Hello", "in_progress")
    assert conversations.find(EVERYTHING, answer.conversation_id).version == version


@pytest.mark.parametrize(
    ("offset", "delta"),
    [
        (6, "gap"),
        (7, ""),
        (0, "other"),
        (4, "other"),
        (3, "lo and more"),
        (0, "Hello!"),
    ],
)
def test_a_gap_or_another_text_is_a_conflict_that_tells_the_length(
    answer: Writer, offset: int, delta: str
):
    answer.append("Hello")
    with pytest.raises(OffsetConflict) as conflict:
        answer.append_at(offset, delta)
    assert conflict.value.extra == {"length": 5}
    assert answer.text == ("Hello", "in_progress")


def test_an_offset_conflict_is_a_409_with_the_length(api: Api, answer: Writer):
    path = MESSAGE.format(answer.conversation_id, answer.id)
    database.close()
    problem = assert_problem(
        api.post(f"{path}/append", {"offset": 9, "delta": "?"}), 409, "offset-conflict"
    )
    assert problem["length"] == 0


@pytest.mark.parametrize(
    "body",
    [
        {"offset": -1, "delta": "x"},
        {"offset": "0", "delta": None},
        {"offset": 0},
        {"delta": "x"},
        {"offset": 0, "delta": "nul \0"},
        {"offset": 0, "delta": "x", "status": "done"},
        {"offset": 1.5, "delta": "x"},
        {"offset": 2**53, "delta": "x"},
        {"offset": 0, "delta": "x", "length": 1},
    ],
)
def test_an_append_that_is_invalid_is_refused(api: Api, answer: Writer, body: object):
    path = MESSAGE.format(answer.conversation_id, answer.id)
    database.close()
    assert_problem(api.post(f"{path}/append", body), 422, "invalid")
    assert answer.text == ("", "in_progress")


@pytest.mark.parametrize("status", ["completed", "incomplete"])
def test_the_last_append_can_be_repeated(answer: Writer, status: str):
    answer.append("Hel")
    last = answer.append("lo", status)
    assert answer.append_at(3, "lo", status) == last
    assert answer.append_at(3, "lo") == last
    assert answer.append_at(0, "Hel") == last
    assert answer.append_at(5, "", status) == last
    assert answer.text == ("Hello", status)


def test_a_piece_that_was_stored_can_be_repeated_with_a_final_status(answer: Writer):
    answer.append("Hel")
    answer.append("lo")
    assert answer.append_at(3, "lo", "completed").length == 5
    assert answer.text == ("Hello", "completed")


def test_a_stream_is_not_finished_before_its_end(answer: Writer):
    answer.append("Hello")
    with pytest.raises(OffsetConflict):
        answer.append_at(0, "Hel", "completed")
    assert answer.text == ("Hello", "in_progress")


@pytest.mark.parametrize(
    ("offset", "delta", "status"),
    [(5, "!", None), (0, "Jello", None), (6, "", None), (3, "lo", "incomplete")],
)
def test_a_finished_message_takes_nothing_more(
    answer: Writer, offset: int, delta: str, status: str | None
):
    answer.append("Hello", "completed")
    with pytest.raises(StreamFinished) as conflict:
        answer.append_at(offset, delta, status)
    assert conflict.value.extra["length"] == 5
    assert answer.text == ("Hello", "completed")


def test_a_message_that_never_streamed_takes_nothing(conversation_id: str):
    (row,) = messages.append(EVERYTHING, conversation_id, [Draft("user", [{"type": "x"}])])
    with pytest.raises(StreamFinished):
        streams.append(EVERYTHING, conversation_id, row.id, 0, "x")


def test_an_empty_delta_finishes_a_stream(answer: Writer):
    answer.append("Hello")
    assert answer.append("", "completed").length == 5
    assert answer.text == ("Hello", "completed")


def test_streams_of_one_conversation_do_not_mix(conversation_id: str):
    first, second = Writer(conversation_id, "1:"), Writer(conversation_id, "2:")
    for letter in "abcdef":
        first.append(letter)
        second.append(letter.upper())
    assert first.text == ("1:abcdef", "in_progress")
    first.append("", "completed")
    second.append("!")
    assert (first.text, second.text) == (("1:abcdef", "completed"), ("2:ABCDEF!", "in_progress"))


def test_a_silent_writers_message_reads_as_incomplete(answer: Writer, clock: Clock):
    answer.append("Hel")
    spoke_at = answer.append("lo").updated_at
    clock.move(seconds=59)
    assert answer.text == ("Hello", "in_progress")
    clock.move(seconds=2)
    page = messages.page_for(EVERYTHING, answer.conversation_id)
    assert [(row.content, row.status) for row in page.rows] == [("Hello", "incomplete")]
    assert answer.message.updated_at == spoke_at


def test_the_allowed_silence_is_a_setting(
    answer: Writer, clock: Clock, configure: Callable[..., None]
):
    configure(stream_timeout=5)
    clock.move(seconds=6)
    assert answer.text == ("", "incomplete")


def test_an_empty_delta_is_a_sign_of_life(answer: Writer, clock: Clock):
    for _ in range(3):
        clock.move(seconds=50)
        answer.append("")
    assert answer.text == ("", "in_progress")


def test_a_sign_of_life_changes_updated_at_and_the_etag(answer: Writer, api: Api, clock: Clock):
    path = f"/api/v1/conversations/{answer.conversation_id}"
    database.close()
    before = api.get(path)
    clock.move(seconds=1)
    answer.append("")
    database.close()
    after = api.get(path, headers={"If-None-Match": before.headers["etag"]})
    assert after.json["updated_at"] > before.json["updated_at"]
    assert after.headers["etag"] != before.headers["etag"]


def test_a_writer_that_comes_back_too_late_gets_a_conflict(answer: Writer, clock: Clock):
    answer.append("Hel")
    last = answer.append("lo")
    clock.move(seconds=61)
    with pytest.raises(StreamFinished) as conflict:
        answer.append("!")
    assert conflict.value.extra == {"length": 5, "message_status": "incomplete"}
    assert answer.append_at(3, "lo") == last._replace(status="incomplete")
    assert answer.text == ("Hello", "incomplete")
    assert answer.append_at(3, "lo") == last._replace(status="incomplete")


def test_a_writer_that_comes_back_too_late_can_reopen_its_message(answer: Writer, clock: Clock):
    answer.append("Hel")
    clock.move(seconds=61)
    answer.edit(status="in_progress")
    answer.append("lo", "completed")
    assert answer.text == ("Hello", "completed")


def test_a_clock_that_goes_back_makes_no_writer_silent(answer: Writer, clock: Clock):
    first = answer.append("Hel")
    clock.move(seconds=-3600)
    second = answer.append("lo")
    assert second.updated_at >= first.updated_at
    assert answer.text == ("Hello", "in_progress")


@pytest.mark.parametrize("status", ["completed", "incomplete"])
def test_a_finished_message_can_be_reopened(answer: Writer, status: str):
    answer.append("Hello", status)
    assert answer.edit(status="in_progress").content == "Hello"
    answer.append(", world", "completed")
    assert answer.text == ("Hello, world", "completed")


def test_an_edit_in_mid_stream_keeps_what_it_does_not_change(answer: Writer):
    answer.append("Hel")
    assert answer.edit(metadata={"n": 1}).content == "Hel"
    answer.append("lo", "completed")
    assert answer.text == ("Hello", "completed")
    assert answer.message.metadata == {"n": 1}


def test_new_content_in_mid_stream_moves_its_end(answer: Writer):
    answer.append("Hello")
    answer.edit(content="Bye")
    with pytest.raises(OffsetConflict) as conflict:
        answer.append(", world")
    assert conflict.value.extra == {"length": 3}
    answer.append_at(3, "!", "completed")
    assert answer.text == ("Bye!", "completed")


def test_an_edit_can_stop_a_writer(answer: Writer):
    answer.append("Hello")
    answer.edit(status="completed")
    with pytest.raises(StreamFinished):
        answer.append(", world")
    assert answer.text == ("Hello", "completed")


def test_a_message_that_is_deleted_in_mid_stream_is_gone(answer: Writer):
    answer.append("Hello")
    messages.remove(EVERYTHING, answer.conversation_id, answer.id)
    with pytest.raises(MessageNotFound):
        answer.append(", world")
    assert Stream.select().count() == 0
    assert events_left(answer.conversation_id) == ["deleted"]


def test_pieces_are_joined_when_the_message_is_done(conversation_id: str):
    answer = Writer(conversation_id)
    for letter in "Hello":
        answer.append(letter)
    assert events_left(conversation_id) == ["delta"] * 5
    messages.append(EVERYTHING, conversation_id, [Draft("user", "Stop")])
    answer.append("!", "incomplete")
    # One delta before the other message, and one after it.
    assert events_left(conversation_id) == ["delta", "delta", "done"]
    assert Event.select().where(Event.text.is_null(False)).count() == 0


def test_a_silent_writers_message_is_finished_once(
    answer: Writer, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    """Two readers find the writer silent, and both try to finish its message."""
    answer.append("Hello")
    clock.move(seconds=61)
    with pytest.raises(streams.SilentWriter):
        streams.refuse_silent(answer.conversation_id)
    streams.finish_silent(answer.conversation_id)
    streams.finish_silent(answer.conversation_id)
    assert events_left(answer.conversation_id) == ["delta", "done"]


def test_a_silent_writer_may_append_between_the_check_and_the_lock(answer: Writer, clock: Clock):
    answer.append("Hello")
    clock.move(seconds=61)
    with pytest.raises(streams.SilentWriter):
        streams.refuse_silent(answer.conversation_id)
    clock.move(seconds=-61)
    answer.append("!")
    streams.finish_silent(answer.conversation_id)
    assert answer.text == ("Hello!", "in_progress")


def test_a_conversation_may_be_deleted_between_the_check_and_the_lock(conversation_id: str):
    conversations.remove(EVERYTHING, conversation_id)
    streams.finish_silent(conversation_id)
    assert Event.select().count() == 0


def test_an_append_costs_the_same_after_a_megabyte(store: SqliteStore, answer: Writer):
    """The cost is the bytes in the write-ahead log, and the growth of the file at a checkpoint."""
    piece = "A quick brown fox. " * 21  # 399 characters

    def bytes_for(appends: int) -> int:
        store.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        before = size("")
        for _ in range(appends):
            answer.append(piece)
        logged = size("-wal")
        store.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return logged + size("") - before

    def size(suffix: str) -> int:
        return Path(store.place + suffix).stat().st_size

    assert bytes_for(100) / 100 < 20_000
    answer.append("x" * 1_000_000)
    assert bytes_for(100) / 100 < 20_000


def test_a_strangers_look_at_a_silent_writers_message_writes_nothing(
    api: Api, strangers_key: str, clock: Clock
):
    world = make_world(user_id="alice")
    clock.move(seconds=61)
    before = dump()
    path = f"/api/v1/conversations/{world.conversation_id}"
    message = f"{path}/messages/{world.message_id}"
    for stranger in ({"X-API-Key": strangers_key}, {"X-User-Id": "bob"}):
        for place in (path, f"{path}/messages", message, f"{path}/events"):
            assert_problem(api.get(place, headers=stranger), 404, "conversation-not-found")
        for method, place, body in (
            ("PATCH", path, {"title": "Mine"}),
            ("PATCH", message, {"content": "Mine"}),
            ("POST", f"{message}/append", {"offset": 0, "delta": "Mine"}),
        ):
            answer = api.request(method, place, body, headers=stranger)
            assert_problem(answer, 404, "conversation-not-found")
        assert api.get("/api/v1/conversations", headers=stranger).json["total"] == 0
    assert dump() == before
    assert b"event: done" in api.get(f"{path}/events").body
