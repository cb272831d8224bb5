"""Tests what the OpenAI dialect stores, and what is left when something goes wrong."""

import itertools
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from db import answers, conversations, erasure, messages, streams
from db.engine.connect import Store
from db.engine.database import database
from db.errors import Unavailable
from db.models import IdempotencyKey, Item, KeptAnswer
from db.scope import EVERYTHING, Scope
from handlers.openai.wire import id_in

from .support.clients import Answer, Api, assert_problem
from .support.clock import Clock
from .support.model_server import ModelServer, Reply, Stepwise, hello
from .support.world import PROJECT

RESPONSES = "/v1/responses"
KEY = {"Idempotency-Key": "k"}
CALL = {"name": "now", "arguments": '{"zone": "UTC"}'}
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}

Respond = Callable[..., Answer]


@pytest.fixture
def respond(api: Api, conversation_id: str) -> Respond:
    """`respond("Hi", stream=True)` asks in the conversation."""

    def send(input: Any = "Hi", *, headers: Any = None, **fields: Any) -> Answer:
        database.close()
        body = {"conversation": conversation_id, "input": input, **fields}
        return api.post(RESPONSES, body, headers=headers)

    return send


def stored(conversation_id: str) -> list[tuple[str, Any, str]]:
    rows = messages.page_for(EVERYTHING, conversation_id).rows
    database.close()
    return [
        (row.role, "call" if isinstance(row.content, Item) else row.content, row.status)
        for row in rows
    ]


def events_of(answer: Answer) -> list[dict[str, Any]]:
    blocks = answer.body.decode().split("\n\n")
    return [json.loads(block.partition("\ndata: ")[2]) for block in blocks if "data: " in block]


def finish(reply: Reply, reason: str = "stop", usage: dict[str, int] | None = USAGE) -> None:
    reply.event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    if usage is not None:
        reply.event({"choices": [], "usage": usage})
    reply.done()


def call(reply: Reply, *ids: str) -> Reply:
    for index, id in enumerate(ids):
        reply.delta(tool_calls=[{"index": index, "id": id, "function": CALL}])
    return reply


# --- What the model is told


@pytest.mark.parametrize("instructions", ["", " ", "\n"])
def test_blank_instructions_are_as_none(respond: Respond, instructions: str):
    assert respond("One", instructions=instructions).json["status"] == "completed"


def test_instructions_come_first_and_are_not_stored(
    respond: Respond, model: ModelServer, conversation_id: str
):
    respond("One", instructions="Be brief")
    respond([{"role": "developer", "content": "Politely"}, {"role": "user", "content": "Two"}])
    assert [m["content"] for m in model.asked[0].body["messages"]] == ["Be brief", "One"]
    assert [(m["role"], m["content"]) for m in model.asked[1].body["messages"]] == [
        *(("user", "One"), ("assistant", "Hello, world"), ("system", "Politely"), ("user", "Two")),
    ]
    assert [role for role, _, _ in stored(conversation_id)] == [
        *("user", "assistant", "system", "user", "assistant"),
    ]


def test_options_are_sent_in_the_models_shape(respond: Respond, model: ModelServer):
    tool = {"type": "function", "name": "now", "parameters": {"type": "object"}, "strict": True}
    schema = {"type": "json_schema", "name": "answer", "schema": {"type": "object"}}
    response = respond(
        model="large",
        tools=[tool],
        tool_choice={"type": "function", "name": "now"},
        parallel_tool_calls=False,
        temperature=0.5,
        top_p=1,
        max_output_tokens=9,
        reasoning={"effort": "low"},
        text={"format": schema, "verbosity": "low"},
        user="u",
        prompt_cache_key="c",
        include=[],
    ).json
    sent = model.asked[0].body
    assert {name: sent[name] for name in sent if name not in ("messages", "stream")} == {
        "model": "large",
        "tools": [{"type": "function", "function": {k: tool[k] for k in tool if k != "type"}}],
        "tool_choice": {"type": "function", "function": {"name": "now"}},
        "parallel_tool_calls": False,
        "temperature": 0.5,
        "top_p": 1,
        "max_completion_tokens": 9,
        "reasoning_effort": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": {"type": "object"}},
        },
        "stream_options": {"include_usage": True},
    }
    assert (response["tools"], response["text"]["format"]) == ([tool], schema)
    assert response["tool_choice"] == {"type": "function", "name": "now"}


