"""Tests notices: a process hears after each commit which conversations it changed."""

from collections.abc import Callable, Iterator

import pytest

from db import conversations, messages, streams
from db.engine.database import data_version, transaction
from db.engine.group_commit import Group
from db.engine.notices import Topic, listen, unlisten
from db.engine.sqlite import SqliteStore
from db.errors import Unavailable
from db.messages import Draft
from db.scope import EVERYTHING
from db.settings import settings

from .support.processes import append_messages, processes
from .support.world import PROJECT

HELLO = Draft("user", "Hello")


@pytest.fixture
def heard() -> Iterator[list[set[str]]]:
    """What this process has heard, oldest first."""
    heard: list[set[str]] = []

    def hear(topics: set[Topic]) -> None:
        if ids := {topic for topic in topics if isinstance(topic, str)}:
            heard.append(ids)

    listen(hear)
    yield heard
    unlisten(hear)


def append(id: str) -> str:
    (row,) = messages.append(EVERYTHING, id, [HELLO])
    return row.id


def rename(id: str) -> None:
    conversations.change(EVERYTHING, id, title="New")


def remove(id: str) -> None:
    conversations.remove(EVERYTHING, id)


def edit_a_message(id: str) -> None:
    messages.edit(EVERYTHING, id, append(id), content="Hi")


def remove_a_message(id: str) -> None:
    messages.remove(EVERYTHING, id, append(id))


def finish_a_stream(id: str) -> None:
    (row,) = messages.append(EVERYTHING, id, [Draft("assistant", "", "in_progress")])
    streams.append(EVERYTHING, id, row.id, 0, "Hi", "completed")


# With how many commits each has.
CHANGES: dict[Callable[[str], object], int] = {
    append: 1,
    rename: 1,
    remove: 1,
    edit_a_message: 2,
    remove_a_message: 2,
    finish_a_stream: 2,
}


@pytest.mark.parametrize(("change", "commits"), CHANGES.items())
@pytest.mark.usefixtures("either_store")
def test_each_change_of_a_conversation_is_told_after_its_commit(
    conversation_id: str, heard: list[set[str]], change: Callable[[str], object], commits: int
):
    change(conversation_id)
    assert heard == [{conversation_id}] * commits


@pytest.mark.usefixtures("either_store")
def test_what_was_taken_back_is_not_told(conversation_id: str, heard: list[set[str]]):
    @transaction
    def fail() -> None:
        messages.append(EVERYTHING, conversation_id, [HELLO])
        raise RuntimeError("after the write")

    with pytest.raises(RuntimeError):
        fail()
    assert heard == []


@pytest.mark.usefixtures("either_store")
def test_reading_and_changing_nothing_are_not_told(conversation_id: str, heard: list[set[str]]):
    conversations.find(EVERYTHING, conversation_id)
    conversations.change(EVERYTHING, conversation_id, title=None)
    assert heard == []


@pytest.mark.usefixtures("either_store")
def test_a_sign_of_life_is_no_news(conversation_id: str, heard: list[set[str]]):
    (row,) = messages.append(EVERYTHING, conversation_id, [Draft("assistant", "", "in_progress")])
    heard.clear()
    streams.append(EVERYTHING, conversation_id, row.id, 0, "")
    assert heard == []
    streams.append(EVERYTHING, conversation_id, row.id, 0, "Hi")
    assert heard == [{conversation_id}]


@pytest.mark.usefixtures("either_store")
def test_a_transaction_of_several_verbs_is_told_once(conversation_id: str, heard: list[set[str]]):
    @transaction
    def work() -> str:
        messages.append(EVERYTHING, conversation_id, [HELLO])
        other = conversations.start(EVERYTHING, PROJECT).id
        messages.append(EVERYTHING, other, [HELLO])
        assert heard == []
        return other

    other = work()
    assert heard == [{conversation_id, other}]


def test_a_group_is_told_after_its_one_commit(
    store: SqliteStore, conversation_id: str, heard: list[set[str]]
):
    group = Group(store)
    assert group.begin()
    group.run(lambda: messages.append(EVERYTHING, conversation_id, [HELLO]))
    group.run(lambda: messages.append(EVERYTHING, conversation_id, [HELLO]))
    assert heard == []
    group.commit()
    assert heard == [{conversation_id}]
    conversations.change(EVERYTHING, conversation_id, title="Afterwards")
    assert heard == [{conversation_id}] * 2


def test_a_group_whose_commit_fails_is_not_told(
    store: SqliteStore, conversation_id: str, heard: list[set[str]]
):
    group = Group(store)
    assert group.begin()
    group.run(lambda: messages.append(EVERYTHING, conversation_id, [HELLO]))
    store.connection().execute("ROLLBACK")
    with pytest.raises(Unavailable):
        group.commit()
    assert heard == []


@pytest.mark.usefixtures("either_store")
def test_the_data_version_tells_of_the_commits_of_other_processes(conversation_id: str):
    url = settings().database_url
    before = data_version()
    assert data_version() == before
    with processes(1) as pool:
        pool.submit(append_messages, url, conversation_id, "other", 1).result()
    assert data_version() != before


@pytest.mark.usefixtures("either_store")
def test_a_conversation_has_changed_if_its_version_is_another_or_it_is_gone():
    same, grown, gone = (conversations.start(EVERYTHING, PROJECT).id for _ in range(3))
    versions = dict.fromkeys((same, grown, gone), 0)
    assert conversations.changed(versions) == set()
    messages.append(EVERYTHING, grown, [HELLO])
    conversations.remove(EVERYTHING, gone)
    assert conversations.changed(versions) == {grown, gone}
    many = dict.fromkeys((conversations.start(EVERYTHING, PROJECT).id for _ in range(50)), 0)
    assert conversations.changed(many | versions) == {grown, gone}
    assert conversations.changed({}) == set()
