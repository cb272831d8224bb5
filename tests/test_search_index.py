"""Tests that the search index follows what changes: it loses nothing, and keeps nothing."""

import random
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from db import clock as db_clock
from db import conversations, erasure, messages, search, search_index, streams, transcripts, trash
from db.clock import new_id
from db.engine.connect import Store, store_at
from db.engine.database import after_write, database, transaction
from db.engine.full_text import POSITIONS, POSITIONS_OF_WORD, TSVECTOR_BYTES
from db.engine.sqlite import SqliteStore
from db.messages import Draft
from db.models import MODELS, Conversation, Message, SearchDocument
from db.scope import EVERYTHING, Scope
from db.search import NEWEST, Place
from db.search_index import MAX_NUMBER, follow, number_of, searchable_text
from db.settings import Settings, settings
from db.startup import open_store
from db.upkeep import copying, schema

from .support.clock import Clock
from .support.processes import PATIENCE, processes
from .support.world import PROJECT
from .support.writer import Writer

ALICE = Scope(None, "alice")
WORD = "needle"


class Crash(Exception):
    """The process ends here."""


class NoBar:
    """A progress bar that nobody sees."""

    def __init__(self, *_: object) -> None: ...
    def __enter__(self) -> "NoBar":
        return self

    def __exit__(self, *_: object) -> None: ...
    def update(self, n_steps: int) -> None: ...


