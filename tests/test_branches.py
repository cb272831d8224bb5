"""Tests branches: how messages are linked, read, switched, deleted and forked."""

from datetime import timedelta

import pytest
from playhouse.test_utils import assert_query_count

from db import branches, conversations, messages, transcripts
from db.engine.connect import Store
from db.engine.database import database
from db.errors import ConversationNotFound, Invalid, KeyTaken, MessageNotFound
from db.messages import ALL, Draft
from db.models import Message
from db.scope import EVERYTHING, Scope

from .support.clock import Clock
from .support.followers import Follower
from .support.world import PROJECT
from .support.writer import Writer


def say(id: str, *contents: str, parent_id: str | None = messages.ACTIVE_LEAF) -> list[str]:
    drafts = [Draft("user", content) for content in contents]
    drafts[0] = drafts[0]._replace(parent_id=parent_id)
    return [row.id for row in messages.append(EVERYTHING, id, drafts)]


def contents(id: str, branch: str | None = None) -> list[object]:
    return [row.content for row in transcripts.read(EVERYTHING, id, branch=branch).messages]


def leaf(id: str) -> str | None:
    return conversations.find(EVERYTHING, id).last_message_id


def switch(id: str, message_id: str | None) -> None:
    transcripts.change(EVERYTHING, id, last_message_id=message_id)


@pytest.fixture
def id(either_store: Store) -> str:
    return conversations.start(EVERYTHING, PROJECT).id


@pytest.fixture
def long(either_store: Store) -> int:
    """Many messages. Within one transaction PostgreSQL keeps each state of a row it changes."""
    return 5_000 if either_store.engine == "sqlite" else 500


def test_editing_and_resending_makes_a_second_branch(id: str):
    question, _ = say(id, "Qusetion", "What?")
    say(id, "Question", "Answer", parent_id=None)
    assert contents(id) == ["Question", "Answer"]
    assert contents(id, ALL) == ["Qusetion", "What?", "Question", "Answer"]
    assert contents(id, question) == ["Qusetion"]


def test_a_message_follows_the_active_leaf_after_a_switch(id: str):
    first, second = say(id, "1", "2")
    say(id, "2b", parent_id=first)
    switch(id, second)
    (third,) = say(id, "3")
    assert contents(id) == ["1", "2", "3"]
    assert messages.find(EVERYTHING, id, third).parent_id == second


def test_switching_to_an_older_message_of_a_line_shows_the_line_up_to_it(id: str):
    first, _ = say(id, "1", "2")
    switch(id, first)
    assert contents(id) == ["1"]
    assert contents(id, ALL) == ["1", "2"]


def test_a_switch_to_the_active_leaf_changes_nothing(id: str):
    _, second = say(id, "1", "2")
    before = conversations.find(EVERYTHING, id)
    switch(id, second)
    assert conversations.find(EVERYTHING, id) == before


def test_a_switch_moves_the_version_and_no_activity(id: str, clock: Clock):
    first, _ = say(id, "1", "2")
    before = conversations.find(EVERYTHING, id)
    clock.move(seconds=1)
    switch(id, first)
    after = conversations.find(EVERYTHING, id)
    assert after.version == before.version + 1
    assert after.updated_at > before.updated_at
    assert after.activity == before.activity


def test_a_switch_is_an_event(id: str):
    first, _ = say(id, "1", "2")
    reader = Follower(id).catch_up()
    switch(id, first)
    assert reader.look() == ["conversation"]
    assert reader.leaf_id == first


@pytest.mark.parametrize("unknown", ["01a20f71-b8ef-750d-8941-7a70f27b06c5", "of another one"])
def test_a_message_of_no_conversation_or_another_one_is_no_parent_leaf_or_branch(
    id: str, unknown: str
):
    say(id, "1")
    if unknown == "of another one":
        (unknown,) = say(conversations.start(EVERYTHING, PROJECT).id, "theirs")
    before = conversations.find(EVERYTHING, id)
    with pytest.raises(Invalid, match="parent_id"):
        say(id, "2", "3", parent_id=unknown)
    with pytest.raises(Invalid, match="last_message_id"):
        switch(id, unknown)
    for read in (transcripts.read, messages.page_for):
        with pytest.raises(MessageNotFound):
            read(EVERYTHING, id, branch=unknown)
    with pytest.raises(MessageNotFound):
        transcripts.fork(EVERYTHING, id, unknown)
    assert conversations.find(EVERYTHING, id) == before
    assert contents(id) == ["1"]