def test_some_of_the_tools_may_be_allowed(respond: Respond, model: ModelServer):
    tool = {"type": "function", "name": "now"}
    choice = {"type": "allowed_tools", "mode": "required", "tools": [tool]}
    assert respond(tools=[tool], tool_choice=choice).json["tool_choice"] == choice
    assert model.asked[0].body["tool_choice"] == {
        "type": "allowed_tools",
        "allowed_tools": {
            "mode": "required",
            "tools": [{"type": "function", "function": {"name": "now"}}],
        },
    }


def test_a_refusal_is_what_the_model_says(respond: Respond, model: ModelServer):
    model.script = lambda reply: finish(reply.begin().delta(content=None, refusal="No."))
    assert respond().json["output"][0]["content"][0]["text"] == "No."


def test_what_belongs_to_tools_is_not_sent_without_them(respond: Respond, model: ModelServer):
    respond(tools=[], tool_choice="auto", parallel_tool_calls=True)
    assert {"tools", "tool_choice", "parallel_tool_calls"}.isdisjoint(model.asked[0].body)


def test_the_conversation_alone_can_be_asked(
    api: Api, respond: Respond, model: ModelServer, conversation_id: str
):
    answer = respond(None)
    assert (answer.status, answer.json["error"]["param"]) == (400, "input")
    api.post(
        f"/v1/conversations/{conversation_id}/items", {"items": [{"role": "user", "content": "Hi"}]}
    )
    assert respond(None).status == 200
    assert [m["content"] for m in model.asked[0].body["messages"]] == ["Hi"]


def test_a_tool_is_called_and_its_output_told(
    respond: Respond, model: ModelServer, conversation_id: str
):
    model.script = lambda reply: finish(call(reply.begin().say("Let me see"), "c1", "c2"))
    response = respond("What time?", tools=[{"type": "function", "name": "now"}]).json
    kinds = [item["type"] for item in response["output"]]
    assert kinds == ["message", "function_call", "function_call"]
    assert response["usage"]["total_tokens"] == 7
    model.script = hello
    outputs = [
        {"type": "function_call_output", "call_id": id, "output": "noon"} for id in ("c1", "c2")
    ]
    assert respond(outputs).json["output"][0]["content"][0]["text"] == "Hello, world"
    told = model.asked[1].body["messages"]
    assert [m["role"] for m in told] == ["user", "assistant", "tool", "tool"]
    assert [c["id"] for c in told[1]["tool_calls"]] == ["c1", "c2"]
    assert [content for _, content, _ in stored(conversation_id)] == [
        *("What time?", "Let me see", "call", "call", "call", "call", "Hello, world"),
    ]


def test_one_goes_on_from_the_calls_of_an_answer_although_others_went_on(
    api: Api, respond: Respond, model: ModelServer, conversation_id: str
):
    model.script = lambda reply: finish(call(reply.begin().say("Let me see"), "c1", "c2"))
    first = respond("What time?").json
    model.script = hello
    respond("Something else")
    output = {"type": "function_call_output", "call_id": "c2", "output": "noon"}
    both = [{**output, "call_id": "c1"}, output]
    api.post(RESPONSES, {"previous_response_id": first["id"], "input": both})
    told = model.asked[-1].body["messages"]
    assert [m["role"] for m in told] == ["user", "assistant", "tool", "tool"]
    assert len(stored(conversation_id)) == 7  # the other branch is not shown


@pytest.mark.parametrize("said", ["Let me see", ""])
def test_a_response_that_only_calls_is_gone_on_from(
    api: Api, respond: Respond, model: ModelServer, said: str
):
    for place in ({}, {"conversation": None}):
        model.script = lambda reply: finish(
            call(reply.begin().say(*[said] * bool(said)), "c1", "c2")
        )
        first = respond("What time?", **place).json
        model.script = hello
        outputs = [
            {"type": "function_call_output", "call_id": id, "output": "noon"} for id in ("c1", "c2")
        ]
        body = {"previous_response_id": first["id"], "input": outputs}
        assert api.post(RESPONSES, body).json["status"] == "completed"
        roles = [m["role"] for m in model.asked[-1].body["messages"]]
        assert roles == ["user", "assistant", "tool", "tool"]


