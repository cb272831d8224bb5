"""Tests that the AI SDK's routes do what its clients count on."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest

from db import conversations, messages, streams, submissions
from db.engine.connect import Store
from db.engine.database import database, release
from db.messages import Draft
from db.models import MessageRow
from db.scope import EVERYTHING, Scope
from db.submissions import Submission
from handlers.ai_sdk import wire
from handlers.http.waiting import body_of
from handlers.llm import turns

from .support.clients import Answer, Api, assert_problem
from .support.clock import Clock
from .support.model_server import ModelServer
from .support.readers import Reader
from .support.ui_messages import parts_of, text_in, ui
from .support.world import OTHER_PROJECT, PROJECT

CHAT = "/api/chat"
NO_PROJECT = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def submit(api: Api) -> Callable[..., Answer]:
    """`submit("c", ui("1", "Hi"))` sends what `useChat` sends."""

    def send(id: str, *history: dict[str, Any], headers: Any = None, **fields: Any) -> Answer:
        body = {"id": id, "messages": history, "trigger": "submit-message", **fields}
        body.setdefault("project_id", PROJECT)
        return api.post(CHAT, body, headers=headers)

    return send


@pytest.fixture
def load(api: Api) -> Callable[..., Any]:
    def get(id: str = "c") -> Any:
        answer = api.get(f"{CHAT}/{quote(id, safe='')}")
        assert answer.status == 200
        return answer.json

    return get


@pytest.fixture
def said(load: Callable[..., Any]) -> Callable[..., list[tuple[str, str]]]:
    """The ids and the texts of a chat's messages."""

    def read(id: str = "c") -> list[tuple[str, str]]:
        return [(m["id"], text_in(m)) for m in load(id)["messages"]]

    return read


def rows_of(api: Api, id: str, **query: Any) -> list[dict[str, Any]]:
    return api.get(f"/api/v1/conversations/{id}/messages", **query).json["messages"]


Submit, Load = Callable[..., Answer], Callable[..., Any]
Said = Callable[..., list[tuple[str, str]]]


# --- The parts


def test_an_answer_comes_as_parts(submit: Submit, load: Load, api: Api):
    answer = submit("c", ui("1", "Hello"))
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    chat = load()
    assert answer.headers["location"] == f"/api/v1/conversations/{chat['conversation_id']}"
    assert api.get(answer.headers["location"]).json["key"] == "c"
    assert answer.body.endswith(b"data: [DONE]\n\n")
    first, *texts, last = parts_of(answer.body)
    id = chat["messages"][1]["id"]
    assert first == {"type": "start", "messageId": id}
    assert [part["type"] for part in texts] == ["text-start", "text-delta", "text-end"]
    assert {part["id"] for part in texts} == {texts[0]["id"]}
    assert texts[1]["delta"] == "Hello"
    assert last == {"type": "finish", "finishReason": "stop"}
    assert chat["messages"] == [
        {"id": "1", "role": "user", "parts": [{"type": "text", "text": "Hello"}]},
        {
            "id": id,
            "role": "assistant",
            "parts": [{"type": "text", "text": "Hello", "state": "done"}],
        },
    ]
    assert list(chat) == ["id", "conversation_id", "messages", "activeStreamId"]
    assert (chat["id"], chat["activeStreamId"]) == ("c", None)


def test_a_model_that_fails_is_an_error_to_whoever_asked_only(
    submit: Submit, load: Load, api: Api, model: ModelServer
):
    model.script = lambda reply: reply.begin().say("Hel").cut()
    told = [parts_of(submit("c", ui("1", "Hi")).body), parts_of(api.get(f"{CHAT}/c/stream").body)]
    for parts in told:
        assert [part["type"] for part in parts][:4] == [
            *("start", "text-start", "text-delta", "text-end")
        ]
        assert parts[4] == {"type": "message-metadata", "messageMetadata": {"status": "incomplete"}}
    (error,), (abort,) = told[0][5:], told[1][5:]
    assert error["type"] == "error"
    assert error["errorText"].endswith(".")
    assert abort == {"type": "abort", "reason": "stopped"}
    assert load()["messages"][1]["metadata"] == {"status": "incomplete"}
    assert told[0][:5] == told[1][:5]


