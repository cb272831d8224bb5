"""Tests transactions: each has one time, and a nested one belongs to the outer one."""

from itertools import count

import peewee
import pytest

from db import conversations, idempotency_keys, lists, messages, streams
from db.engine import database as engine
from db.engine.database import database, transaction, transaction_time
from db.errors import Unavailable
from db.idempotency_keys import Claim, Outcome
from db.messages import Draft
from db.models import IdempotencyKey, Stream
from db.scope import EVERYTHING


@pytest.fixture(autouse=True)
def fast_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves on by a minute whenever it is read."""
    minutes = count()
    monkeypatch.setattr(engine, "now", lambda: f"2099-01-01T00:{next(minutes):02d}:00.000Z")


def test_all_that_a_transaction_writes_has_one_time(conversation_id: str):
    def work() -> Outcome:
        conversations.change(EVERYTHING, conversation_id, title="One")
        messages.append(EVERYTHING, conversation_id, [Draft("assistant", "", "in_progress")] * 2)
        return Outcome(reference="[]")

    idempotency_keys.once(Claim("c", "k", "f"), work)
    rows = messages.page_for(EVERYTHING, conversation_id).rows
    times = {time for row in rows for time in (row.created_at, row.updated_at)}
    times |= {key.created_at for key in IdempotencyKey.select()}
    times |= {stream.updated_at for stream in Stream.select()}
    times.add(conversations.find(EVERYTHING, conversation_id).updated_at)
    assert len(times) == 1


def test_the_last_piece_of_a_stream_and_its_end_have_one_time(conversation_id: str):
    (row,) = messages.append(EVERYTHING, conversation_id, [Draft("assistant", "", "in_progress")])
    state = streams.append(EVERYTHING, conversation_id, row.id, 0, "Hi", "completed")
    stored = messages.find(EVERYTHING, conversation_id, row.id)
    conversation = conversations.find(EVERYTHING, conversation_id)
    assert state.updated_at == stored.updated_at == conversation.updated_at > row.updated_at


def test_each_transaction_has_its_own_time(conversation_id: str):
    first, second = (
        conversations.change(EVERYTHING, conversation_id, title=title) for title in "ab"
    )
    assert first.updated_at < second.updated_at


def test_outside_of_a_transaction_there_is_no_time(conversation_id: str):
    conversations.change(EVERYTHING, conversation_id, title="a")
    with pytest.raises(LookupError):
        transaction_time.get()


def test_a_nested_transaction_is_rolled_back_with_the_outer_one():
    @transaction
    def whole() -> None:
        conversations.start(EVERYTHING, "p")
        conversations.start(EVERYTHING, "p")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        whole()
    assert lists.newest(EVERYTHING).rows == []


def test_a_drivers_error_is_unavailable_and_keeps_its_cause(conversation_id: str):
    database.execute_sql("DROP TABLE event")
    with pytest.raises(Unavailable, match="no such table: event") as raised:
        conversations.change(EVERYTHING, conversation_id, title="a")
    assert isinstance(raised.value.__cause__, peewee.OperationalError)
    assert conversations.find(EVERYTHING, conversation_id).title is None