# --- When something goes wrong


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("place", [{}, {"conversation": None}])
def test_a_model_that_fails_before_its_first_output_leaves_nothing(
    respond: Respond, model: ModelServer, conversation_id: str, stream: bool, place: dict[str, Any]
):
    model.script = lambda reply: reply.begin(status=500).end()
    answer = respond(stream=stream, headers=KEY, **place)
    assert_problem(answer, 502, "model-failed")
    assert "x-should-retry" not in answer.headers
    assert stored(conversation_id) == []
    assert IdempotencyKey.select().count() == 0
    database.close()
    model.script = hello
    assert respond(stream=stream, headers=KEY, **place).status == 200


def test_a_model_that_fails_in_its_answer_leaves_the_text(
    respond: Respond, model: ModelServer, conversation_id: str
):
    model.script = lambda reply: call(reply.begin().say("Hel"), "c1").cut()
    answer = respond(headers=KEY)
    assert_problem(answer, 502, "model-failed")
    assert answer.headers["x-should-retry"] == "false"
    assert stored(conversation_id) == [
        ("user", "Hi", "completed"),
        ("assistant", "Hel", "incomplete"),
    ]
    model.script = hello
    again = respond(headers=KEY)
    assert (again.status, again.json) == (502, answer.json)
    assert len(model.asked) == 1


def test_a_stream_that_fails_ends_with_a_failed_response(
    respond: Respond, model: ModelServer, conversation_id: str
):
    model.script = lambda reply: reply.begin().say("Hel").cut()
    first, again = (events_of(respond(stream=True, headers=KEY)) for _ in range(2))
    assert first[-1]["type"] == "response.failed"
    response = first[-1]["response"]
    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
    assert response["output"][0]["status"] == "incomplete"
    assert again[-1] == {**first[-1], "sequence_number": again[-1]["sequence_number"]}
    assert len(stored(conversation_id)) == 2


@pytest.mark.parametrize(
    ("reason", "told"),
    [("length", "max_output_tokens"), ("content_filter", "content_filter")],
)
def test_an_answer_that_is_cut_short_says_why(
    respond: Respond, model: ModelServer, conversation_id: str, reason: str, told: str
):
    def script(reply: Reply) -> None:
        cut = {"name": "now", "arguments": '{"zo'}
        call(reply.begin().say("Hel"), "c1")
        reply.delta(tool_calls=[{"index": 1, "id": "c2", "function": cut}])
        finish(reply, reason)

    model.script = script
    response = respond(max_output_tokens=1).json
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": told})
    assert [item["type"] for item in response["output"]] == ["message", "function_call"]
    assert stored(conversation_id)[1] == ("assistant", "Hel", "incomplete")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("place", [{}, {"conversation": None}])
def test_an_answer_of_nothing_is_an_empty_output(
    api: Api, respond: Respond, model: ModelServer, stream: bool, place: dict[str, Any]
):
    model.script = lambda reply: finish(reply.begin())
    answer = respond(stream=stream, **place)
    response = events_of(answer)[-1]["response"] if stream else answer.json
    assert (response["status"], response["output"]) == ("completed", [])
    model.script = hello
    again = api.post(RESPONSES, {"previous_response_id": response["id"], "input": "Well?"})
    assert [m["content"] for m in model.asked[-1].body["messages"]] == ["Hi", "Well?"]
    assert again.status == 200


def test_a_question_that_cannot_be_stored_is_answered_by_nobody(
    respond: Respond, model: ModelServer, conversation_id: str
):
    conversations.remove(EVERYTHING, conversation_id)
    assert_problem(respond(), 404, "conversation-not-found")
    assert model.asked == []