def test_an_answer_without_text_has_no_text_part(submit: Submit, load: Load, model: ModelServer):
    model.script = lambda reply: reply.begin().done()
    parts = parts_of(submit("c", ui("1", "Hi")).body)
    assert [part["type"] for part in parts] == ["start", "finish"]
    assert load()["messages"][1]["parts"] == []


def test_a_long_answer_is_told_whole(submit: Submit, model: ModelServer, clock: Clock):
    pieces = [f"{number} 🦊 " for number in range(1000)]
    model.script = lambda reply: reply.begin().say(*pieces).done()
    first = parts_of(submit("c", ui("1", "Hi")).body)
    again = parts_of(submit("c", ui("1", "Hi")).body)
    for parts in (first, again):
        text = "".join(part["delta"] for part in parts if part["type"] == "text-delta")
        assert text == "".join(pieces)
        assert parts[-1]["type"] == "finish"
    assert first[0] == again[0]


# --- Names


@pytest.mark.parametrize("name", ["a/b ?%", "ü🦊", "%2F", "x" * 255, "+", "."], ids=str)
def test_a_chat_may_have_any_name(submit: Submit, load: Load, api: Api, name: str):
    assert submit(name, ui("1", "Hi")).status == 200
    assert load(name)["id"] == name
    assert len(load(name)["messages"]) == 2
    path = f"{CHAT}/{quote(name, safe='')}"
    assert api.get(f"{path}/stream").status == 200
    assert api.post(f"{path}/stop").status == 204


@pytest.mark.parametrize("name", ["", "x" * 256, "a\0b", 7, None])
def test_what_is_no_name_is_refused(submit: Submit, name: Any):
    assert_problem(submit(name, ui("1", "Hi")), 422, "invalid")


def test_a_chat_that_is_not_there_is_empty(load: Load, api: Api):
    assert load("nobody's") == {
        "id": "nobody's",
        "conversation_id": None,
        "messages": [],
        "activeStreamId": None,
    }
    assert api.get(f"{CHAT}/nobody's/stream").status == 204
    assert api.post(f"{CHAT}/nobody's/stop").status == 204


def test_a_conversation_is_opened_by_its_id(submit: Submit, said: Said, api: Api):
    made = api.post("/api/v1/conversations", {"project_id": PROJECT}).json
    api.post(f"/api/v1/conversations/{made['id']}/messages", {"role": "user", "content": "Old"})
    submit(made["id"], ui("1", "New"))
    assert [text for _, text in said(made["id"])] == ["Old", "New", "New"]


def test_a_name_means_the_oldest_that_the_caller_may_see(submit: Submit, load: Load, api: Api):
    for user in ("alice", "bob"):
        submit("c", ui("1", user), headers={"X-User-Id": user})
    submit("c", ui("2", "Anybody"))
    for user in ("alice", "bob"):
        api.headers["X-User-Id"] = user
        assert text_in(load()["messages"][0]) == user
    assert len(load()["messages"]) == 2
    del api.headers["X-User-Id"]
    assert [text_in(message) for message in load()["messages"]] == ["alice"] * 2 + ["Anybody"] * 2


def test_a_chat_begins_in_the_keys_project(api: Api, strangers_key: str):
    body = {"id": "c", "messages": [ui("1", "Hi")]}
    theirs = {"X-API-Key": strangers_key}
    place = api.post(CHAT, body, headers=theirs).headers["location"]
    assert api.get(place, headers=theirs).json["project_id"] == OTHER_PROJECT
    answer = api.post(CHAT, {**body, "project_id": PROJECT}, headers=theirs)
    assert_problem(answer, 403, "other-project")


def test_without_any_project_it_is_refused_unless_the_stage_is_open(
    api: Api, configure: Callable[..., None]
):
    body = {"id": "c", "messages": [ui("1", "Hi")]}
    problem = assert_problem(api.post(CHAT, body), 422, "invalid")
    assert problem["errors"][0]["loc"] == ["body", "project_id"]
    configure(require_api_key="false")
    place = api.post(CHAT, body, headers={"X-API-Key": None}).headers["location"]
    assert api.get(place).json["project_id"] == NO_PROJECT


