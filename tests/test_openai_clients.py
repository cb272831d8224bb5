"""Tests conversations and their items with OpenAI's own client."""

import json
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai import OpenAI

from .support.clients import Api
from .support.openai_clients import (
    CALL,
    NO_PROJECT,
    OUTPUT,
    UNKNOWN,
    Connect,
    as_sent,
    hex_of,
    items_in,
    listed,
    message,
    said_in,
    text_of,
)
from .support.threads import at_once
from .support.world import PROJECT

INCLUDE: Any = ["message.output_text.logprobs", "reasoning.encrypted_content"]
REASONING: Any = {"type": "reasoning", "id": "rs_theirs", "summary": [], "encrypted_content": "x"}


@pytest.fixture
def id(client: OpenAI) -> str:
    return client.conversations.create().id


def body_of(response: Any) -> Any:
    """The JSON of a raw response, in its order."""
    return json.loads(response.text)


# Conversations


def test_a_conversation_is_made_with_items_and_metadata(client: OpenAI):
    before = int(time.time())
    made = client.conversations.create(items=[message("Hi")], metadata={"topic": "demo"})
    assert made.id.startswith("conv_")
    assert len(made.id) == len("conv_") + 32
    assert made.object == "conversation"
    assert before <= made.created_at <= time.time()
    assert made.metadata == {"topic": "demo"}
    assert client.conversations.retrieve(made.id) == made
    assert said_in(client, made.id) == [("user", "Hi")]


def test_a_conversation_needs_nothing(client: OpenAI):
    for made in (
        client.conversations.create(),
        client.conversations.create(items=[], metadata={}),
        client.conversations.create(items=None, metadata=None),
    ):
        assert made.metadata == {}
        assert items_in(client, made.id) == []


def test_the_fields_of_a_conversation_are_in_their_order(client: OpenAI, id: str):
    found = body_of(client.conversations.with_raw_response.retrieve(id))
    names = ["id", "object", "created_at", "metadata", "title", "updated_at", "is_archived"]
    assert list(found) == names
    assert found["title"] is None
    assert found["is_archived"] is False
    assert isinstance(found["created_at"], int)
    assert isinstance(found["updated_at"], int)


def test_metadata_is_replaced_as_a_whole(client: OpenAI, id: str):
    updated = client.conversations.update(id, metadata={"a": "1", "b": "2"})
    assert updated.metadata == {"a": "1", "b": "2"}
    assert client.conversations.update(id, metadata={"c": "3"}).metadata == {"c": "3"}
    assert client.conversations.retrieve(id).metadata == {"c": "3"}
    assert client.conversations.update(id, metadata=None).metadata == {}
    assert client.conversations.retrieve(id).metadata == {}


def test_a_title_can_be_given_and_changed(client: OpenAI):
    made: Any = client.conversations.create(extra_body={"title": "Trip"})
    assert made.title == "Trip"
    kept: Any = client.conversations.update(made.id, metadata={})
    assert kept.title == "Trip"
    renamed: Any = client.conversations.update(made.id, metadata={}, extra_body={"title": "Paris"})
    assert renamed.title == "Paris"


def test_metadata_of_another_dialect_that_does_not_fit_outlives_an_update(
    client: OpenAI, other_api: Api
):
    metadata = {"shown": "yes", "number": 1, "long": "x" * 513}
    body = {"project_id": PROJECT, "metadata": metadata}
    id = other_api.post("/api/v1/conversations", body).json["id"]
    assert client.conversations.retrieve(id).metadata == {"shown": "yes"}
    assert client.conversations.update(id, metadata={"new": "1"}).metadata == {"new": "1"}
    stored = other_api.get(f"/api/v1/conversations/{id}").json["metadata"]
    assert stored == {"number": 1, "long": "x" * 513, "new": "1"}


def test_a_deleted_conversation_is_gone_with_its_items(client: OpenAI):
    id = client.conversations.create(items=[message("Hi")]).id
    item_id = items_in(client, id)[0].id
    deleted = client.conversations.delete(id)
    assert (deleted.id, deleted.object, deleted.deleted) == (id, "conversation.deleted", True)
    gone: list[Callable[[], object]] = [
        lambda: client.conversations.retrieve(id),
        lambda: client.conversations.update(id, metadata={}),
        lambda: client.conversations.delete(id),
        lambda: items_in(client, id),
        lambda: client.conversations.items.create(id, items=[message("Hi")]),
        lambda: client.conversations.items.retrieve(item_id, conversation_id=id),
        lambda: client.conversations.items.delete(item_id, conversation_id=id),
        lambda: client.responses.create(input="Hi", conversation=id),
    ]
    for ask in gone:
        with pytest.raises(openai.NotFoundError):
            ask()