def test_a_conversation_that_is_deleted_while_the_model_thinks(
    respond: Respond, model: ModelServer, conversation_id: str
):
    def script(reply: Reply) -> None:
        conversations.remove(EVERYTHING, conversation_id)
        database.close()
        hello(reply)

    model.script = script
    assert_problem(respond(headers=KEY), 404, "conversation-not-found")
    assert IdempotencyKey.select().count() == 0


def test_an_answer_that_is_stopped_is_incomplete(
    api: Api, respond: Respond, model: ModelServer, conversation_id: str
):
    model.script = script = Stepwise("Hel", "lo")
    script.step()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(respond)
        while len(stored(conversation_id)) < 2:
            pass
        assert api.post(f"/api/v1/conversations/{conversation_id}/stop").status == 204
        script.finish()
        response = running.result().json
    assert (response["status"], response["incomplete_details"]) == ("incomplete", None)
    assert stored(conversation_id)[1][2] == "incomplete"


def edit(conversation_id: str, id: str) -> None:
    messages.edit(EVERYTHING, conversation_id, id, content="edited")


def append(conversation_id: str, id: str) -> None:
    streams.append(EVERYTHING, conversation_id, id, 3, "?")


def remove(conversation_id: str, id: str) -> None:
    messages.remove(EVERYTHING, conversation_id, id)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("meddle", [edit, append, remove])
def test_who_meddles_with_an_answer_ends_it_and_nobody_asks_again(
    respond: Respond,
    model: ModelServer,
    conversation_id: str,
    meddle: Callable[[str, str], None],
    stream: bool,
):
    def script(reply: Reply) -> None:
        reply.begin().say("Hel")
        while [content for _, content, _ in stored(conversation_id)][1:] != ["Hel"]:
            pass
        meddle(conversation_id, messages.page_for(EVERYTHING, conversation_id).rows[1].id)
        database.close()
        reply.say("lo").done()

    model.script = script
    answer = respond(stream=stream, headers=KEY)
    response = events_of(answer)[-1]["response"] if stream else answer.json
    assert (answer.status, response["status"]) == (200, "incomplete")
    assert all(status != "in_progress" for _, _, status in stored(conversation_id))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("verb", ["append", "finish"])
def test_a_database_that_goes_away_in_mid_answer_leaves_what_is_there(
    respond: Respond,
    model: ModelServer,
    conversation_id: str,
    verb: str,
    stream: bool,
    monkeypatch: pytest.MonkeyPatch,
):
    fail = {"append": (streams, 2), "finish": (answers, 1)}
    module, at = fail[verb]
    real, count = getattr(module, verb), itertools.count(1)

    def away(*arguments: Any) -> Any:
        if next(count) == at:
            raise Unavailable("locked")
        return real(*arguments)

    monkeypatch.setattr(module, verb, away)
    first = respond(stream=stream, headers=KEY)
    if stream:
        assert events_of(first)[-1]["type"] == "response.failed"
    else:
        assert_problem(first, 502, "model-failed")
        assert first.headers["x-should-retry"] == "false"
    question, answer = stored(conversation_id)
    assert (question[1], answer[2]) == ("Hi", "incomplete")
    assert len(model.asked) == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "usage",
    [
        *({"prompt_tokens_details": "none"}, {"prompt_tokens_details": [1]}, {}),
        {"prompt_tokens": "3", "completion_tokens": None, "total_tokens": 1.5},
    ],
    ids=str,
)
def test_an_odd_usage_is_no_failure(
    respond: Respond, model: ModelServer, usage: dict[str, Any], stream: bool
):
    model.script = lambda reply: finish(reply.begin().say("Hi"), usage=usage)
    answer = respond(stream=stream)
    response = events_of(answer)[-1]["response"] if stream else answer.json
    assert response["status"] == "completed"
    assert {*map(type, response["usage"].values())} == {int, dict}


@pytest.mark.parametrize("headers", [None, KEY])
def test_a_model_that_has_nothing_to_say_to_a_conversation(
    api: Api, respond: Respond, model: ModelServer, conversation_id: str, headers: Any
):
    items = {"items": [{"role": "user", "content": "Hi"}]}
    api.post(f"/v1/conversations/{conversation_id}/items", items)
    model.script = lambda reply: finish(reply.begin())
    first, again = (respond(None, headers=headers).json for _ in range(2))
    assert (first["status"], first["output"]) == ("completed", [])
    assert headers is None or again == first
    model.script = hello
    body = {"previous_response_id": first["id"], "input": "Well?"}
    assert api.post(RESPONSES, body).json["conversation"] == first["conversation"]