def test_a_deleted_chat_begins_anew(submit: Submit, said: Said, load: Load, api: Api):
    submit("c", ui("1", "Hi"))
    api.delete(f"/api/v1/conversations/{load()['conversation_id']}")
    assert load()["conversation_id"] is None
    submit("c", ui("1", "Hi"), ui("2", "Again"))
    assert [text for _, text in said()] == ["Hi", "Again", "Again"]


# --- Messages


FILE = {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AAAA"}


def test_parts_and_metadata_come_back_as_they_were(submit: Submit, load: Load, model: ModelServer):
    history = [
        ui("0", "Be brief", role="system"),
        {"id": "1", "role": "user", "parts": [{"type": "text", "text": "See"}, FILE]},
        {
            "id": "2",
            "role": "assistant",
            "parts": [
                {"type": "step-start"},
                {"type": "tool-weather", "toolCallId": "t", "state": "output-available"},
                {"type": "data-x", "data": {"a": [1, None, "\0"]}},
            ],
            "metadata": {"model": "m"},
        },
        {"id": "3", "role": "user", "parts": [{"type": "text", "text": "\0"}], "metadata": {}},
    ]
    assert submit("c", *history).status == 200
    assert load()["messages"][:4] == history
    system, see, _ = model.asked[0].body["messages"]
    assert system == {"role": "system", "content": "Be brief"}
    assert [part["type"] for part in see["content"]] == ["text", "image_url"]
    assert see["content"][1]["image_url"] == {"url": FILE["url"]}


def test_one_text_is_a_string_to_other_dialects(submit: Submit, load: Load, api: Api):
    done = {
        "id": "2",
        "role": "assistant",
        "parts": [{"type": "text", "text": "A", "state": "done"}],
    }
    history = [ui("1", "Q"), done, ui("3", "More")]
    submit("c", *history)
    chat = load()
    assert chat["messages"][:3] == history
    rows = rows_of(api, chat["conversation_id"])
    assert [(row["client_id"], row["content"]) for row in rows] == [
        *(("1", "Q"), ("2", "A"), ("3", "More"), (None, "More")),
    ]


def test_the_role_tool_and_the_answer_in_progress_are_left_out(load: Load, api: Api):
    made = api.post("/api/v1/conversations", {"project_id": PROJECT, "key": "c"}).json
    path = f"/api/v1/conversations/{made['id']}/messages"
    for role, status in (("user", "completed"), ("tool", "completed"), ("assistant", "incomplete")):
        api.post(path, {"role": role, "content": role, "status": status})
    live = api.post(path, {"role": "assistant", "content": "So", "status": "in_progress"}).json
    chat = load()
    assert [message["role"] for message in chat["messages"]] == ["user", "assistant"]
    assert chat["messages"][1]["metadata"] == {"status": "incomplete"}
    assert chat["activeStreamId"] == live["id"]


@pytest.mark.parametrize(
    "change",
    [
        {"messages": [ui("1", "Hi"), ui("1", "Ho")]},
        {"messages": [{"id": "1", "role": "tool", "parts": []}]},
        {"messages": [{"id": "1", "role": "user", "parts": [{"text": "Hi"}]}]},
        {"messages": [{"id": "1", "role": "user", "content": "Hi"}]},
        {"messages": [ui("1", "Hi")], "message": ui("1", "Hi")},
        {"messages": []},
        {"messages": [], "trigger": "regenerate-message"},
        {"messages": [ui("1", "Hi", role="assistant")]},
        {"trigger": "resume-stream"},
        {"model": "gpt"},
    ],
    ids=str,
)
def test_an_invalid_submission_stores_nothing(submit: Submit, load: Load, change: dict[str, Any]):
    history = change.pop("messages", [ui("1", "Hi")])
    assert_problem(submit("c", *history, **change), 422, "invalid")
    assert load()["conversation_id"] is None


# --- What follows from where the client stands


def test_the_stored_history_counts(submit: Submit, said: Said):
    submit("c", ui("1", "One"))
    submit("c", ui("x", "Invented"), ui("2", "Two"))
    assert [text for _, text in said()] == ["One", "One", "Two", "Two"]


@pytest.mark.parametrize("alone", [False, True])
def test_a_retry_is_told_the_same_answer(
    submit: Submit, said: Said, model: ModelServer, alone: bool
):
    def send() -> Answer:
        if alone:
            return submit("c", message=ui("1", "Hi"))
        return submit("c", ui("1", "Hi"))

    first, again = send(), send()
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert first.headers["location"] == again.headers["location"]
    assert joined(first) == joined(again)
    assert len(model.asked) == 1
    assert len(said()) == 2


def joined(answer: Answer) -> list[Any]:
    """The parts, with the text in one delta."""
    parts: list[Any] = []
    for part in parts_of(answer.body):
        if part["type"] == "text-delta" and parts[-1]["type"] == "text-delta":
            parts[-1]["delta"] += part["delta"]
        else:
            parts.append(part)
    return parts


def test_copies_at_the_same_moment_are_one(either_store: Store, model: ModelServer):
    sent = Submission([Draft("user", "Hi", client_id="1")])

    def take(_: int) -> tuple[submissions.Taken, str]:
        taken = submissions.take(Scope(PROJECT, "alice"), "c", PROJECT, sent)
        if not taken.turn.is_known:
            turns.answer(EVERYTHING, taken.conversation_id, taken.turn)
        answer = messages.find(EVERYTHING, taken.conversation_id, taken.turn.answer_id)
        wait = wire.PartsWait(EVERYTHING, answer)
        wait.gathered_seconds = 10
        body = body_of(wait)
        release()
        return taken, body

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(take, range(8)))
    assert len({taken.conversation_id for taken, _ in done}) == 1
    assert len({taken.turn.answer_id for taken, _ in done}) == 1
    assert sum(not taken.turn.is_known for taken, _ in done) == 1
    assert len(model.asked) == 1
    for _, body in done:
        assert [part["type"] for part in parts_of(body.encode())][-1] == "finish"
    database.close()