def test_of_an_id_only_the_hex_counts(client: OpenAI):
    made = client.conversations.create(items=[message("Hi")])
    (item,) = items_in(client, made.id)
    plain, other = hex_of(made.id), hex_of(item.id)
    uuid = "-".join((plain[:8], plain[8:12], plain[12:16], plain[16:20], plain[20:]))
    for id in (uuid, plain, f"conv_{plain}", f"chat_{plain}"):
        assert client.conversations.retrieve(id) == made
        assert client.conversations.items.retrieve(f"fc_{other}", conversation_id=id) == item


def test_a_project_is_the_headers_or_the_nil_one(connect: Connect, client: OpenAI, other_api: Api):
    theirs = connect(project=PROJECT).conversations.create()
    openais = connect(project="proj_abc").conversations.create()
    ours = client.conversations.create()
    for made, project in ((theirs, PROJECT), (openais, "proj_abc"), (ours, NO_PROJECT)):
        row = other_api.get(f"/api/v1/conversations/{hex_of(made.id)}").json
        assert row["project_id"] == project
        assert client.conversations.retrieve(made.id) == made  # in all projects
    assert connect(project=PROJECT).conversations.retrieve(theirs.id) == theirs
    with pytest.raises(openai.NotFoundError):
        connect(project=PROJECT).conversations.retrieve(ours.id)
    with pytest.raises(openai.NotFoundError):
        connect(project=PROJECT).responses.create(input="Hi", conversation=ours.id)


def test_an_organization_is_ignored(connect: Connect, id: str):
    assert connect(organization="org-1").conversations.retrieve(id).id == id


def test_a_user_has_conversations_of_their_own(connect: Connect):
    alice, bob = (connect(default_headers={"X-User-Id": name}) for name in ("alice", "bob"))
    id = alice.conversations.create().id
    assert alice.conversations.retrieve(id).id == id
    with pytest.raises(openai.NotFoundError):
        bob.conversations.retrieve(id)


def test_conversations_are_listed_newest_first(client: OpenAI):
    ids = [client.conversations.create(metadata={"n": str(n % 2)}).id for n in range(5)]
    assert listed(client, limit=2) == ids[::-1]
    assert listed(client, limit=2, order="asc") == ids
    assert listed(client, after=ids[3]) == ids[2::-1]
    assert listed(client, order="asc", after=ids[3]) == ids[4:]
    assert listed(client, **{"metadata[n]": "1"}, limit=1) == [ids[3], ids[1]]
    assert listed(client, **{"metadata[n]": "1", "metadata[m]": "1"}) == []


def test_a_page_of_conversations_tells_its_ends(client: OpenAI):
    ids = [client.conversations.create().id for _ in range(4)]
    page: Any = client.get(
        "/conversations", cast_to=object, options={"params": {"before": ids[0], "limit": 2}}
    )
    assert list(page) == ["object", "data", "first_id", "last_id", "has_more"]
    shown = [conversation["id"] for conversation in page["data"]]
    assert (page["first_id"], page["last_id"]) == (shown[0], shown[-1])
    assert page["has_more"] is True
    assert set(shown) < set(ids[1:])


# Items


def test_items_are_added_in_order(client: OpenAI, id: str):
    added = client.conversations.items.create(
        id, items=[message("Hi"), CALL, OUTPUT, message("It is sunny.", "assistant")]
    )
    assert added.object == "list"
    assert added.has_more is False
    assert [item.id for item in added.data] == [item.id for item in items_in(client, id)]
    assert (added.first_id, added.last_id) == (added.data[0].id, added.data[-1].id)
    assert said_in(client, id) == [
        ("user", "Hi"),
        ("function_call", "weather({})"),
        ("function_call_output", "sunny"),
        ("assistant", "It is sunny."),
    ]


