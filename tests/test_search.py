"""Tests search, as a caller of the route sees it. `test_search_properties` has the reference."""

import json
import random
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

from db import conversations, messages, search, search_index, streams, trash
from db.engine.connect import Store
from db.engine.database import database
from db.messages import Draft
from db.scope import EVERYTHING, Scope
from db.search import NEWEST
from handlers.http.caller import Caller
from handlers.search import SearchQuery, SearchResult, search_messages

from .support.clients import Api, assert_problem
from .support.world import OTHER_PROJECT, PROJECT


@pytest.fixture(params=["behind", "up to date"])
def settle(request: pytest.FixtureRequest) -> Callable[[], None]:
    """Bring the index up to date, or do not: nobody can tell the difference."""

    def follow() -> None:
        while request.param == "up to date" and search_index.follow():
            pass

    return follow


def say(content: Any, scope: Scope = EVERYTHING, title: str | None = None) -> str:
    """A new conversation with one message. Return the id of the message."""
    row = conversations.start(scope, scope.project_id or PROJECT, title)
    return messages.append(scope, row.id, [Draft("user", content)])[0].id


def found(caller: Caller, q: str, **query: Any) -> list[SearchResult]:
    return search_messages(caller, SearchQuery(q=q, **query)).body.results


def ids(results: list[SearchResult]) -> list[str | None]:
    return [result.message.id if result.message else None for result in results]


def test_a_message_is_found_and_its_words_are_shown(anyone: Caller, settle: Callable[[], None]):
    id = say("Wir fahren morgen nach ZÜRICH, und übermorgen zurück.")
    settle()
    (result,) = found(anyone, "zurich ubermorgen")
    assert result.message is not None
    assert (result.message.id, result.message.role) == (id, "user")
    shown = [result.snippet[start:end] for start, end in result.highlights]
    assert shown == ["ZÜRICH", "übermorgen"]


def test_a_title_is_found_without_a_message(anyone: Caller, settle: Callable[[], None]):
    say("nothing", title="Trip to Paris")
    settle()
    (result,) = found(anyone, "paris trip")
    assert (result.message, result.snippet) == (None, "Trip to Paris")
    assert result.highlights == [(0, 4), (8, 13)]
    assert found(anyone, "paris", role="user") == []


def test_all_words_are_in_one_message_or_all_in_the_title(
    anyone: Caller, settle: Callable[[], None]
):
    say("Paris", title="Trip")
    settle()
    assert found(anyone, "trip paris") == []


@pytest.mark.parametrize(
    ("q", "is_found"),
    [
        ("quick fox", True),
        ('"quick brown fox"', True),
        ('"quick fox"', False),
        ("quick -fox", False),
        ("quick -cat", True),
        ('quick -"brown fox"', False),
        ('quick -"fox brown"', True),
        ("-cat", False),
        ("qui*", True),
        ("qui", False),
        ("q*", True),
        ('"quick bro"*', True),
        ("well-known", True),
        ("known-well", False),
        ("snake_case", True),
        ("case_snake", False),
        ("🎉", True),
        ("🎊", False),
        ("++", False),
        ('"well known', True),
        ("x)", False),
        ("fox OR cat", False),
    ],
)
def test_what_is_asked_for(anyone: Caller, settle: Callable[[], None], q: str, is_found: bool):
    say("The quick brown fox has a well-known snake_case 🎉!")
    settle()
    assert bool(found(anyone, q)) == is_found