@pytest.fixture
def chores(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    return [*after_write]


@pytest.fixture(autouse=True)
def an_index_at_rest(
    chores: list[Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The index follows when the test says so. A prepared query keeps the size of its batch."""
    monkeypatch.setattr("db.engine.database.after_write", [])
    yield
    search_index._new_messages._for = None


@pytest.fixture
def either_store(either_store: Store) -> Store:
    search_index.empty()  # other tests leave documents in the server's database
    return either_store


@pytest.fixture
def batches_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_index, "BATCH_MESSAGES", 3)
    monkeypatch.setattr(search_index, "BATCH_CONVERSATIONS", 3)


def say(*texts: Any, title: str | None = None, scope: Scope = EVERYTHING) -> tuple[str, list[str]]:
    """A conversation with some messages. Return its id and theirs."""
    row = conversations.start(scope, PROJECT, title)
    drafts = [Draft("user", text) for text in texts]
    rows = messages.append(EVERYTHING, row.id, drafts) if drafts else []
    return row.id, [row.id for row in rows]


def catch_up() -> None:
    search_index.follow_all(lambda left: None)


def find(query: str, limit: int = 100) -> list[str]:
    """The ids of all that is found, the newest first, page by page."""
    found: list[str] = []
    place: Place | None = Place()
    while place is not None:
        page = search.page_for(EVERYTHING, query, sort=NEWEST, limit=limit, after=place)
        found += [hit.id for hit in page.rows]
        place = page.next
    return found


def documents() -> dict[str, str]:
    rows = SearchDocument.select(SearchDocument.id, SearchDocument.terms).tuples()
    return dict(iter(rows))


def check_documents() -> None:
    """The documents are those of the messages and titles that there are."""
    titled = Conversation.select(Conversation.id).where(Conversation.title.is_null(False))
    wanted = {id for query in (titled, Message.select(Message.id)) for (id,) in query.tuples()}
    assert documents().keys() == wanted
    if database.engine == "sqlite":
        database.execute_sql("INSERT INTO search_index (search_index) VALUES ('integrity-check')")


def both_ways(query: str, ids: list[str]) -> None:
    """What is found while the index is behind is found when it is not."""
    wanted = sorted(ids, reverse=True)
    assert find(query) == wanted
    catch_up()
    assert search_index.count_behind() == 0
    assert find(query) == wanted


# --- Nothing is lost


def test_a_batch_that_is_rolled_back_is_done_again(either_store: Store):
    _, ids = say(WORD, WORD)

    @transaction
    def crash() -> None:
        follow()
        assert documents().keys() == set(ids)
        raise Crash

    with pytest.raises(Crash):
        crash()
    assert documents() == {}
    assert search_index.count_behind() == 1
    both_ways(WORD, ids)
    assert documents().keys() == set(ids)


def test_following_crashes_after_each_batch_and_loses_nothing(
    either_store: Store, batches_of_three: None
):
    ids = [id for _ in range(4) for id in say(*[WORD] * 5)[1]]

    @transaction
    def crash() -> None:
        follow()
        raise Crash

    more = True
    while more:
        with pytest.raises(Crash):
            crash()
        assert len(find(WORD)) == 20
        more = follow()
    assert find(WORD) == ids[::-1]
    check_documents()


def follow_in_process(url: str) -> int:
    """Follow to the end, in small steps, and return how many there were."""
    search_index.BATCH_MESSAGES = 7
    after_write.clear()
    store = open_store(Settings(database_url=url))
    steps = 1
    while search_index.follow() or search_index.count_behind():
        steps += 1
    store.close_all()
    return steps


def test_two_processes_that_follow_at_once_make_each_document_once(
    either_store: Store, postgres_url: str
):
    url = f"sqlite:///{either_store.place}" if either_store.engine == "sqlite" else postgres_url
    ids = [id for _ in range(30) for id in say(*[WORD] * 10, title="a title")[1]]
    database.close()
    with processes(2) as pool:
        steps = [pool.submit(follow_in_process, url) for _ in range(2)]
        assert sum(each.result(PATIENCE * 2) for each in steps) > 30
    assert search_index.count_behind() == 0
    assert find(WORD) == ids[::-1]
    check_documents()


def test_a_conversation_with_more_messages_than_a_batch_is_indexed_in_pieces(
    either_store: Store, batches_of_three: None
):
    before, whole, behind = (say(*[WORD] * count, title=WORD) for count in (2, 10, 2))
    everything = [id for c, ids in (behind, whole, before) for id in [*ids[::-1], c]]
    steps, more = 0, True
    while more:
        assert find(WORD, limit=4) == everything
        more, steps = follow(), steps + 1
    assert steps == 5
    assert find(WORD, limit=4) == everything
    check_documents()


def test_a_batch_of_long_messages_is_cut_by_their_length(
    either_store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(search_index, "BATCH_CODE_POINTS", 10)
    _, ids = say("needle one", "needle two", "needle three", "needle four")
    assert follow()
    assert documents().keys() == set(ids[:2])
    both_ways(WORD, ids)


def test_an_edit_while_the_index_is_behind_is_found_in_either_state(either_store: Store):
    id, (old, other) = say("needle", "thread")
    messages.edit(EVERYTHING, id, old, content="thread")
    assert find("needle") == []
    both_ways("thread", [old, other])
    messages.edit(EVERYTHING, id, other, content="needle")
    assert find("thread") == [old]
    both_ways("needle", [other])
    both_ways("thread", [old])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_an_edit_before_the_place_where_a_batch_was_cut_is_indexed(
    either_store: Store, batches_of_three: None, count: int
):
    id, (first, _) = say("thread", "thread")
    catch_up()
    messages.edit(EVERYTHING, id, first, content=WORD)
    rows = messages.append(EVERYTHING, id, [Draft("user", WORD)] * count)
    both_ways(WORD, [first, *(row.id for row in rows)])


def test_an_edit_after_a_part_of_its_conversation_was_indexed_is_found(
    either_store: Store, batches_of_three: None
):
    id, ids = say(*["thread"] * 8)
    assert follow()
    for place in (0, 7):
        messages.edit(EVERYTHING, id, ids[place], content=WORD)
    both_ways(WORD, [ids[0], ids[7]])
    both_ways("thread", ids[1:7])


def test_a_stream_that_ends_after_its_conversation_was_indexed_is_found(either_store: Store):
    id, (question,) = say(WORD)
    writer = Writer(id)
    catch_up()
    writer.append("a needle ")
    assert find(WORD) == [question]
    catch_up()
    writer.append("and a thread", "completed")
    both_ways(WORD, [question, writer.id])
    both_ways("thread", [writer.id])


def test_a_stream_whose_writer_fell_silent_is_found(either_store: Store, clock: Clock):
    id, _ = say("question")
    writer = Writer(id)
    writer.append("a needle")
    catch_up()
    clock.move(seconds=61)
    assert writer.message.status == "incomplete"
    both_ways(WORD, [writer.id])


def test_a_message_that_is_reopened_is_not_found_until_it_ends(either_store: Store):
    id, (first,) = say("a needle")
    catch_up()
    messages.edit(EVERYTHING, id, first, status="in_progress")
    both_ways(WORD, [])
    assert documents() == {}
    streams.append(EVERYTHING, id, first, len("a needle"), "", "incomplete")
    both_ways(WORD, [first])


def test_a_message_that_changed_twice_takes_no_other_ones_place(either_store: Store):
    """The log has two events of a message that was reopened and finished."""
    edited_in, (edited,) = say("thread")
    finished_in, (finished,) = say("a needle")
    catch_up()
    messages.edit(EVERYTHING, finished_in, finished, status="in_progress")
    streams.append(EVERYTHING, finished_in, finished, len("a needle"), "", "completed")
    messages.edit(EVERYTHING, edited_in, edited, content="a needle")
    assert find(WORD, limit=1) == [finished, edited]


def test_a_new_title_is_found_and_the_old_one_is_not(either_store: Store):
    id, _ = say("a message", title="thread")
    catch_up()
    conversations.change(EVERYTHING, id, title="a needle")
    assert find("thread") == []
    both_ways(WORD, [id])
    conversations.change(EVERYTHING, id, title=None)
    both_ways(WORD, [])
    assert id not in documents()


def test_a_fork_is_found_with_its_copies(either_store: Store):
    id, ids = say("needle one", "needle two", "needle three", title="A needle")
    catch_up()
    fork = transcripts.fork(EVERYTHING, id, ids[1])
    copies = [fork.conversation.id, *(row.id for row in fork.messages)]
    assert len(copies) == 3
    both_ways(WORD, [id, *ids, *copies])


def test_what_comes_out_of_the_trash_is_found_again(either_store: Store):
    id, ids = say("needle one", title="A needle")
    catch_up()
    conversations.remove(EVERYTHING, id)
    both_ways(WORD, [])
    trash.restore(EVERYTHING, id)
    both_ways(WORD, [id, *ids])


def test_an_index_that_was_emptied_is_made_anew_after_a_restart(
    either_store: Store, batches_of_three: None
):
    id, ids = say(*["needle"] * 7, title="A needle")
    catch_up()
    before = documents()
    search_index.empty()
    assert documents() == {}
    if either_store.engine == "sqlite":
        either_store.close_all()
        open_store(settings())
    both_ways(WORD, [id, *ids])
    assert documents() == before
    check_documents()


@pytest.mark.parametrize("other", ["sqlite", "postgresql"])
def test_a_copy_on_another_engine_finds_everything(
    store: SqliteStore, other: str, tmp_path: Path, request: pytest.FixtureRequest
):
    id, ids = say("needle one", "thread", title="A needle")
    catch_up()
    messages.edit(EVERYTHING, id, ids[1], content="needle two")
    if other == "sqlite":
        target = store_at(f"sqlite:///{tmp_path}/other.db")
    else:
        target = store_at(request.getfixturevalue("postgres").blank())
    copying.copy(store, target, NoBar)
    database.initialize(target)
    try:
        versions = Conversation.select(Conversation.indexed_version).tuples()
        assert {*versions} == {(0,)}
        both_ways(WORD, [id, *ids])
        messages.edit(EVERYTHING, id, ids[0], content="thread")
        both_ways(WORD, [id, ids[1]])
    finally:
        target.close_all()
        database.initialize(store)


@pytest.mark.parametrize("other", ["sqlite", "postgresql"])
def test_a_copy_into_a_database_that_was_emptied_finds_everything(
    store: SqliteStore, other: str, tmp_path: Path, request: pytest.FixtureRequest
):
    if other == "sqlite":
        target = store_at(f"sqlite:///{tmp_path}/other.db")
    else:
        target = store_at(request.getfixturevalue("postgres").blank())
    schema.migrate(target)
    database.initialize(target)
    for _ in range(5):
        say("needle")
    catch_up()
    for model in reversed(MODELS):
        model.delete().execute()
    database.close()
    database.initialize(store)
    _, ids = say("needle")
    copying.copy(store, target, NoBar)
    database.initialize(target)
    try:
        both_ways(WORD, ids)
    finally:
        target.close_all()
        database.initialize(store)


# SQLite has one writer at a time.
only_postgresql = pytest.mark.parametrize("either_store", ["postgresql"], indirect=True)


@only_postgresql
def test_what_is_written_beside_a_transaction_that_stays_open_is_found(
    either_store: Store, postgres_url: str
):
    """On PostgreSQL the feed of changes ends before it, and the index with the feed."""
    holds, ends = threading.Event(), threading.Event()

    def hold() -> None:
        _hold(holds, ends)
        database.close()

    holder = threading.Thread(target=hold)
    holder.start()
    holds.wait(PATIENCE)
    try:
        _, ids = say(WORD)
        assert not follow()
        assert documents() == {}
        assert find(WORD) == ids
    finally:
        ends.set()
        holder.join()
    both_ways(WORD, ids)
    check_documents()


@transaction
def _hold(holds: threading.Event, ends: threading.Event) -> None:
    say("held")
    holds.set()
    ends.wait(PATIENCE)


# --- Nothing is kept


def purge(id: str, _: Clock) -> None:
    conversations.remove(EVERYTHING, id)
    trash.purge(EVERYTHING, id)


def purge_in_pieces(id: str, clock: Clock) -> None:
    conversations.remove(EVERYTHING, id)
    clock.move(seconds=31 * 86_400)
    while trash.sweep():
        pass


def erase(*_: object) -> None:
    erasure.erase("alice", None, lambda done, count: None)


@pytest.mark.parametrize("batches", [0, 1, 50])
@pytest.mark.parametrize("go", [purge, purge_in_pieces, erase])
def test_what_is_gone_leaves_no_document(
    either_store: Store,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    batches: int,
    go: Callable[[str, Clock], None],
):
    monkeypatch.setattr(search_index, "BATCH_MESSAGES", 100)
    say(title="kept")
    id, ids = say(*["needle"] * 130, title="A needle", scope=ALICE)
    _, kept = say("needle")
    for _ in range(batches):
        follow()
    messages.remove(EVERYTHING, id, ids.pop(3))
    assert find(WORD) == sorted([id, *ids, *kept], reverse=True)
    go(id, clock)
    assert not documents().keys() & {id, *ids}
    both_ways(WORD, kept)
    check_documents()


def test_a_message_that_is_deleted_leaves_no_document(either_store: Store):
    id, (gone, kept) = say("needle one", "needle two", title="title")
    catch_up()
    messages.remove(EVERYTHING, id, gone)
    assert gone not in documents()
    check_documents()
    both_ways(WORD, [kept])
    check_documents()


@only_postgresql
def test_what_is_erased_while_the_index_follows_leaves_no_document(
    either_store: Store, monkeypatch: pytest.MonkeyPatch
):
    """The index is amid a batch of what the next transaction of the erasure deletes."""
    id, ids = say("needle one", "needle two", title="A needle", scope=ALICE)
    followed, ends = threading.Event(), threading.Event()

    @transaction
    def follow_slowly() -> None:
        follow()
        followed.set()
        ends.wait(0.5)  # an erasure that waits for this transaction waits so long

    def run() -> None:
        follow_slowly()
        database.close()

    follower = threading.Thread(target=run)
    delete = erasure._delete_some

    def delete_some(conversation_id: str) -> int:
        if not followed.is_set():
            follower.start()
            assert followed.wait(PATIENCE)
        return delete(conversation_id)

    monkeypatch.setattr(erasure, "_delete_some", delete_some)
    receipt = erasure.erase("alice", None, lambda done, count: None)
    ends.set()
    follower.join()
    assert receipt.messages == 2
    assert not documents().keys() & {id, *ids}


def test_a_rewritten_index_has_no_trace_of_a_word_that_is_gone(store: SqliteStore):
    chance = random.Random(1)
    gone = [f"needle{number}" for number in range(300)]
    for start in range(0, 300, 10):  # in many segments of the index
        kept = [f"kept{chance.randrange(10_000)}" for _ in range(20)]
        id, _ = say(" ".join(gone[start : start + 10] + kept), title=gone[start], scope=ALICE)
        say(" ".join(kept))
        catch_up()
        if start % 20:
            conversations.remove(EVERYTHING, id)
            trash.purge(EVERYTHING, id)
            catch_up()
    of_alice = Conversation.select(Conversation.id).where(Conversation.user_id == "alice")
    for (id,) in of_alice.tuples():
        conversations.remove(EVERYTHING, id)
        trash.purge(EVERYTHING, id)
    assert find("needle*") == []
    assert b"needle" in index_bytes()
    search_index.rewrite()
    assert b"needle" not in index_bytes()
    assert b"kept" in index_bytes()
    check_documents()
    store.overwrite_deleted()
    assert b"needle" not in Path(store.place).read_bytes()
    assert len(find("kept*")) == 30


def index_bytes() -> bytes:
    blocks = database.execute_sql("SELECT block FROM search_index_data")
    return b"".join(block for (block,) in blocks)


# --- Numbers


def test_a_later_id_has_no_number_in_an_earlier_block():
    chance = random.Random(1)
    made = [new_id() for _ in range(1_000)]
    chosen = [uuid.UUID(int=chance.getrandbits(128)) for _ in range(1_000)]
    ids = [*made, *map(as_uuid7, chosen), SMALLEST_ID, GREATEST_ID]
    ids.sort()
    numbers = [number_of(id) for id in ids]
    blocks = [number >> search_index.BLOCK_BITS for number in numbers]
    assert blocks == sorted(blocks)
    assert min(numbers) == 0
    assert max(numbers) == MAX_NUMBER < 1 << 63
    of_a_clock = [number_of(id) for id in made]
    assert of_a_clock == sorted(of_a_clock)
    assert len({*of_a_clock}) > 900


SMALLEST_ID, GREATEST_ID = (
    "00000000-0000-7000-8000-000000000000",
    "ffffffff-ffff-7fff-bfff-ffffffffffff",
)


def as_uuid7(id: uuid.UUID) -> str:
    text = str(id)
    return f"{text[:14]}7{text[15:19]}{'89ab'[int(text[19], 16) % 4]}{text[20:]}"


def test_conversations_whose_ids_a_client_chose_are_found_in_their_order(
    either_store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(search, "CANDIDATES", 3)
    chance = random.Random(1)
    ids = [as_uuid7(uuid.UUID(int=chance.getrandbits(128))) for _ in range(60)]
    for id in [*ids, SMALLEST_ID, GREATEST_ID]:
        conversations.start(EVERYTHING, PROJECT, WORD, id=id)
    both_ways(WORD, [*ids, SMALLEST_ID, GREATEST_ID])
    assert find(WORD, limit=7) == sorted([*ids, SMALLEST_ID, GREATEST_ID], reverse=True)


def test_the_greatest_ids_do_not_stop_the_index(either_store: Store):
    ids = [f"{GREATEST_ID[:-1]}{digit}" for digit in "0123"]
    for id in ids:
        conversations.start(EVERYTHING, PROJECT, WORD, id=id)
    _, later = say(WORD)
    both_ways(WORD, [*ids, *later])
    check_documents()


@pytest.mark.parametrize("count", [10, 100])
def test_messages_whose_ids_give_the_same_number_keep_their_order(
    either_store: Store, monkeypatch: pytest.MonkeyPatch, count: int
):
    constant = number_of(new_id())
    monkeypatch.setattr(search_index, "number_of", lambda _: constant)
    monkeypatch.setattr(search, "number_of", lambda _: constant)
    _, ids = say(*[WORD] * count)
    catch_up()
    assert find(WORD, limit=7) == ids[::-1]
    check_documents()


@pytest.mark.parametrize("count", [10, 30, 100])
def test_messages_that_follow_one_of_a_faster_clock_keep_their_order(
    either_store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch, count: int
):
    """Their ids count up from the one that another machine made."""
    id, _ = say()
    clock.move(seconds=10)
    (first,) = messages.append(EVERYTHING, id, [Draft("user", WORD)])
    clock.move(seconds=-10)
    monkeypatch.setattr(db_clock, "_newest", 0)  # as in a process of this machine
    rows = messages.append(EVERYTHING, id, [Draft("user", WORD)] * count)
    catch_up()
    assert find(WORD, limit=7) == [row.id for row in [first, *rows]][::-1]
    check_documents()


def test_many_messages_of_one_millisecond_keep_their_order(
    either_store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(db_clock, "time", FrozenTime())
    monkeypatch.setattr(search, "CANDIDATES", 3)
    _, ids = say(*[WORD] * 200)
    catch_up()
    assert len({number_of(id) >> search_index.BLOCK_BITS for id in ids}) <= 2  # the next is full
    assert find(WORD, limit=7) == ids[::-1]


class FrozenTime:
    def __init__(self) -> None:
        self._time = Clock().time_ns()

    def time_ns(self) -> int:
        return self._time


# --- Long texts

MANY_WORDS = " ".join(f"word{number}" for number in range(POSITIONS + 100))
OFTEN = "often " * (POSITIONS_OF_WORD + 10)
LARGE = " ".join(f"{number:x}".rjust(40, "x") for number in range(TSVECTOR_BYTES // 40))


@pytest.mark.parametrize("text", [MANY_WORDS, OFTEN, LARGE], ids=["many", "often", "large"])
def test_a_very_long_message_is_found_by_its_words_and_phrases(either_store: Store, text: str):
    _, (long,) = say(f"alpha beta {text} well-known gamma")
    _, (short,) = say("beta alpha gamma")
    *_, before, last = text.split()
    wanted = {
        "alpha": [short, long],
        "gam*": [short, long],
        '"alpha beta"': [long],
        '"beta alpha"': [short],
        '"beta gamma"': [],
        '"known gam"*': [long],
        "well-known alpha": [long],
        '"gamma alpha"': [],
        'gamma -"alpha beta"': [short],
        'gamma -"beta alpha"': [long],
        "gamma -known": [short],
        "absent": [],
        f'"{last} well"': [long],
        f'"{before} {last}"': [long],
    }
    assert {query: find(query) for query in wanted} == wanted
    catch_up()
    assert {query: find(query) for query in wanted} == wanted


# As a query may have them, of up to 300 code points. Folded, each of the last three is longer.
LONG_WORDS = {
    "latin": "x" * 300,
    "far": "\U00010400" * 300,
    "korean": "가" * 200,
    "arabic": "\ufdf2" * 100,
    "ligatures": "ﬃ" * 200,
}
WITH_RUNS = pytest.mark.parametrize("more", ["", " 東京"], ids=["alone", "with a run"])


@WITH_RUNS
@pytest.mark.parametrize("name", LONG_WORDS)
def test_a_very_long_word_is_found(either_store: Store, name: str, more: str):
    _, ids = say(LONG_WORDS[name] + more)
    both_ways(LONG_WORDS[name], ids)
    both_ways(f"{LONG_WORDS[name][:-1]}*", ids)


@WITH_RUNS
@pytest.mark.parametrize("name", ["korean", "arabic", "ligatures"])
def test_what_begins_like_a_very_long_word_is_not_excluded_with_it(
    either_store: Store, name: str, more: str
):
    _, ids = say(f"needle {LONG_WORDS[name]}x{more}")
    both_ways(f"needle -{LONG_WORDS[name]}", ids)


def test_a_query_of_very_many_words_is_no_error(either_store: Store):
    words = [chr(ord("a") + number % 26) + str(number // 26) for number in range(100)]
    _, ids = say(" ".join(words))
    both_ways(" ".join(words), ids)
    both_ways(f'"{" ".join(words)}"', ids)
    both_ways(" ".join(["a0", *(f"-z{word}" for word in words)])[:300], ids)


# --- What is made of a message


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("as it is", "as it is"),
        ([], ""),
        ([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}], "one\ntwo"),
        ([{"type": "image_url", "image_url": {"url": "https://hidden"}}], ""),
        ([{"text": None}, {"text": 7}, {"text": ["hidden"]}, {"text": ""}, {}], ""),
        ([1, None, ["hidden"], {"other": "hidden"}, {"text": "seen"}], "seen"),
    ],
)
def test_the_searchable_text_a_message_is_that_of_its_parts(content: Any, text: str):
    assert searchable_text(content) == text


# --- Chores


def test_a_fault_of_the_index_is_not_the_requests(
    either_store: Store,
    chores: list[Callable[[], object]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setattr("db.engine.database.after_write", chores)
    monkeypatch.setattr(search_index.follow_if_due, "due_at", 0.0)
    make, undo = FAULTS[either_store.engine]
    database.execute_sql(make)
    try:
        _, ids = say(WORD, title="a title")
        assert find(WORD) == ids
        assert documents() == {}
    finally:
        database.execute_sql(undo)
    told = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert told
    assert all(line.startswith("The search index could not be brought up to date") for line in told)
    assert not any(WORD in line or "title" in line for line in told)
    both_ways(WORD, ids)


FAULTS = {
    "sqlite": (
        "CREATE TRIGGER fault BEFORE INSERT ON search_document "
        "BEGIN SELECT RAISE(ABORT, 'no such luck'); END",
        "DROP TRIGGER fault",
    ),
    "postgresql": (
        "ALTER TABLE search_document ADD CONSTRAINT fault CHECK (id = '') NOT VALID",
        "ALTER TABLE search_document DROP CONSTRAINT fault",
    ),
}


def test_whoever_writes_brings_the_index_up_to_date(
    either_store: Store, chores: list[Callable[[], object]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("db.engine.database.after_write", chores)
    chore = search_index.follow_if_due
    id, ids = say(WORD)
    monkeypatch.setattr(chore, "due_at", 0.0)
    ids += [messages.append(EVERYTHING, id, [Draft("user", WORD)])[0].id]
    assert search_index.count_behind() == 0
    monkeypatch.setattr(chore, "due_at", float("inf"))  # the second has not passed
    monkeypatch.setattr(chore, "_left", search_index.WRITES)
    for _ in range(search_index.WRITES - 1):
        ids += [messages.append(EVERYTHING, id, [Draft("user", WORD)])[0].id]
    assert search_index.count_behind() == 1
    assert find(WORD) == ids[::-1]
    ids += [messages.append(EVERYTHING, id, [Draft("user", WORD)])[0].id]
    assert search_index.count_behind() == 0
    assert find(WORD) == ids[::-1]
    check_documents()