def test_a_conversation_that_is_deleted_while_the_model_thinks_of_a_call(
    respond: Respond, model: ModelServer, conversation_id: str
):
    def script(reply: Reply) -> None:
        conversations.remove(EVERYTHING, conversation_id)
        database.close()
        finish(call(reply.begin(), "c1"))

    model.script = script
    assert_problem(respond(headers=KEY), 404, "conversation-not-found")
    assert IdempotencyKey.select().count() == 0


def test_an_answer_that_is_deleted_while_the_model_thinks_is_gone_on_from_by_nobody(
    api: Api, respond: Respond, model: ModelServer, conversation_id: str
):
    first = respond().json

    def script(reply: Reply) -> None:
        id = messages.page_for(EVERYTHING, conversation_id).rows[1].id
        messages.remove(EVERYTHING, conversation_id, id)
        database.close()
        hello(reply)

    model.script = script
    body = {"previous_response_id": first["id"], "input": "More"}
    error = api.post(RESPONSES, body).json["error"]
    assert (error["param"], error["code"]) == (
        "previous_response_id",
        "previous_response_not_found",
    )


# --- Requests at the same time, and repeated


def test_projects_do_not_share_their_keys(api: Api):
    def ask(project: str) -> list[Any]:
        headers = {**KEY, "OpenAI-Project": project}
        made = api.post("/v1/conversations", {"title": "x"}, headers=headers)
        answered = api.post(RESPONSES, {"input": "x"}, headers={**headers, "Idempotency-Key": "l"})
        return [made.json["id"], answered.json["id"]]

    one, other = ask("A"), ask("B")
    assert not {*one} & {*other}
    assert ask("A") == one


@pytest.mark.usefixtures("either_store")
def test_copies_of_a_request_that_fails_are_told_so(api: Api, respond: Respond, model: ModelServer):
    model.script = lambda reply: reply.begin(status=500).end()
    with ThreadPoolExecutor(6) as pool:
        statuses = {answer.status for answer in pool.map(lambda _: respond(headers=KEY), range(24))}
    assert statuses <= {409, 502}


def test_two_requests_in_a_conversation_do_not_wait_for_each_other(
    either_store: Store, api: Api, respond: Respond, model: ModelServer, conversation_id: str
):
    both = threading.Barrier(2)

    def script(reply: Reply) -> None:
        reply.begin().say("Hel")
        both.wait(10)
        finish(call(reply.say("lo"), "c"))

    model.script = script
    with ThreadPoolExecutor(2) as pool:
        answers = [*pool.map(respond, ("One", "Two"))]
    assert [answer.status for answer in answers] == [200, 200]
    contents = [content for _, content, _ in stored(conversation_id)]
    assert sorted(contents) == sorted(["One", "Two", *["Hello", "call"] * 2])
    for answer in answers:
        assert [item["type"] for item in answer.json["output"]] == ["message", "function_call"]


def test_a_copy_of_a_request_that_still_runs_is_told_so(
    respond: Respond, model: ModelServer, conversation_id: str
):
    copies: list[Answer] = []

    def script(reply: Reply) -> None:
        copies.append(respond(headers=KEY))  # before the first output
        reply.begin().say("Hel")
        while len(stored(conversation_id)) < 2:
            pass
        copies.append(respond(headers=KEY))  # after it
        reply.say("lo").done()

    model.script = script
    first = respond(headers=KEY)
    for copy in copies:
        assert_problem(copy, 409, "request-in-progress")
    again = respond(headers=KEY)
    assert again.json == first.json
    assert again.headers["idempotent-replayed"] == "true"
    assert_problem(respond("Other", headers=KEY), 422, "idempotency-key-reused")
    assert len(model.asked) == 1