@pytest.mark.parametrize(
    ("text", "q"),
    [
        ("我们明天去上海", "明天"),
        ("我们明天去上海", "我们明天去上海"),
        ("東京でラーメンを食べたい", "ﾗｰﾒﾝ"),
        ("ที่พักในกรุงเทพ", "กรุงเทพ"),
        ("用Python写代码", "python 代码"),
        ("Żółć", "zołc"),
        ("Straße", "STRASSE"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("مُحَمَّد", "محمد"),
        ("שָׁלוֹם", "שלום"),
        ("cafe\u0301", "café"),
        ("한국어 공부", "한국어"),
        ("ＦＵＬＬ　ｗｉｄｔｈ", "full width"),
    ],
)
def test_every_script_is_found(anyone: Caller, settle: Callable[[], None], text: str, q: str):
    say(text)
    settle()
    (result,) = found(anyone, q)
    assert result.highlights


def test_the_text_of_parts_is_found(anyone: Caller, settle: Callable[[], None]):
    parts = [{"type": "text", "text": "first"}, {"type": "image", "url": "hidden"}, {"text": "two"}]
    say(parts)
    settle()
    assert [result.snippet for result in found(anyone, "first two")] == ["first\ntwo"]
    assert found(anyone, "hidden") == []


def test_every_branch_is_found(anyone: Caller, settle: Callable[[], None]):
    row = conversations.start(EVERYTHING, PROJECT)
    for text in ("one way", "another way"):
        messages.append(EVERYTHING, row.id, [Draft("user", text, parent_id=None)])
    settle()
    assert len(found(anyone, "way")) == 2


def test_a_message_is_found_when_it_is_finished(anyone: Caller, settle: Callable[[], None]):
    row = conversations.start(EVERYTHING, PROJECT)
    draft = Draft("assistant", "Once upon", "in_progress")
    (message,) = messages.append(EVERYTHING, row.id, [draft])
    settle()
    assert found(anyone, "once") == []
    streams.append(EVERYTHING, row.id, message.id, 9, " a time", "incomplete")
    settle()
    assert ids(found(anyone, '"upon a time"')) == [message.id]
    messages.edit(EVERYTHING, row.id, message.id, status="in_progress")
    settle()
    assert found(anyone, "once") == []


def test_what_was_edited_away_or_deleted_is_not_found(anyone: Caller, settle: Callable[[], None]):
    row = conversations.start(EVERYTHING, PROJECT, "Heading")
    first, second = messages.append(
        EVERYTHING, row.id, [Draft("user", "apple"), Draft("user", "banana")]
    )
    settle()
    messages.edit(EVERYTHING, row.id, first.id, content="cherry")
    messages.remove(EVERYTHING, row.id, second.id)
    conversations.change(EVERYTHING, row.id, title="Caption")
    for _ in range(2):
        assert [found(anyone, q) for q in ("apple", "banana", "heading")] == [[], [], []]
        assert ids(found(anyone, "cherry")) == [first.id]
        assert ids(found(anyone, "caption")) == [None]
        settle()


def test_the_trash_is_not_found_until_it_is_restored(anyone: Caller, settle: Callable[[], None]):
    id = say("lost and found")
    conversation_id = found(anyone, "lost")[0].conversation.id
    settle()
    conversations.remove(EVERYTHING, conversation_id)
    settle()
    assert found(anyone, "lost") == []
    trash.restore(EVERYTHING, conversation_id)
    assert ids(found(anyone, "lost")) == [id]
    settle()
    assert ids(found(anyone, "lost")) == [id]


def test_a_search_stays_within_the_callers_scope(settle: Callable[[], None]):
    scopes = [Scope(PROJECT, "alice"), Scope(PROJECT, "bob"), Scope(PROJECT), Scope(OTHER_PROJECT)]
    said = {scope: say("secret plan", scope, "secret title") for scope in scopes}
    settle()

    def seen(scope: Scope) -> set[str | None]:
        return set(ids(found(Caller(scope), "secret"))) - {None}

    assert seen(Scope(PROJECT, "alice")) == {said[scopes[0]]}
    assert seen(Scope(PROJECT)) == {said[scope] for scope in scopes[:3]}
    assert seen(Scope(OTHER_PROJECT)) == {said[scopes[3]]}
    assert seen(Scope(OTHER_PROJECT, "alice")) == set()
    assert seen(EVERYTHING) == set(said.values())


def test_the_marks_of_documents_cannot_be_searched(anyone: Caller, settle: Callable[[], None]):
    say("anything", Scope(PROJECT, "alice"))
    settle()
    for mark in (*search_index.owner_marks(PROJECT, "alice"), "_u", "_t"):
        assert found(anyone, mark) == []
        assert found(anyone, f"{mark}*") == []


def test_two_owners_whose_marks_are_the_same_are_told_apart(
    anyone: Caller, settle: Callable[[], None], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(search_index, "_digest", lambda name: "same")
    say("secret plan", Scope(PROJECT, "alice"))
    settle()
    assert len(found(Caller(Scope(PROJECT, "alice")), "plan")) == 1
    assert found(Caller(Scope(PROJECT, "bob")), "plan") == []
    assert found(Caller(Scope(OTHER_PROJECT)), "plan") == []


def test_archived_conversations_can_be_told_apart(anyone: Caller, settle: Callable[[], None]):
    kept, archived = say("common word"), say("common word")
    id = next(r.conversation.id for r in found(anyone, "word") if ids([r]) == [archived])
    settle()
    conversations.change(EVERYTHING, id, is_archived=True)
    for _ in range(2):
        assert ids(found(anyone, "word", is_archived=False)) == [kept]
        assert ids(found(anyone, "word", is_archived=True)) == [archived]
        assert len(found(anyone, "word")) == 2
        settle()


def test_the_most_relevant_come_first(anyone: Caller, settle: Callable[[], None]):
    long = say("Somewhere in this long text there is a single mouse, and then " + "words " * 200)
    short = say("mouse mouse")
    titled = say("nothing", title="The mouse")
    say("newer, and nothing of it " * 3)
    settle()
    results = found(anyone, "mouse")
    assert ids(results) == [None, short, long]
    assert titled


def test_the_newest_come_first(anyone: Caller, settle: Callable[[], None]):
    said = [say(f"word {number}", title="word") for number in range(5)]
    settle()
    results = [id for id in ids(found(anyone, "word", sort="newest")) if id]
    assert results == said[::-1]


def pages(api: Api, **query: Any) -> list[list[str]]:
    """The ids of all pages, one after the other."""
    answer = api.get("/api/v1/search", **query)
    seen = [[result["message"]["id"] for result in answer.json["results"]]]
    while answer.json["has_more"]:
        path = re.search(r'<([^>]*)>; rel="next"', answer.headers["link"])
        assert path
        answer = api.get(path[1])
        seen.append([result["message"]["id"] for result in answer.json["results"]])
    assert "link" not in answer.headers
    return seen


@pytest.mark.parametrize("sort", ["newest", "relevance"])
def test_pages_have_every_hit_once(
    api: Api, settle: Callable[[], None], sort: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(search, "WINDOW", 10)
    monkeypatch.setattr(search, "CANDIDATES", 4)
    row = conversations.start(EVERYTHING, PROJECT)
    drafts = [Draft("user", "word " * (1 + number % 3)) for number in range(50)]
    said = [message.id for message in messages.append(EVERYTHING, row.id, drafts)]
    settle()
    database.close()
    seen = pages(api, q="word", sort=sort, limit=7)
    assert [len(page) for page in seen] == [7] * 7 + [1]
    flat = [id for page in seen for id in page]
    assert flat == said[::-1] if sort == "newest" else sorted(flat) == said


def test_by_newest_nothing_repeats_while_others_write(api: Api):
    said = [say("word") for _ in range(40)]
    stop = threading.Event()

    def write() -> None:
        rng = random.Random(1)
        while not stop.is_set():
            say("word")
            if rng.random() < 0.2:
                search_index.follow()
        database.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        database.close()
        for _ in range(5):
            flat = [id for page in pages(api, q="word", sort="newest", limit=3) for id in page]
            assert len(set(flat)) == len(flat)
            assert flat == sorted(flat, reverse=True)
            assert set(said) <= set(flat)
    finally:
        stop.set()
        writer.join()


def test_a_cursor_of_another_search_is_refused(api: Api):
    for _ in range(3):
        say("word")
    database.close()
    link = api.get("/api/v1/search", q="word", limit=1).headers["link"]
    cursor = re.search("cursor=([^&>]*)", link)
    assert cursor
    for other in ({"q": "words"}, {"q": "word", "sort": "newest"}, {"q": "word", "role": "user"}):
        answer = api.get("/api/v1/search", **other, cursor=cursor[1])
        assert_problem(answer, 422, "invalid")
    assert api.get("/api/v1/search", q="word", limit=2, cursor=cursor[1]).status == 200


@pytest.mark.parametrize("q", ["", " ", "\t\n", "\u3000", "x" * 301, None])
def test_an_empty_or_endless_query_is_refused(api: Api, q: str | None):
    answer = api.get("/api/v1/search", **({} if q is None else {"q": q}))
    assert_problem(answer, 422, "invalid")


@pytest.mark.parametrize("q", ["\0", "x" * 300, '"' * 300, "-" * 300, "*", "\ufeff", "%", "'"])
def test_nothing_else_is_an_error(api: Api, q: str):
    assert api.get("/api/v1/search", q=q).json == {"results": [], "has_more": False}


def test_an_answer_has_the_documented_fields(api: Api):
    id = say("Hello there", title="A title")
    database.close()
    (result,) = api.get("/api/v1/search", q="hello").json["results"]
    assert list(result) == ["conversation", "message", "snippet", "highlights"]
    conversation = result["conversation"]
    assert list(conversation) == ["id", "project_id", "title", "created_at", "updated_at"]
    assert list(result["message"]) == ["id", "role", "created_at"]
    assert result["message"]["id"] == id
    assert (result["snippet"], result["highlights"]) == ("Hello there", [[0, 5]])


def test_a_snippet_is_cut_from_a_long_text(anyone: Caller, settle: Callable[[], None]):
    text = "x" * 50 + " 🎈é" * 2_000 + " needle " + "filler " * 2_000
    say(text)
    settle()
    (result,) = found(anyone, "needle")
    assert len(result.snippet) == 200
    assert result.snippet in text
    assert [result.snippet[start:end] for start, end in result.highlights] == ["needle"]


def test_both_engines_search_a_million_words_of_text(either_store: Store):
    row = conversations.start(EVERYTHING, PROJECT)
    words = " ".join(f"word{number}" for number in range(120_000))
    for content in (words, "same " * 20_000 + "end of it"):
        messages.append(EVERYTHING, row.id, [Draft("user", content)])
    while search_index.follow():
        pass
    for q in ("word119999", '"word70000 word70001"', '"end of it"', "same", "word11999*"):
        assert len(search.page_for(EVERYTHING, q, sort=NEWEST).rows) == 1, q
    for q in ('"word70001 word70000"', '"it end"', "word120000"):
        assert search.page_for(EVERYTHING, q).rows == [], q


def test_a_search_writes_nothing(api: Api):
    say("word")
    database.close()
    before = json.dumps([*database.execute_sql("SELECT * FROM search_document")])
    database.close()
    assert len(api.get("/api/v1/search", q="word").json["results"]) == 1
    assert json.dumps([*database.execute_sql("SELECT * FROM search_document")]) == before