def test_a_batch_may_hold_several_branches(id: str):
    (root,) = say(id, "root")
    rows = messages.append(
        EVERYTHING,
        id,
        [
            Draft("user", "a"),
            Draft("user", "b", parent_id=root),
            Draft("user", "c"),
            Draft("user", "another root", parent_id=None),
        ],
    )
    assert [row.parent_id for row in rows] == [root, root, rows[1].id, None]
    assert contents(id, rows[2].id) == ["root", "b", "c"]
    assert contents(id) == ["another root"]


def test_the_children_of_a_deleted_message_take_its_parent(id: str):
    root, middle, _ = say(id, "root", "middle", "a")
    (other,) = say(id, "b", parent_id=middle)
    messages.remove(EVERYTHING, id, middle)
    assert contents(id, other) == ["root", "b"]
    assert {row.parent_id for row in transcripts.read(EVERYTHING, id, branch=ALL).messages} == {
        None,
        root,
    }


@pytest.mark.parametrize("number", range(4))
def test_after_the_active_leaf_is_deleted_its_parent_is_the_leaf(id: str, number: int):
    ids = say(id, "1", "2")
    ids += say(id, "2b", "3b", parent_id=ids[0])
    switch(id, ids[number])
    messages.remove(EVERYTHING, id, ids[number])
    parents = [ids[3], ids[0], ids[0], ids[2]]  # for a root, the newest that is left
    assert leaf(id) == parents[number]


def test_the_last_message_leaves_none(id: str):
    (only,) = say(id, "1")
    say(id, "2", parent_id=None)
    messages.remove(EVERYTHING, id, str(leaf(id)))
    messages.remove(EVERYTHING, id, only)
    assert (leaf(id), contents(id), contents(id, ALL)) == (None, [], [])
    (again,) = say(id, "again")
    assert messages.find(EVERYTHING, id, again).parent_id is None


def test_a_message_in_progress_has_its_text_on_every_branch(id: str):
    root, _ = say(id, "root", "a")
    writer = Writer(id, "b")
    writer.append("cd")
    say(id, "d", parent_id=root)
    assert contents(id, writer.id) == ["root", "a", "bcd"]
    assert contents(id, ALL) == ["root", "a", "bcd", "d"]


# --- Cost


def test_a_line_is_read_with_as_many_queries_as_before_there_were_branches(id: str):
    ids = say(id, *"abcd")
    with assert_query_count(2):
        transcripts.read(EVERYTHING, id)
    with assert_query_count(2):
        messages.page_for(EVERYTHING, id, 2)
    with assert_query_count(2):
        messages.page_for(EVERYTHING, id, 2, descending=True)
    with assert_query_count(4):
        messages.page_for(EVERYTHING, id, 2, after=ids[1])


def test_a_list_takes_one_more_query_however_many_conversations_have_branches(id: str):
    for number in range(5):
        one = conversations.start(EVERYTHING, PROJECT).id
        (root, *_) = say(one, "root", "a")
        if number:
            say(one, "b", parent_id=root)
    with assert_query_count(3):
        page = transcripts.newest(EVERYTHING)
    shown = [[message.content for message in row.messages] for row in page.rows]
    assert shown == [["root", "b"]] * 4 + [["root", "a"], []]


def test_a_line_stores_no_links(id: str):
    say(id, *"abc")
    say(id, "d", parent_id=leaf(id))
    assert Message.select().where(Message.parent.is_null(False)).count() == 0


