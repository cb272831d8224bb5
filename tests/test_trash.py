"""Tests the trash: deletion, restoring, purging, retention and holds."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from db import changes, conversations, lists, messages, transcripts, trash
from db.clock import new_id
from db.engine.connect import Store
from db.engine.database import WouldWait, database, transaction
from db.errors import ConversationNotFound, Held, KeyTaken
from db.lists import ACTIVITY, Filter
from db.messages import ALL, Draft
from db.models import MODELS, Conversation, Message
from db.scope import EVERYTHING, Scope

from .support.clock import Clock
from .support.followers import Follower
from .support.world import PROJECT
from .support.writer import Writer

DAY = timedelta(days=1).total_seconds()


@pytest.fixture(autouse=True)
def lap(monkeypatch: pytest.MonkeyPatch) -> None:
    """No sweep comes by itself, and retention begins a lap."""
    monkeypatch.setattr(trash.sweep_if_due, "due_at", float("inf"))
    monkeypatch.setattr(trash, "_lap_project", "")


@pytest.fixture
def id(either_store: Store) -> str:
    """A conversation with two branches, tags, a key and more."""
    row = conversations.start(
        Scope(PROJECT, "alice"), PROJECT, "Title", key="k", tags=["t"], metadata={"a": 1}
    )
    rows = messages.append(EVERYTHING, row.id, [Draft("user", "1"), Draft("user", "2")])
    messages.append(EVERYTHING, row.id, [Draft("user", "2b", parent_id=rows[0].id, client_id="c")])
    conversations.change(EVERYTHING, row.id, is_pinned=True)
    return row.id


def counts() -> dict[str, int]:
    return {model._meta.table_name: model.select().count() for model in MODELS}


def everything(id: str) -> object:
    row, rows = transcripts.read(EVERYTHING, id, branch=ALL)
    return row._replace(version=0), rows


def sweep_all() -> None:
    while trash.sweep():
        pass


@pytest.mark.parametrize("which", [Filter(), Filter(is_pinned=True), Filter(tags=("t",))])
def test_what_is_in_the_trash_is_in_no_list(id: str, which: Filter):
    conversations.remove(EVERYTHING, id)
    for scope in (EVERYTHING, Scope(PROJECT), Scope(PROJECT, "alice"), Scope(None, "alice")):
        for sort in ("created", ACTIVITY):
            assert lists.page_for(scope, None, which, sort).rows == []
            assert lists.newest(scope, None, which, sort, skip=1).rows == []


def test_a_restored_conversation_is_as_it_was(id: str):
    other = conversations.start(Scope(PROJECT, "alice"), PROJECT).id
    before = everything(id)
    order = [row.id for row in lists.newest(EVERYTHING, sort=ACTIVITY).rows]
    conversations.remove(EVERYTHING, id)
    restored = trash.restore(EVERYTHING, id)
    assert restored == transcripts.read(EVERYTHING, id)
    assert everything(id) == before
    assert [row.id for row in lists.newest(EVERYTHING, sort=ACTIVITY).rows] == order == [other, id]
    assert [row.id for row in lists.newest(EVERYTHING, None, Filter(tags=("t",))).rows] == [id]
    assert conversations.by_key(Scope(PROJECT, "alice"), PROJECT, "k") == id
    assert trash.page_for(EVERYTHING).rows == []


def test_a_follower_finds_nothing_and_after_the_restoring_goes_on(id: str):
    reader = Follower(id).catch_up()
    conversations.remove(EVERYTHING, id)
    with pytest.raises(ConversationNotFound):
        reader.look()
    trash.restore(EVERYTHING, id)
    messages.append(EVERYTHING, id, [Draft("user", "3")])
    assert reader.look() == ["message"]


def test_a_stream_that_is_put_into_the_trash_takes_no_more_and_falls_silent(id: str, clock: Clock):
    writer = Writer(id, "Once")
    conversations.remove(EVERYTHING, id)
    with pytest.raises(ConversationNotFound):
        writer.append(" upon")
    clock.move(seconds=61)
    restored = trash.restore(EVERYTHING, id).messages
    assert (restored[-1].content, restored[-1].status) == ("Once", "incomplete")


def test_a_key_is_free_while_its_owner_is_in_the_trash(id: str):
    scope = Scope(PROJECT, "alice")
    conversations.remove(EVERYTHING, id)
    other = conversations.start(scope, PROJECT, key="k").id
    with pytest.raises(KeyTaken) as taken:
        trash.restore(EVERYTHING, id)
    assert taken.value.extra == {"conversation_id": other}
    conversations.remove(EVERYTHING, other)
    assert trash.restore(EVERYTHING, id).conversation.key == "k"


def test_the_trash_shows_the_latest_deleted_first(either_store: Store, clock: Clock):
    ids = [conversations.start(Scope("p", user), "p").id for user in (None, "a", "b", "a", None)]
    for number in (2, 0, 4, 1, 3):
        conversations.remove(EVERYTHING, ids[number])
        clock.move(seconds=number % 2)  # some at the same moment
    rows: list[trash.Discarded] = []
    place, has_more = None, True
    while has_more:
        page, has_more = trash.page_for(EVERYTHING, None, 2, place)
        rows += page
        place = (rows[-1].deleted_at, rows[-1].conversation.id)
    assert [row.deleted_at for row in rows] == sorted((r.deleted_at for r in rows), reverse=True)
    assert {row.conversation.id for row in rows} == set(ids)
    assert len(rows) == 5
    of_a = trash.page_for(Scope("p", "a")).rows
    assert [row.conversation.id for row in of_a] == [ids[3], ids[1]]
    assert [r.conversation.id for r in trash.page_for(Scope(None, "a")).rows] == [ids[3], ids[1]]
    assert trash.page_for(Scope("q")).rows == []


def test_a_stranger_neither_restores_nor_purges(id: str):
    conversations.remove(EVERYTHING, id)
    for stranger in (Scope("q"), Scope(PROJECT, "mallory"), Scope("q", "alice")):
        for verb in (trash.restore, trash.purge):
            with pytest.raises(ConversationNotFound):
                verb(stranger, id)
    assert len(trash.page_for(Scope(PROJECT, "alice")).rows) == 1


def test_what_is_not_in_the_trash_is_neither_restored_nor_purged(id: str):
    for verb in (trash.restore, trash.purge):
        with pytest.raises(ConversationNotFound):
            verb(EVERYTHING, id)


def test_purging_leaves_a_tombstone_and_nothing_else(id: str):
    conversations.remove(EVERYTHING, id)
    receipt = trash.purge(EVERYTHING, id)
    assert (receipt.id, receipt.messages) == (id, 3)
    left = {table: count for table, count in counts().items() if count}
    assert left == {"tombstone": 1}
    with pytest.raises(ConversationNotFound):
        trash.purge(EVERYTHING, id)


def test_without_a_trash_a_deletion_purges_at_once(id: str, configure: Callable[..., None]):
    configure(trash_days=0, database_url=settings_url())
    conversations.remove(EVERYTHING, id)
    assert trash.page_for(EVERYTHING).rows == []
    assert {table for table, count in counts().items() if count} == {"tombstone"}


def settings_url() -> str:
    return (
        str(database.obj.place)
        if "://" in database.obj.place
        else f"sqlite:///{database.obj.place}"
    )


def test_the_trash_is_emptied_by_whoever_writes(
    id: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    conversations.remove(EVERYTHING, id)
    clock.move(seconds=29 * DAY)
    monkeypatch.setattr(trash.sweep_if_due, "due_at", 0)
    conversations.start(EVERYTHING, PROJECT)
    assert len(trash.page_for(EVERYTHING).rows) == 1
    clock.move(seconds=2 * DAY)
    monkeypatch.setattr(trash.sweep_if_due, "due_at", 0)
    conversations.start(EVERYTHING, PROJECT)
    assert trash.page_for(EVERYTHING).rows == []
    assert Message.select().count() == 0


def test_a_large_conversation_is_purged_in_pieces_and_cannot_be_restored_meanwhile(
    id: str, clock: Clock
):
    messages.append(EVERYTHING, id, [Draft("user", str(n)) for n in range(100)])
    conversations.remove(EVERYTHING, id)
    clock.move(seconds=31 * DAY)
    assert trash.restore(EVERYTHING, id)  # it has expired, and is not swept yet
    conversations.remove(EVERYTHING, id)
    clock.move(seconds=31 * DAY)
    assert trash.sweep()
    assert Message.select().count() == 103 - trash.SWEEP_MESSAGES
    with pytest.raises(ConversationNotFound):
        trash.restore(EVERYTHING, id)
    assert trash.page_for(EVERYTHING).rows == []
    sweep_all()
    assert {table for table, count in counts().items() if count} == {"tombstone"}


def test_retention_discards_what_had_no_activity(
    id: str, clock: Clock, configure: Callable[..., None]
):
    configure(retention_days=10, database_url=settings_url())
    old = [conversations.start(EVERYTHING, PROJECT).id for _ in range(12)]
    conversations.change(EVERYTHING, old[5], is_held=True)
    conversations.change(EVERYTHING, old[6], is_archived=True)
    clock.move(seconds=5 * DAY)
    conversations.change(EVERYTHING, old[7], title="An edit is no activity")
    clock.move(seconds=6 * DAY)
    messages.append(EVERYTHING, old[8], [Draft("user", "It is saved")])
    sweep_all()
    kept = {row.id for row in lists.newest(EVERYTHING).rows}
    assert kept == {old[5], old[8]}
    assert len(trash.page_for(EVERYTHING).rows) == 11
    trash.restore(EVERYTHING, old[0])


def test_a_held_conversation_survives_deletion_retention_and_purge(
    id: str, clock: Clock, configure: Callable[..., None]
):
    configure(retention_days=1, trash_days=1, database_url=settings_url())
    conversations.change(EVERYTHING, id, is_held=True)
    message = str(conversations.find(EVERYTHING, id).last_message_id)
    with pytest.raises(Held):
        conversations.remove(EVERYTHING, id)
    with pytest.raises(Held):
        messages.remove(EVERYTHING, id, message)
    clock.move(seconds=100 * DAY)
    sweep_all()
    messages.append(EVERYTHING, id, [Draft("user", "goes on")])
    assert len(transcripts.read(EVERYTHING, id, branch=ALL).messages) == 4


def test_purge_all_does_all_and_says_how_far_it_is(
    either_store: Store, clock: Clock, configure: Callable[..., None]
):
    configure(retention_days=60, database_url=settings_url())
    ids = [conversations.start(EVERYTHING, PROJECT).id for _ in range(8)]
    for id in ids[:5]:
        conversations.remove(EVERYTHING, id)
    clock.move(seconds=61 * DAY)
    told: list[int] = []
    assert trash.purge_all(told.append) == 8
    assert told[-1] == 8
    assert told == sorted(told)
    assert trash.waiting() == 0
    assert Conversation.select().count() == 3  # retention put them into the trash
    assert trash.purge_all(told.append) == 0


def test_an_id_that_a_client_chose_can_be_purged_twice(either_store: Store):
    scope, id = Scope(PROJECT), new_id()
    for _ in range(2):
        transcripts.append_or_start(scope, PROJECT, id, [Draft("user", "Hello")])
        conversations.remove(scope, id)
        trash.purge(scope, id)
    assert counts()["tombstone"] == 1


def test_what_retention_discarded_can_be_restored_and_stays(
    id: str, clock: Clock, configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
):
    configure(retention_days=10)
    clock.move(seconds=11 * DAY)
    sweep_all()
    monkeypatch.setattr(trash.sweep_if_due, "due_at", 0)
    assert trash.restore(EVERYTHING, id).conversation.id == id
    sweep_all()
    assert conversations.find(EVERYTHING, id).id == id
    clock.move(seconds=11 * DAY)
    sweep_all()
    assert lists.newest(EVERYTHING).rows == []


def test_a_write_saves_what_has_expired_and_is_not_swept(
    id: str, clock: Clock, configure: Callable[..., None]
):
    configure(retention_days=10)
    clock.move(seconds=11 * DAY)
    conversations.change(EVERYTHING, id, title="Saved")
    sweep_all()
    assert conversations.find(EVERYTHING, id).title == "Saved"


def test_a_hold_that_comes_at_the_last_moment_counts(
    id: str, clock: Clock, configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
):
    configure(retention_days=10)
    conversations.change(EVERYTHING, id, is_held=True)
    clock.move(seconds=11 * DAY)
    monkeypatch.setattr(trash, "_inactive_in", lambda *_: [id])  # as it was found before
    trash.sweep()
    assert conversations.find(EVERYTHING, id).is_held


def test_retention_goes_through_all_projects(
    either_store: Store, clock: Clock, configure: Callable[..., None]
):
    configure(retention_days=10)
    for number in range(2 * trash.SWEEP_PROJECTS):
        conversations.start(EVERYTHING, f"project {number}")
    clock.move(seconds=11 * DAY)
    for _ in range(3):
        trash.sweep()
    assert lists.newest(EVERYTHING).rows == []


@pytest.mark.parametrize("error", [ConversationNotFound("x"), RuntimeError("damaged"), WouldWait()])
def test_a_sweep_that_fails_is_no_fault_of_the_request(
    id: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
):
    def fail() -> bool:
        raise error

    monkeypatch.setattr(trash.sweep_if_due, "_work", fail)
    monkeypatch.setattr(trash.sweep_if_due, "due_at", 0)
    assert conversations.start(EVERYTHING, PROJECT).id
    assert trash.sweep_if_due.due_at > 0


def test_a_slow_sweep_starts_no_other_one(id: str, monkeypatch: pytest.MonkeyPatch):
    sweeps = []

    @transaction
    def slow() -> bool:
        sweeps.append(1)
        monkeypatch.setattr(
            trash.sweep_if_due, "due_at", 0
        )  # as if it had taken more than a second
        return True

    monkeypatch.setattr("db.engine.database.after_write", [trash.sweep_if_due])
    monkeypatch.setattr(trash.sweep_if_due, "_work", slow)
    monkeypatch.setattr(trash.sweep_if_due, "due_at", 0)
    conversations.start(EVERYTHING, PROJECT)
    assert len(sweeps) == 1


def test_a_sweep_finishes_the_streams_of_silent_writers(id: str, clock: Clock):
    kept, gone = Writer(id, "Once"), Writer(conversations.start(EVERYTHING, PROJECT).id, "gone")
    conversations.remove(EVERYTHING, gone.conversation_id)
    place = changes.page_for(EVERYTHING).place
    clock.move(seconds=61)
    trash.sweep()
    (told,) = changes.page_for(EVERYTHING, after=place).rows
    assert told.id == id
    assert kept.text == ("Once", "incomplete")