def test_a_request_whose_process_was_killed_is_answered_with_what_is_stored(
    respond: Respond, model: ModelServer, conversation_id: str
):
    first = respond(headers=KEY).json
    _, answer = messages.page_for(EVERYTHING, conversation_id).rows
    reference = json.dumps([conversation_id, answer.id])
    IdempotencyKey.update(status=None, body=None, reference=reference).execute()
    database.close()
    again = respond(headers=KEY).json
    assert (again["id"], again["output"]) == (first["id"], first["output"])
    assert len(model.asked) == 1


def test_a_key_whose_process_was_killed_before_the_first_output_is_free_after_a_while(
    respond: Respond, model: ModelServer, clock: Clock
):
    respond(headers=KEY)
    IdempotencyKey.update(status=None, headers=None, body=None).execute()
    database.close()
    assert_problem(respond(headers=KEY), 409, "request-in-progress")
    clock.move(seconds=20)
    assert respond(headers=KEY).status == 200


# --- Answers in no conversation


def test_nobody_else_goes_on_from_an_answer(api: Api, respond: Respond):
    first = respond(conversation=None).json["id"]
    body = {"previous_response_id": first, "input": "More"}
    for headers in ({"X-User-Id": "mallory"}, {"OpenAI-Project": "other", "X-User-Id": "mallory"}):
        answer = api.post(RESPONSES, body, headers=headers)
        assert answer.json["error"]["code"] == "previous_response_not_found"
    assert api.post(RESPONSES, body).status == 200
    assert api.post(RESPONSES, body, headers={"X-User-Id": "mallory"}).status == 400


def test_an_answer_is_kept_for_a_day(api: Api, respond: Respond, clock: Clock):
    first = respond(conversation=None).json["id"]
    clock.move(seconds=25 * 3600)
    body = {"previous_response_id": first, "input": "More"}
    assert api.post(RESPONSES, body).json["error"]["code"] == "previous_response_not_found"


def test_several_go_on_from_an_answer_at_once(either_store: Store, api: Api, respond: Respond):
    first = respond(conversation=None).json["id"]

    def go_on(number: int) -> Any:
        body = {"previous_response_id": first, "input": str(number)}
        return api.post(RESPONSES, body).json["conversation"]["id"]

    with ThreadPoolExecutor(4) as pool:
        assert len({*pool.map(go_on, range(4))}) == 1
    assert len(api.get("/v1/conversations", order="desc").json["data"]) == 2


def test_an_erased_user_leaves_no_answer_behind(api: Api):
    headers = {"X-User-Id": "alice", **KEY}
    made = api.post("/v1/conversations", {"title": "needle"}, headers=headers).json["id"]
    api.post(RESPONSES, {"input": "needle"}, headers={"X-User-Id": "alice"})
    body = {"input": "needle", "conversation": made}
    api.post(RESPONSES, body, headers={"X-User-Id": "alice", "Idempotency-Key": "l"})
    # Without the user's name, what is stored for a repetition is found by the conversation's id.
    api.post(RESPONSES, body, headers={"Idempotency-Key": "m"})
    assert (IdempotencyKey.select().count(), KeptAnswer.select().count()) == (3, 1)
    database.close()
    told = [*erasure.records_of("alice", None)]
    assert [each["messages"][0]["content"] for each in told if each["type"] == "kept_answer"] == [
        "needle"
    ]
    assert erasure.erase("alice", None, lambda *_: None).stored_answers == 4
    assert (IdempotencyKey.select().count(), KeptAnswer.select().count()) == (0, 0)
    database.close()


def test_an_erased_user_leaves_no_answer_behind_in_a_project(api: Api):
    for project in (PROJECT, "other"):
        headers = {"X-User-Id": "alice", "OpenAI-Project": project}
        api.post(RESPONSES, {"input": "needle"}, headers=headers)
    assert erasure.erase("alice", PROJECT, lambda *_: None).stored_answers == 1
    assert [row.project_id for row in KeptAnswer.select()] == ["other"]
    database.close()