def test_two_first_messages_at_once_begin_one_chat(either_store: Store):
    def take(number: int) -> submissions.Taken:
        sent = Submission([Draft("user", "Hi", client_id=str(number))])
        taken = submissions.take(Scope(PROJECT, "alice"), "c", PROJECT, sent)
        release()
        return taken

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(take, range(8)))
    (id,) = {taken.conversation_id for taken in done}
    rows = messages.page_for(EVERYTHING, id).rows
    assert len(rows) == 16
    assert [row.status for row in rows if row.role == "assistant"] == [
        *["incomplete"] * 7,
        "in_progress",
    ]
    database.close()


def test_copies_of_an_edit_are_one(either_store: Store):
    scope = Scope(PROJECT, "alice")
    first = Submission([Draft("user", "Hi", client_id="1")])
    edit = Submission([Draft("user", "Ho", client_id="1")], name="1")
    submissions.take(scope, "c", PROJECT, first)

    def take(_: int) -> submissions.Taken:
        taken = submissions.take(scope, "c", PROJECT, edit)
        release()
        return taken

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(take, range(8)))
    assert sum(not taken.turn.is_known for taken in done) == 1
    assert len({taken.turn.answer_id for taken in done}) == 1
    assert len(messages.page_for(EVERYTHING, done[0].conversation_id, branch="all").rows) == 4
    database.close()


def test_an_incomplete_answer_is_written_anew_by_a_retry(
    submit: Submit, said: Said, model: ModelServer, load: Load, api: Api
):
    hello = model.script
    model.script = lambda reply: reply.begin().say("Hel").cut()
    submit("c", ui("1", "Hi"))
    model.script = hello
    assert parts_of(submit("c", ui("1", "Hi")).body)[-1]["type"] == "finish"
    assert [text for _, text in said()] == ["Hi", "Hello, world"]
    assert len(rows_of(api, load()["conversation_id"], branch="all")) == 3


