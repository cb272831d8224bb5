"""Tests with random conversations and budgets that a context is valid, and as long as it can be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from db import context, conversations, messages
from db.context import SYSTEM, Context
from db.engine.database import database
from db.messages import ACTIVE_LEAF, Draft
from db.scope import EVERYTHING
from db.settings import settings
from db.startup import open_store
from db.token_estimate import tokens_in_message

from .support.world import PROJECT

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

EVERYTHING_FITS = 10_000_000
CALL_IDS = st.sampled_from(["1", "2", "3"])  # a few, so that they are used again
MESSAGES = st.one_of(
    st.tuples(st.just("say"), st.sampled_from(["user", "user", "assistant", "system"])),
    st.tuples(st.just("cut"), st.sampled_from(["incomplete", "in_progress"])),
    st.tuples(st.just("call"), st.lists(CALL_IDS, min_size=1, max_size=3)),
    st.tuples(st.just("answer"), CALL_IDS),
    st.tuples(st.just("answer"), CALL_IDS),
    st.tuples(st.just("do"), CALL_IDS),
    st.tuples(st.just("branch"), st.integers(0, 20)),
    st.tuples(st.just("nothing"), st.sampled_from(["user", "assistant"])),
)


def text(number: int, length: int) -> str:
    """A text that no other message has."""
    return f"<{number}>{' word' * length}"


def draft(kind: str, value: Any, words: str) -> Draft:
    said = {"type": "text", "text": words}
    match kind:
        case "say":
            return Draft(value, words)
        case "cut":
            return Draft("assistant", words, value)
        case "call":
            calls = [{"type": "tool_call", "id": id, "name": "f"} for id in value]
            return Draft("assistant", [said, *calls])
        case "answer":
            return Draft("tool", words, metadata={"tool_call_id": value})
        case "do":  # a call, its result and more, in one message
            call = {"type": "tool_use", "id": value, "name": "f", "input": {}}
            result = {"type": "tool_result", "tool_use_id": value, "content": "42"}
            return Draft("assistant", [call, result, said])
    return Draft(value, [{"type": "data-x"}])


def tell(happenings: list[tuple[str, Any]], lengths: list[int]) -> str:
    """Store a conversation in which these messages come one after the other."""
    id = conversations.start(EVERYTHING, PROJECT).id
    ids: list[str] = []
    for number, (kind, value) in enumerate(happenings):
        words = text(number, lengths[number % len(lengths)])
        made = draft(kind, value, words)
        if kind == "branch":
            parent_id = ids[value % len(ids)] if ids else ACTIVE_LEAF
            made = Draft("user", words, parent_id=parent_id)
        ids += [row.id for row in messages.append(EVERYTHING, id, [made])]
    return id


def assert_is_valid(sent: list[dict[str, Any]]) -> None:
    """Each call has one result right behind its message, and no result stands elsewhere."""
    waiting: list[str] = []
    for message in sent:
        if message["role"] == "tool":
            assert message["tool_call_id"] == waiting.pop(0)
        else:
            assert not waiting
            assert message["content"] or message.get("tool_calls") or message is sent[-1]
            waiting = [call["id"] for call in message.get("tool_calls", ())]
            assert message["role"] == "assistant" or not waiting
    assert not waiting


def is_of_system(message: dict[str, Any]) -> bool:
    return message["role"] == SYSTEM


def split(found: Context) -> tuple[list[Any], list[Any]]:
    systems = [it for it in found.messages if is_of_system(it)]
    return systems, [it for it in found.messages if not is_of_system(it)]


def numbers(sent: list[dict[str, Any]]) -> set[int]:
    """The numbers of the messages whose texts are told."""
    texts = [str(message["content"]) for message in sent]
    return {int(it[1 : it.index(">")]) for it in texts if it.startswith("<")}


def check(id: str, budget: int) -> None:
    whole = context.read(EVERYTHING, id, EVERYTHING_FITS)
    least = context.read(EVERYTHING, id, 1)
    found = context.read(EVERYTHING, id, budget)
    assert whole.dropped == 0
    for each in (whole, least, found):
        assert_is_valid(each.messages)
        assert each.tokens == sum(map(tokens_in_message, each.messages))
    systems, others = split(whole)
    told_systems, told = split(found)
    assert told_systems == systems
    assert told == others[len(others) - len(told) :]
    assert bool(told) == bool(others)
    in_order = iter(whole.messages)
    assert all(message in in_order for message in found.messages)
    is_empty_question = bool(others) and others[-1] == {"role": "user", "content": ""}
    if (said := numbers(others)) and not is_empty_question:
        newest = max(said)
        assert newest in numbers(told)
        assert newest in numbers(split(least)[1])
    assert found.tokens <= budget or found == least
    assert found.dropped >= len(numbers(others) - numbers(told))
    assert (found.dropped == 0) == (found.messages == whole.messages)
    assert context.read(EVERYTHING, id, max(found.tokens, 1)) == found
    # With some more room it is the same, or it has more than would have fitted.
    more = context.read(EVERYTHING, id, budget + 20)
    assert more == found or more.tokens > budget
    assert len(more.messages) >= len(found.messages)


def test_any_context_is_valid_and_as_long_as_it_can_be(
    configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    @hypothesis.settings(max_examples=200, derandomize=True, database=None, deadline=None)
    @hypothesis.given(
        happenings=st.lists(MESSAGES, max_size=25),
        lengths=st.lists(st.integers(0, 30), min_size=1, max_size=5),
        budgets=st.lists(st.integers(1, 250), min_size=1, max_size=3),
        rows=st.integers(1, 40),
    )
    def play(
        happenings: list[tuple[str, Any]], lengths: list[int], budgets: list[int], rows: int
    ) -> None:
        monkeypatch.setattr(context, "FIRST_ROWS", rows)
        id = tell(happenings, lengths)
        for budget in budgets:
            check(id, budget)

    # Without fsync a commit is ten times as fast, and this test cuts no power.
    configure(database_url=f"sqlite:///{tmp_path}/confab.db?synchronous=off")
    open_store(settings())
    play()
    database.obj.close_all()