@pytest.mark.parametrize(
    ("item", "prefix", "shown"),
    [
        (
            {"role": "user", "content": "Hi"},
            "msg",
            {"type": "message", "status": "completed", "role": "user",
             "content": [{"type": "input_text", "text": "Hi"}]},
        ),
        (
            message("Be brief.", "system"),
            "msg",
            {"type": "message", "status": "completed", "role": "system",
             "content": [{"type": "input_text", "text": "Be brief."}]},
        ),
        (
            message("Be brief.", "developer"),
            "msg",
            {"type": "message", "status": "completed", "role": "developer",
             "content": [{"type": "input_text", "text": "Be brief."}]},
        ),
        (
            {**message("Hello", "assistant"), "phase": "commentary"},
            "msg",
            {"type": "message", "status": "completed", "role": "assistant",
             "content": [{"type": "output_text", "text": "Hello", "annotations": [],
                          "logprobs": []}],
             "phase": "commentary"},
        ),
        (
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "Look:"},
                {"type": "input_image", "image_url": "data:image/png;base64,", "detail": "low"}]},
            "msg",
            {"type": "message", "status": "completed", "role": "user", "content": [
                {"type": "input_text", "text": "Look:"},
                {"type": "input_image", "image_url": "data:image/png;base64,", "detail": "low"}]},
        ),
        (CALL, "fc", {**CALL, "status": "completed"}),
        ({**CALL, "status": "incomplete"}, "fc", {**CALL, "status": "incomplete"}),
        (OUTPUT, "fco", {**OUTPUT, "status": "completed"}),
        (REASONING, "rs", REASONING),
        (
            {"type": "web_search_call", "status": "completed",
             "action": {"type": "search", "query": "weather"}},
            "ws",
            {"type": "web_search_call", "status": "completed",
             "action": {"type": "search", "query": "weather"}},
        ),
        (
            {"type": "file_search_call", "id": "x", "queries": [], "status": "completed"},
            "fs",
            {"type": "file_search_call", "id": "x", "queries": [], "status": "completed"},
        ),
        (UNKNOWN, "item", UNKNOWN),
    ],
)  # fmt: skip
def test_an_item_comes_back_as_it_was_sent(
    client: OpenAI, id: str, item: Any, prefix: str, shown: Any
):
    (added,) = body_of(client.conversations.items.with_raw_response.create(id, items=[item]))[
        "data"
    ]
    assert added["id"].startswith(f"{prefix}_")
    assert len(hex_of(added["id"])) == 32
    assert added == {**shown, "id": added["id"]}
    (listed,) = body_of(client.conversations.items.with_raw_response.list(id))["data"]
    one = body_of(
        client.conversations.items.with_raw_response.retrieve(added["id"], conversation_id=id)
    )
    assert added == listed == one
    parsed = client.conversations.items.retrieve(added["id"], conversation_id=id)
    assert json.loads(parsed.to_json()) == added


def test_an_item_of_an_unknown_type_comes_back_byte_for_byte(client: OpenAI, id: str):
    items = client.conversations.items.with_raw_response
    item_id = body_of(items.create(id, items=[UNKNOWN]))["data"][0]["id"]
    for found in (
        body_of(items.retrieve(item_id, conversation_id=id)),
        body_of(items.list(id))["data"][0],
    ):
        assert as_sent(found) == as_sent(UNKNOWN)


def test_an_item_of_an_unknown_type_is_stored_verbatim(client: OpenAI, id: str, other_api: Api):
    client.conversations.items.create(id, items=[UNKNOWN])
    path = f"/api/v1/conversations/{hex_of(id)}/messages"
    (stored,) = other_api.get(path).json["messages"]
    assert [json.dumps(part) for part in stored["content"]] == [json.dumps(UNKNOWN)]
    assert stored["role"] == "assistant"


def test_a_message_that_streams_is_stored_incomplete(client: OpenAI, id: str):
    sent: Any = {**message("Hel", "assistant"), "status": "in_progress"}
    client.conversations.items.create(id, items=[sent])
    assert [item.status for item in items_in(client, id)] == ["incomplete"]


def test_a_deleted_item_is_gone_and_the_conversation_is_answered(client: OpenAI, id: str):
    added = client.conversations.items.create(id, items=[message("one"), message("two")]).data
    left = client.conversations.items.delete(added[0].id or "", conversation_id=id)
    assert (left.id, left.object) == (id, "conversation")
    assert said_in(client, id) == [("user", "two")]
    with pytest.raises(openai.NotFoundError):
        client.conversations.items.retrieve(added[0].id or "", conversation_id=id)


def test_all_items_are_added_or_none(client: OpenAI, id: str):
    bad: Any = [message("one"), {"type": "message", "role": "king", "content": "two"}]
    with pytest.raises(openai.BadRequestError) as raised:
        client.conversations.items.create(id, items=bad)
    assert raised.value.param == "items[1].role"
    assert items_in(client, id) == []
    with pytest.raises(openai.BadRequestError):
        client.conversations.create(items=bad)
    assert listed(client) == [id]