def test_an_older_incomplete_answer_is_told_as_it_is(
    submit: Submit, said: Said, model: ModelServer
):
    hello = model.script
    model.script = lambda reply: reply.begin().say("Hel").cut()
    submit("c", ui("1", "Hi"))
    model.script = hello
    submit("c", ui("2", "Go on"))
    before = said()
    assert parts_of(submit("c", ui("1", "Hi")).body)[-1] == {"type": "abort", "reason": "stopped"}
    assert said() == before


def test_an_edit_is_a_branch_and_takes_over_the_name(
    submit: Submit, said: Said, load: Load, api: Api, model: ModelServer
):
    submit("c", ui("1", "One"))
    submit("c", ui("2", "Two"))
    submit("c", ui("3", "Three"))
    submit("c", ui("2", "Zwei"), messageId="2")
    assert [text for _, text in said()] == ["One", "Hello, world", "Zwei", "Hello, world"]
    assert [id for id, _ in said()][::2] == ["1", "2"]
    assert len(rows_of(api, load()["conversation_id"], branch="all")) == 8
    asked = len(model.asked)
    submit("c", ui("2", "Zwei"), messageId="2")  # a copy
    assert len(model.asked) == asked
    submit("c", message=ui("2", "Deux"))
    assert [text for _, text in said()][2:] == ["Deux", "Hello, world"]
    assert [id for id, _ in said()][2] == "2"
    # With its text as it was, it is asked again where others follow it.
    submit("c", ui("4", "Four"))
    submit("c", ui("1", "One"), messageId="1")
    assert [text for _, text in said()] == ["One", "Hello, world"]


def test_an_edit_of_another_dialects_message_keeps_the_name_that_the_client_has(
    submit: Submit, said: Said, load: Load, api: Api
):
    made = api.post("/api/v1/conversations", {"project_id": PROJECT, "key": "c"}).json
    api.post("/api/v1/chat", {"conversation_id": made["id"], "content": "One"})
    (first, _), _ = said()
    submit("c", ui(first, "Eins"), messageId=first)
    assert said()[0] == (first, "Eins")
    submit("c", ui(first, "Eins"), trigger="regenerate-message")
    assert said()[0] == (first, "Eins")
    assert len(said()) == 2


def test_followers_hear_that_an_edited_message_has_lost_its_name(
    submit: Submit, load: Load, api: Api
):
    submit("c", ui("1", "One"))
    path = f"/api/v1/conversations/{load()['conversation_id']}"
    version = api.get(path).headers["etag"].strip('"')
    submit("c", ui("1", "Eins"), messageId="1")
    told = api.get(f"{path}/events", headers={"Last-Event-ID": version}).body.decode()
    data = [json.loads(line[6:]) for line in told.splitlines() if line.startswith("data: ")]
    renamed, edited, *_ = [each for each in data if "role" in each]
    assert (renamed["content"], renamed["client_id"]) == ("One", None)
    assert (edited["content"], edited["client_id"]) == ("Eins", "1")
    rows = rows_of(api, load()["conversation_id"], branch="all")
    assert [(r["content"], r["client_id"]) for r in rows if r["role"] == "user"] == [
        ("One", None),
        ("Eins", "1"),
    ]


@pytest.mark.parametrize("status", ["completed", "in_progress"])
def test_followers_have_the_whole_text_of_an_edited_message_that_streamed(
    submit: Submit, api: Api, status: str
):
    made = api.post("/api/v1/conversations", {"project_id": PROJECT, "key": "c"}).json
    path = f"/api/v1/conversations/{made['id']}"
    draft = {"role": "user", "content": "O", "status": "in_progress", "client_id": "1"}
    opened = api.post(f"{path}/messages", draft).json
    piece = {"offset": 1, "delta": "ne", "status": status}
    api.post(f"{path}/messages/{opened['id']}/append", piece)
    submit("c", ui("1", "Eins"), messageId="1")
    stored = {
        row["id"]: (row["content"], row["status"]) for row in rows_of(api, made["id"], branch="all")
    }
    assert stored[opened["id"]] == ("One", "completed" if status == "completed" else "incomplete")
    reader = Reader()
    reader.receive(api.get(f"{path}/events").body)
    assert reader.texts == stored


