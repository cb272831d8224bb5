"""Tests contexts: which messages fit into a budget, what is always there, and what it costs."""

from typing import Any

import pytest
from playhouse.test_utils import count_queries

from db import context, conversations, messages, streams, transcripts
from db.clock import new_id
from db.context import Context
from db.engine.database import database
from db.errors import MessageNotFound
from db.messages import Draft
from db.scope import EVERYTHING
from db.token_estimate import tokens_in_message
from handlers.context import ContextQuery, get_context
from handlers.http.caller import Caller

from .support.clients import Api, assert_problem
from .support.clock import Clock
from .support.world import PROJECT

COST = 10  # the tokens of each message of `line`


def say(conversation_id: str, *drafts: Draft) -> list[str]:
    return [row.id for row in messages.append(EVERYTHING, conversation_id, drafts)]


def line(count: int) -> list[Draft]:
    """Messages that cost as much as each other, and can be told apart."""
    return [Draft("user", f"{'word ' * 5}{at % 100:02}") for at in range(count)]


def read(conversation_id: str, max_tokens: int, leaf: str | None = None) -> Context:
    found = context.read(EVERYTHING, conversation_id, max_tokens, leaf)
    assert found.tokens == sum(map(tokens_in_message, found.messages))
    return found


def contents(found: Context) -> list[Any]:
    return [message["content"] for message in found.messages]


def call(id: str) -> Draft:
    return Draft("assistant", [{"type": "tool_call", "id": id, "name": "f", "arguments": "{}"}])


def result(id: str, text: str = "42") -> Draft:
    return Draft("tool", text, metadata={"tool_call_id": id})


def test_an_empty_conversation_has_an_empty_context(conversation_id: str):
    assert read(conversation_id, 8000) == Context([], 0, 0)


@pytest.mark.parametrize("length", [1, 31, 32, 33, 96, 97, 200])
def test_what_fits_is_told_whole(conversation_id: str, length: int):
    drafts = line(length)
    say(conversation_id, *drafts)
    found = read(conversation_id, length * COST)
    assert contents(found) == [draft.content for draft in drafts]
    assert (found.tokens, found.dropped) == (length * COST, 0)
    shorter = read(conversation_id, length * COST - 1)
    if length > 1:
        assert contents(shorter) == contents(found)[1:]
        assert shorter.dropped == 1


def test_the_newest_messages_that_fit_are_told_without_a_gap(conversation_id: str):
    say(conversation_id, *line(3), Draft("user", "long " * 100), *line(2))
    found = read(conversation_id, 60)
    assert contents(found) == [draft.content for draft in line(2)]
    assert found.dropped == 4


def test_system_messages_are_always_told_in_their_place(conversation_id: str):
    say(conversation_id, Draft("system", "Be brief."), *line(100), Draft("system", "In Dutch."))
    say(conversation_id, *line(2))
    found = read(conversation_id, 40)
    assert contents(found) == ["Be brief.", "In Dutch.", *(draft.content for draft in line(2))]
    assert found.dropped == 100
    found = read(conversation_id, 1)
    assert contents(found) == ["Be brief.", "In Dutch.", line(2)[1].content]
    assert found.tokens > 1
    assert found.dropped == 101


def test_the_newest_message_is_told_over_the_budget(conversation_id: str):
    say(conversation_id, *line(2), Draft("user", "long " * 100))
    found = read(conversation_id, 1)
    assert (len(found.messages), found.dropped) == (1, 2)
    assert found.tokens > 100


def test_a_call_and_its_results_go_together(conversation_id: str):
    say(conversation_id, call("1"), call("2"), result("1"), result("2"), *line(1))
    whole = read(conversation_id, 1000)
    assert [message["role"] for message in whole.messages] == ["assistant", "tool", "tool", "user"]
    found = read(conversation_id, whole.tokens - 1)
    assert [message["role"] for message in found.messages] == ["user"]
    assert found.dropped == 4


@pytest.mark.parametrize("others", [0, 40])
def test_a_newest_result_brings_its_call_and_the_other_results(conversation_id: str, others: int):
    ids = [str(number) for number in range(others + 1)]
    say(conversation_id, *line(2), *map(call, ids), *map(result, ids))
    found = read(conversation_id, 1)
    assert [message["role"] for message in found.messages] == ["assistant", *["tool"] * len(ids)]
    assert found.dropped == 2


def test_a_newest_result_brings_its_call_from_afar(conversation_id: str):
    say(conversation_id, *line(1), call("1"), *line(200), result("1"))
    found = read(conversation_id, 100)
    assert [message["role"] for message in found.messages] == ["assistant", "tool", *["user"] * 200]
    assert found.dropped == 1


def test_a_late_result_whose_call_does_not_fit_is_dropped_with_it(conversation_id: str):
    say(conversation_id, call("1"), *line(3), result("1"), *line(2))
    found = read(conversation_id, 5 * COST)
    assert [message["role"] for message in found.messages] == ["user"] * 5
    assert found.dropped == 2