def test_a_chain_of_many_parents_each_on_another_branch(id: str, long: int):
    """Two branches grow in turns, so that no message follows the one before it."""
    root, _, first = say(id, "root", "left 0", "left 1")
    with database.atomic():
        left, right = first, root
        for number in range(long // 2):
            (right,) = say(id, f"right {number}", parent_id=right)
            (left,) = say(id, f"left {number}", parent_id=left)
    path = transcripts.read(EVERYTHING, id, branch=right).messages
    assert [row.content for row in path] == ["root", *(f"right {n}" for n in range(long // 2))]
    newest = messages.page_for(EVERYTHING, id, 100, descending=True, branch=right)
    assert [row.id for row in newest.rows] == [row.id for row in path[:-101:-1]]
    messages.remove(EVERYTHING, id, root)
    assert len(transcripts.read(EVERYTHING, id, branch=right).messages) == long // 2
    assert len(branches.runs_to(id, right)) == long // 2


def test_a_line_of_many_messages_whose_root_is_deleted(id: str, long: int):
    with database.atomic():
        root, *_ = say(id, *map(str, range(100)))
        for start in range(100, long, 100):
            say(id, *map(str, range(start, start + 100)))
    messages.remove(EVERYTHING, id, root)
    assert contents(id) == [str(number) for number in range(1, long)]
    assert transcripts.read(EVERYTHING, id).messages[0].parent_id is None


def test_a_tree_of_many_roots_each_with_children(id: str, long: int):
    with database.atomic():
        roots = [say(id, "root", "child", parent_id=None)[0] for _ in range(long // 5)]
        (second,) = say(id, "second child", parent_id=roots[0])
    messages.remove(EVERYTHING, id, roots[0])
    messages.remove(EVERYTHING, id, roots[50])
    every = transcripts.read(EVERYTHING, id, branch=ALL).messages
    assert len(every) == 2 * len(roots) + 1 - 2
    assert sum(row.parent_id is None for row in every) == len(roots) - 2 + 3
    assert contents(id) == ["second child"]
    assert leaf(id) == second


# --- Forks


def test_a_fork_has_the_path_and_what_is_the_origins(id: str, clock: Clock):
    origin = conversations.start(
        Scope(PROJECT, "alice"), PROJECT, "Title", key="k", tags=["t"], metadata={"a": 1}
    )
    conversations.change(EVERYTHING, origin.id, is_pinned=True, is_archived=True, is_held=True)
    root, second = say(origin.id, "1", "2")
    say(origin.id, "2b", parent_id=root)
    clock.move(seconds=timedelta(days=1).total_seconds())
    fork, copies = transcripts.fork(EVERYTHING, origin.id, second)
    assert [copy.content for copy in copies] == ["1", "2"]
    assert transcripts.read(EVERYTHING, fork.id).messages == copies
    assert (fork.title, fork.user_id, fork.tags, fork.key) == ("Title", "alice", ["t"], None)
    assert not any((fork.is_pinned, fork.is_archived, fork.is_held, fork.is_branched))
    assert fork.metadata == {
        "a": 1,
        "forked_from": {"conversation_id": origin.id, "message_id": second},
    }
    first = transcripts.read(EVERYTHING, origin.id, branch=second).messages
    assert [copy.created_at for copy in copies] == [row.created_at for row in first]
    assert fork.created_at > copies[0].created_at
    assert fork.last_message_id == fork.activity == copies[-1].id
    assert fork.activity > str(leaf(origin.id))


def test_a_fork_copies_what_is_being_written_as_incomplete_and_without_client_ids(id: str):
    messages.append(EVERYTHING, id, [Draft("user", "Q", client_id="c")])
    writer = Writer(id, "Once")
    writer.append(" upon")
    fork, copies = transcripts.fork(EVERYTHING, id)
    assert [(copy.content, copy.status, copy.client_id) for copy in copies] == [
        ("Q", "completed", None),
        ("Once upon", "incomplete", None),
    ]
    messages.append(EVERYTHING, fork.id, [Draft("user", "another", client_id="c")])
    writer.append(" a time", "completed")
    assert contents(fork.id) == ["Q", "Once upon", "another"]
    assert Follower(fork.id).catch_up().texts == {
        row.id: (row.content, row.status) for row in transcripts.read(EVERYTHING, fork.id).messages
    }


def test_a_fork_of_an_empty_conversation_is_empty(id: str):
    fork, copies = transcripts.fork(EVERYTHING, id, title="Mine", key="k")
    assert (copies, fork.title, fork.key) == ([], "Mine", "k")
    assert fork.metadata == {"forked_from": {"conversation_id": id, "message_id": None}}


def test_a_fork_whose_key_is_taken_leaves_nothing(id: str):
    say(id, "1")
    transcripts.fork(EVERYTHING, id, key="k")
    with pytest.raises(KeyTaken):
        transcripts.fork(EVERYTHING, id, key="k")
    with pytest.raises(ConversationNotFound):
        transcripts.fork(Scope("another project"), id)
    assert database.execute_sql("SELECT count(*) FROM conversation").fetchone() == (2,)