def test_regenerate_writes_another_answer_beside_the_old_one(
    submit: Submit, said: Said, load: Load, api: Api
):
    submit("c", ui("1", "One"))
    submit("c", ui("2", "Two"))
    before = said()
    submit("c", ui("1", "One"), ui("2", "Two"), trigger="regenerate-message")
    after = said()
    assert [text for _, text in after] == [text for _, text in before]
    assert after[:3] == before[:3]
    assert after[3] != before[3]
    submit("c", ui("1", "One"), trigger="regenerate-message", messageId=before[1][0])
    assert [text for _, text in said()] == ["One", "One"]
    assert len(rows_of(api, load()["conversation_id"], branch="all")) == 6


def test_regenerate_of_what_never_arrived_is_as_if_it_were_submitted(submit: Submit, said: Said):
    for name in ("c", "c"):
        submit(name, ui("1", "One"), trigger="regenerate-message")
    submit("c", ui("1", "One"), ui("2", "Two"), trigger="regenerate-message")
    assert [text for _, text in said()] == ["One", "One", "Two", "Two"]


def test_regenerate_without_messages_means_the_newest_question_or_the_one_before(
    submit: Submit, said: Said
):
    submit("c", ui("1", "One"))
    submit("c", ui("2", "Two"))
    first_answer = said()[1][0]
    old = said()[3]
    submit("c", trigger="regenerate-message")
    assert [text for _, text in said()] == ["One", "One", "Two", "Two"]
    assert said()[3] != old
    submit("c", trigger="regenerate-message", messageId=first_answer)
    assert [text for _, text in said()] == ["One", "One"]
    problem = submit("c", trigger="regenerate-message", messageId="nobody")
    assert_problem(problem, 422, "invalid")


def test_tool_results_are_refused(submit: Submit, said: Said):
    submit("c", ui("1", "One"))
    answer = said()[1][0]
    for id in (answer, "new"):
        assert_problem(submit("c", ui(id, "One", role="assistant")), 422, "invalid")


# --- What is in progress


@pytest.fixture
def opened(api: Api) -> MessageRow:
    """An answer in progress in the chat "c"."""
    row = conversations.start(Scope(PROJECT), PROJECT, key="c")
    drafts = [Draft("user", "Hi", client_id="1"), Draft("assistant", "So", "in_progress")]
    answer = messages.append(EVERYTHING, row.id, drafts)[1]
    database.close()
    return answer


def test_the_next_message_ends_what_is_in_progress(submit: Submit, load: Load, opened: MessageRow):
    submit("c", ui("1", "Hi"), ui("2", "Wait"))
    assert [m.get("metadata") for m in load()["messages"]] == [
        *(None, {"status": "incomplete"}, None, None)
    ]


@pytest.mark.parametrize("trigger", ["submit-message", "regenerate-message"])
def test_a_copy_follows_what_is_in_progress(
    submit: Submit, load: Load, opened: MessageRow, configure: Callable[..., None], trigger: str
):
    configure(chat_timeout=0.2)  # for which a buffered response waits
    parts = parts_of(submit("c", ui("1", "Hi"), trigger=trigger).body, is_whole=False)
    assert parts[0] == {"type": "start", "messageId": opened.id}
    assert [part["type"] for part in parts] == ["start", "text-start", "text-delta"]
    assert load()["activeStreamId"] == opened.id


def test_an_answer_in_progress_is_regenerated_if_it_is_named(
    submit: Submit, load: Load, opened: MessageRow
):
    submit("c", ui("1", "Hi"), trigger="regenerate-message", messageId=opened.id)
    assert load()["messages"][1]["id"] != opened.id
    assert load()["activeStreamId"] is None


def test_stop_ends_the_answer_that_the_client_means(api: Api, load: Load, opened: MessageRow):
    for body in (
        {"activeStreamId": "another"},
        {"activeStreamId": opened.id, "assistantMessage": ui("x", "So", role="assistant")},
    ):
        assert load()["activeStreamId"] == opened.id
        assert api.post(f"{CHAT}/c/stop", body).status == 204
    assert load()["activeStreamId"] is None
    assert load()["messages"][1]["metadata"] == {"status": "incomplete"}