def test_twenty_items_are_added_at_once_and_no_more(client: OpenAI, id: str):
    assert len(client.conversations.items.create(id, items=[message("x")] * 20).data) == 20
    with pytest.raises(openai.BadRequestError) as raised:
        client.conversations.items.create(id, items=[message("x")] * 21)
    assert raised.value.param == "items"
    with pytest.raises(openai.BadRequestError):
        client.conversations.create(items=[message("x")] * 21)
    assert len(items_in(client, id)) == 20


@pytest.fixture
def many(client: OpenAI, id: str, other_api: Api) -> list[str]:
    """The ids of 110 items, oldest first."""
    found = []
    for start in (0, 55):
        batch = [{"role": "user", "content": str(start + number)} for number in range(55)]
        path = f"/api/v1/conversations/{hex_of(id)}/messages"
        found += other_api.post(path, batch).json
    return [f"msg_{row['id'].replace('-', '')}" for row in found]


@pytest.mark.parametrize("limit", [None, 11, 100])
def test_the_clients_iterator_finds_all_items(
    client: OpenAI, id: str, many: list[str], limit: int | None
):
    more: Any = {} if limit is None else {"limit": limit}
    items = client.conversations.items
    assert [item.id for item in items.list(id, order="asc", **more)] == many
    assert [item.id for item in items.list(id, order="desc", **more)] == many[::-1]
    assert [item.id for item in items.list(id, **more)] == many[::-1]


def test_pages_have_their_sizes(client: OpenAI, id: str, many: list[str]):
    pages = list(client.conversations.items.list(id).iter_pages())
    assert [len(page.data) for page in pages] == [20, 20, 20, 20, 20, 10]
    assert [page.has_more for page in pages] == [True] * 5 + [False]
    pages = list(client.conversations.items.list(id, limit=55).iter_pages())
    assert [(len(page.data), page.has_more) for page in pages] == [(55, True), (55, False)]


def test_a_page_begins_after_an_item_or_ends_before_one(client: OpenAI, id: str, many: list[str]):
    items = client.conversations.items
    page = items.list(id, order="asc", after=many[40], limit=2)
    assert [item.id for item in page.data] == many[41:43]
    page = items.list(id, order="desc", after=many[40], limit=2)
    assert [item.id for item in page.data] == [many[39], many[38]]
    page = items.list(id, order="asc", extra_query={"before": many[2]}, limit=100)
    assert [item.id for item in page.data] == many[:2]
    assert page.has_more is False
    page = items.list(id, order="asc", after=many[-1])
    assert (page.data, page.last_id, page.has_more) == ([], None, False)


def test_include_is_taken_everywhere(client: OpenAI, id: str):
    items = client.conversations.items
    (added,) = items.create(id, items=[message("Hi")], include=INCLUDE).data
    assert items.retrieve(added.id or "", conversation_id=id, include=INCLUDE) == added
    assert list(items.list(id, include=INCLUDE)) == [added]


@pytest.mark.usefixtures("either_store")
def test_items_that_are_added_at_once_are_all_there(connect: Connect, id: str):
    clients = [connect() for _ in range(4)]

    def add(client: OpenAI) -> list[str]:
        batch = [message(f"{clients.index(client)} {number}") for number in range(5)]
        return [text_of(item) for item in client.conversations.items.create(id, items=batch).data]

    batches = at_once(*(lambda client=client: add(client) for client in clients))
    texts = [text for _, text in said_in(clients[0], id)]
    assert sorted(texts) == sorted(text for batch in batches for text in batch)
    for batch in batches:
        start = texts.index(batch[0])
        assert texts[start : start + 5] == batch


@pytest.mark.parametrize("path", ["/v1/conversations", "/v1/responses"])
def test_a_page_may_send_all_that_the_client_for_javascript_sends(other_api: Api, path: str):
    answer = other_api.request("OPTIONS", path)
    allowed = answer.headers["access-control-allow-headers"].lower().replace(" ", "").split(",")
    names = "lang package-version os arch runtime runtime-version retry-count timeout helper-method"
    assert {"authorization", "openai-organization", "openai-project", "idempotency-key"} <= {
        *allowed
    }
    assert {f"x-stainless-{name}" for name in names.split()} <= {*allowed}