def test_an_answer_is_gone_on_from_by_who_may_see_it(api: Api):
    asker = {"X-User-Id": "alice", "OpenAI-Project": "A"}

    def go_on(**headers: str) -> Any:
        first = api.post(RESPONSES, {"input": "secret"}, headers=asker).json["id"]
        body = {"input": "More", "previous_response_id": first}
        return api.post(RESPONSES, body, headers=headers).json.get("conversation")

    for others in ({"OpenAI-Project": "B"}, {**asker, "X-User-Id": "bob"}):
        assert go_on(**others) is None
    for allowed in ({}, {"OpenAI-Project": "A"}, {"X-User-Id": "alice"}, asker):
        row = conversations.find(EVERYTHING, str(id_in(go_on(**allowed)["id"])))
        assert (row.project_id, row.user_id) == ("A", "alice")
    database.close()


def test_a_model_that_fails_makes_no_conversation_of_an_answer(
    api: Api, respond: Respond, model: ModelServer
):
    first = respond(conversation=None).json["id"]
    model.script = lambda reply: reply.begin(status=500).end()
    body = {"previous_response_id": first, "input": "More"}
    assert_problem(api.post(RESPONSES, body), 502, "model-failed")
    assert len(api.get("/v1/conversations").json["data"]) == 1
    model.script = hello
    assert api.post(RESPONSES, body).status == 200
    told = [m["content"] for m in model.asked[-1].body["messages"]]
    assert told == ["Hi", "Hello, world", "More"]


def test_a_conversation_of_a_kept_answer_is_as_any_other(
    api: Api, respond: Respond, model: ModelServer
):
    model.script = lambda reply: finish(call(reply.begin().say("Let me see"), "c1", "c2"))
    first = respond("What time?", conversation=None).json["id"]
    model.script = hello
    body = {"previous_response_id": first, "input": "More"}
    made = api.post(RESPONSES, body).json["conversation"]["id"]
    rows = messages.page_for(EVERYTHING, str(id_in(made))).rows
    database.close()
    assert [row.id for row in rows] == sorted(row.id for row in rows)
    assert [row.content for row in rows[:2]] == ["What time?", "Let me see"]
    path = f"/v1/conversations/{made}/items"
    listed = api.get(path, order="asc").json["data"]
    api.delete(f"{path}/{listed[0]['id']}")
    behind = api.get(path, order="asc", after=listed[0]["id"]).json["data"]
    assert behind == listed[1:]


def test_the_calls_of_an_answer_are_found_without_their_mark_and_in_a_fork(
    api: Api, respond: Respond, model: ModelServer, conversation_id: str
):
    model.script = lambda reply: finish(call(reply.begin().say("Let me see"), "c1", "c2"))
    first = respond("What time?").json
    model.script = hello
    fork = api.post(f"/api/v1/conversations/{conversation_id}/fork").json["messages"]
    path = f"/api/v1/conversations/{conversation_id}/messages"
    for item in first["output"][1:]:
        api.patch(f"{path}/{id_in(item['id'])}", {"metadata": {"rating": 1}})
    api.post(path, {"role": "system", "content": "x", "metadata": {"answer_id": fork[1]["id"]}})
    outputs = [
        {"type": "function_call_output", "call_id": id, "output": "noon"} for id in ("c1", "c2")
    ]
    for id in (first["id"], fork[1]["id"]):
        api.post(RESPONSES, {"previous_response_id": id, "input": outputs})
        roles = [m["role"] for m in model.asked[-1].body["messages"]]
        assert roles == ["user", "assistant", "tool", "tool"]


# --- Fields


def test_metadata_of_another_kind_outlives_an_update(api: Api):
    kept = {"number": 7, "long": "x" * 513, "list": ["a"], "x" * 65: "y"}
    row = conversations.start(Scope(), PROJECT, metadata={"topic": "a", **kept})
    database.close()
    path = f"/v1/conversations/{row.id}"
    assert api.get(path).json["metadata"] == {"topic": "a"}
    assert api.post(path, {"metadata": {"b": "c"}}).json["metadata"] == {"b": "c"}
    assert conversations.find(EVERYTHING, row.id).metadata == {**kept, "b": "c"}
    assert api.post(path, {"metadata": None}).json["metadata"] == {}
    assert conversations.find(EVERYTHING, row.id).metadata == kept
    database.close()