def test_stop_needs_no_body(api: Api, load: Load, opened: MessageRow):
    assert api.post(f"{CHAT}/c/stop").status == 204
    assert load()["activeStreamId"] is None


def test_an_answer_that_has_just_ended_is_resumed_too(api: Api, opened: MessageRow, clock: Clock):
    api.post(f"{CHAT}/c/stop")
    parts = parts_of(api.get(f"{CHAT}/c/stream").body)
    assert parts[0] == {"type": "start", "messageId": opened.id}
    assert parts[-1] == {"type": "abort", "reason": "stopped"}
    clock.move(seconds=4.5)
    assert api.get(f"{CHAT}/c/stream").status == 200
    clock.move(seconds=1)
    assert api.get(f"{CHAT}/c/stream").status == 204


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ({"type": "tool_call", "id": "k", "name": "f", "arguments": "{}"}, None),
        ({"type": "file", "url": "data:,", "mediaType": "text/plain"}, None),
        ({"type": "text", "text": "Hello"}, "Hello"),
    ],
    ids=["call", "file", "text"],
)
def test_only_text_is_resumed_as_text(
    submit: Submit, api: Api, load: Load, part: dict[str, Any], text: str | None
):
    submit("c", ui("1", "Hi"))
    draft = Draft("assistant", [part])
    messages.append(EVERYTHING, load()["conversation_id"], [draft])
    database.close()
    parts = parts_of(api.get(f"{CHAT}/c/stream").body)
    told = "".join(each["delta"] for each in parts if each["type"] == "text-delta")
    assert told == (text or "")


def test_only_the_newest_message_is_resumed(submit: Submit, api: Api, load: Load):
    submit("c", ui("1", "Hi"))
    assert api.get(f"{CHAT}/c/stream").status == 200
    path = f"/api/v1/conversations/{load()['conversation_id']}/messages"
    api.post(path, {"role": "user", "content": "Next"})
    assert api.get(f"{CHAT}/c/stream").status == 204


def test_a_buffered_response_ends_after_max_wait_without_finish(
    api: Api, opened: MessageRow, configure: Callable[..., None]
):
    configure(max_wait=0.3)
    streams.append(EVERYTHING, opened.conversation_id, opened.id, 2, " far")
    database.close()
    answer = api.get(f"{CHAT}/c/stream")
    parts = parts_of(answer.body, is_whole=False)
    assert [part["type"] for part in parts] == ["start", "text-start", "text-delta", "text-delta"]
    assert b"[DONE]" not in answer.body


def test_after_a_crash_it_is_incomplete(api: Api, opened: MessageRow, clock: Clock, load: Load):
    clock.move(seconds=61)
    parts = parts_of(api.get(f"{CHAT}/c/stream").body)
    assert parts[-1] == {"type": "abort", "reason": "stopped"}
    assert load()["messages"][1]["metadata"] == {"status": "incomplete"}


def test_an_answer_that_is_deleted_is_told_as_stopped(
    submit: Submit, load: Load, monkeypatch: pytest.MonkeyPatch
):
    def ask(*asked: object) -> Iterator[str]:
        yield "Hel"
        id = str(conversations.named(EVERYTHING, "c"))
        leaf_id = conversations.find(EVERYTHING, id).last_message_id
        messages.remove(EVERYTHING, id, str(leaf_id))
        yield "lo"

    monkeypatch.setattr(turns, "ask", ask)
    parts = parts_of(submit("c", ui("1", "Hi")).body)
    assert [part["type"] for part in parts] == ["start", "message-metadata", "abort"]
    assert [text_in(message) for message in load()["messages"]] == ["Hi"]


def test_an_edit_of_an_answer_in_progress_is_told(api: Api, opened: MessageRow, load: Load):
    path = f"/api/v1/conversations/{opened.conversation_id}/messages/{opened.id}"
    api.patch(path, {"content": "Done by hand", "status": "completed"})
    parts = parts_of(api.get(f"{CHAT}/c/stream").body)
    assert "".join(p["delta"] for p in parts if p["type"] == "text-delta") == "Done by hand"
    assert parts[-1]["type"] == "finish"