def test_what_can_never_be_told_is_not_dropped(conversation_id: str):
    say(conversation_id, *line(1), call("1"), result("2"), Draft("user", ""), *line(1))
    found = read(conversation_id, 1000)
    assert (len(found.messages), found.dropped) == (2, 0)


def test_if_the_newest_message_cannot_be_told_the_one_before_it_is(conversation_id: str):
    say(conversation_id, *line(2), result("1"))
    found = read(conversation_id, 1)
    assert (contents(found), found.dropped) == ([line(2)[1].content], 1)


def test_a_context_is_of_the_active_branch_or_of_the_path_to_a_leaf(conversation_id: str):
    a, b, _ = say(conversation_id, *(Draft("user", text) for text in "abc"))
    say(conversation_id, Draft("user", "d", parent_id=a), Draft("user", "e"))
    assert contents(read(conversation_id, 100)) == ["a", "d", "e"]
    assert contents(read(conversation_id, 100, leaf=b)) == ["a", "b"]
    tight = read(conversation_id, 5, leaf=b)
    assert (contents(tight), tight.dropped) == (["b"], 1)
    transcripts.change(EVERYTHING, conversation_id, last_message_id=b)
    assert contents(read(conversation_id, 100)) == ["a", "b"]


def test_system_messages_of_other_branches_are_not_told(conversation_id: str):
    a, _ = say(conversation_id, Draft("system", "a"), Draft("system", "b"))
    say(conversation_id, Draft("user", "c", parent_id=a))
    assert contents(read(conversation_id, 100)) == ["a", "c"]


def test_what_is_not_stored_yet_is_told_behind_what_is(conversation_id: str):
    say(conversation_id, *line(40), call("c1"))
    said = [Draft("system", "Politely"), result("c1"), Draft("user", "Well?")]
    found = context.read(EVERYTHING, conversation_id, 8000, instructions="Briefly", said=said)
    assert contents(found) == [
        *("Briefly", *(draft.content for draft in line(40)), None, "42", "Politely", "Well?")
    ]
    small = context.read(EVERYTHING, conversation_id, 1, instructions="Briefly", said=said)
    assert contents(small) == ["Briefly", "Politely", "Well?"]
    assert small.dropped == 42
    output = context.read(EVERYTHING, conversation_id, 1, said=said[1:2])
    assert contents(output) == [None, "42"]
    assert output.dropped == 40


def test_drafts_alone_have_a_context():
    said = [*line(3), call("c1"), result("c1")]
    assert contents(context.of_drafts(8000, "Briefly", said))[0] == "Briefly"
    assert len(context.of_drafts(8000, None, said).messages) == 5
    small = context.of_drafts(1, None, said)
    assert (contents(small), small.dropped) == ([None, "42"], 3)
    assert context.of_drafts(1, None, []) == Context([], 0, 0)


def test_an_unknown_leaf_is_not_found(conversation_id: str):
    other = conversations.start(EVERYTHING, PROJECT).id
    for leaf in (new_id(), *say(other, Draft("user", "Hi"))):
        with pytest.raises(MessageNotFound):
            context.read(EVERYTHING, conversation_id, 100, leaf)


def test_what_a_silent_writer_left_is_told(conversation_id: str, clock: Clock):
    _, id = say(conversation_id, *line(1), Draft("assistant", "On", "in_progress"))
    streams.append(EVERYTHING, conversation_id, id, 2, "ce upon")
    assert contents(read(conversation_id, 100)) == [line(1)[0].content]
    clock.move(seconds=61)
    assert contents(read(conversation_id, 100)) == [line(1)[0].content, "Once upon"]


def test_a_long_conversation_is_read_from_its_end(conversation_id: str):
    costs = []
    for length in (100, 900):
        say(conversation_id, *line(length))
        with count_queries() as counted:
            read(conversation_id, 30 * COST)
        costs.append(counted.count)
    assert costs[0] == costs[1] <= 5


def test_a_caller_gets_a_context(anyone: Caller, conversation_id: str):
    say(conversation_id, Draft("system", "Be brief."), *line(3))
    answer = get_context(anyone, conversation_id, ContextQuery(max_tokens=30))
    assert [message["role"] for message in answer.messages] == ["system", "user", "user"]
    assert answer.tokens <= 30
    assert answer.dropped == 1


def test_a_context_over_http(api: Api, conversation_id: str):
    first, _ = say(conversation_id, *line(2))
    database.close()
    path = f"/api/v1/conversations/{conversation_id}/context"
    answer = api.get(path)
    assert answer.status == 200
    assert list(answer.json) == ["messages", "tokens", "dropped"]
    assert len(answer.json["messages"]) == 2
    assert len(api.get(path, leaf=first).json["messages"]) == 1
    assert_problem(api.get(path, leaf=new_id()), 404, "message-not-found")


@pytest.mark.parametrize("max_tokens", [0, -1, 10_000_001, "many", ""])
def test_a_budget_out_of_bounds_is_refused(api: Api, conversation_id: str, max_tokens: object):
    path = f"/api/v1/conversations/{conversation_id}/context"
    problem = assert_problem(api.get(path, max_tokens=max_tokens), 422, "invalid")
    assert problem["errors"][0]["loc"] == ["query", "max_tokens"]