def test_null_empties_more_metadata_than_is_shown(api: Api):
    metadata = {f"k{number}": "v" for number in range(20)} | {"n": 1}
    row = conversations.start(Scope(), PROJECT, metadata=metadata)
    database.close()
    path = f"/v1/conversations/{row.id}"
    assert len(api.get(path).json["metadata"]) == 16
    largest = {f"{number:02}" + "👋" * 62: "👋" * 512 for number in range(16)}
    assert api.post(path, {"metadata": largest}).json["metadata"] == largest
    assert api.post(path, {"metadata": None}).json["metadata"] == {}
    assert conversations.find(EVERYTHING, row.id).metadata == {"n": 1}
    database.close()


def test_fields_of_a_message_that_the_store_lacks_come_back(api: Api, conversation_id: str):
    sent = {
        "type": "message",
        "role": "developer",
        "content": [{"type": "input_text", "text": "Hi", "x": 1}],
        "phase": "commentary",
        "status": "in_progress",
        "id": "msg_own",
    }
    path = f"/v1/conversations/{conversation_id}/items"
    (shown,) = api.post(path, {"items": [sent]}).json["data"]
    assert shown == {**sent, "id": shown["id"], "status": "incomplete"}
    (row,) = messages.page_for(EVERYTHING, conversation_id).rows
    database.close()
    assert (row.role, row.metadata) == (
        "system",
        {"item": {"role": "developer", "phase": "commentary"}},
    )


def test_what_other_routes_wrote_about_items_is_no_message_of_another_kind(
    api: Api, conversation_id: str
):
    body = {"role": "user", "content": "Hi", "metadata": {"item": {"role": "system", "id": "x"}}}
    api.post(f"/api/v1/conversations/{conversation_id}/messages", body)
    (shown,) = api.get(f"/v1/conversations/{conversation_id}/items").json["data"]
    assert (shown["role"], shown["id"][:4]) == ("user", "msg_")


@pytest.mark.parametrize(
    "item",
    [
        {"type": "item_reference", "id": "msg_1"},
        {"type": "function_call", "call_id": "c", "name": "n"},
        {"type": "function_call_output", "call_id": 1, "output": ""},
        {"type": "function_call_output", "call_id": "c", "output": 7},
        {"role": "tool", "content": "x"},
        {"role": "user", "content": "nul \0"},
        {"type": "x", "deep": [{"nul \0": 1}]},
        {"role": "user", "content": [{"text": "no type"}]},
        {"type": 7},
        {},
        "text",
        None,
    ],
    ids=str,
)
def test_an_item_that_makes_no_sense_is_refused(api: Api, conversation_id: str, item: object):
    path = f"/v1/conversations/{conversation_id}/items"
    good = {"role": "user", "content": "Hi"}
    error = api.post(path, {"items": [good, item]}).json["error"]
    assert error["param"].startswith("items[1]")
    assert stored(conversation_id) == []


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("tools", [{"type": "web_search"}], "unsupported_parameter"),
        ("prompt", {"id": "p"}, "unsupported_parameter"),
        ("context_management", [{}], "unsupported_parameter"),
        ("moderation", {"model": "m"}, "unsupported_parameter"),
        ("temperature", 3, "invalid_value"),
        ("max_output_tokens", [], "invalid_type"),
        ("text", {"format": {"type": "json_schema", "name": "x"}}, "invalid_value"),
        ("unknown", 1, "unknown_parameter"),
        ("tool_choice", 7, "invalid_type"),
        ("tool_choice", {"type": "web_search"}, "unsupported_parameter"),
        ("previous_response_id", "resp_nonsense", "invalid_value"),
    ],
)
def test_a_field_that_makes_no_sense_is_refused_by_name(
    api: Api, field: str, value: object, code: str
):
    error = api.post(RESPONSES, {"input": "Hi", field: value}).json["error"]
    assert (error["param"].split("[")[0].split(".")[0], error["code"]) == (field, code)


def test_a_null_means_the_same_as_no_value(respond: Respond):
    names = (
        *("instructions", "model", "stream", "store", "tools", "tool_choice", "text", "reasoning"),
        *("temperature", "max_output_tokens", "metadata", "background", "prompt", "include"),
    )
    assert respond(**dict.fromkeys(names)).status == 200
