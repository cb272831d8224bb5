"""Tests erasure: that all of a person goes, that nothing of it is left, and nothing else goes."""

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from db import api_keys, changes, conversations, erasure, messages, transcripts, trash
from db.__main__ import cli
from db.clock import new_id
from db.engine.connect import Store
from db.engine.database import database
from db.engine.sqlite import SqliteStore
from db.messages import ALL, Draft
from db.models import MODELS, IdempotencyKey
from db.scope import EVERYTHING, NO_PROJECT, Scope

from .support.clients import Api
from .support.clock import Clock
from .support.processes import ROOT
from .support.world import OTHER_PROJECT, PROJECT
from .support.writer import Writer

NEEDLES = [f"needle-{number}" for number in range(12)]
PERSON = "needle-person"


def live(user_id: str, text: str) -> list[str]:
    """Let a user do what leaves text in every place. Return the ids of their conversations."""
    scope = Scope(PROJECT, user_id)
    n = [f"{text}-{number}" for number in range(12)]
    row = conversations.start(scope, PROJECT, n[0], key=n[1], tags=[n[2]], metadata={"note": n[3]})
    rows = messages.append(
        scope, row.id, [Draft("user", f"{n[4]} " * 3_000, client_id=n[5], metadata={"m": n[6]})]
    )
    messages.edit(scope, row.id, rows[0].id, content="edited away")
    writer = Writer(row.id, n[7])
    writer.append(f" {n[8]}")
    writer.append("", "completed")
    open_one = Writer(row.id)
    open_one.append(n[9])
    gone = messages.append(scope, row.id, [Draft("user", n[10])])[0]
    messages.remove(scope, row.id, gone.id)
    discarded = conversations.start(scope, PROJECT, n[11])
    messages.append(scope, discarded.id, [Draft("user", n[0])])
    conversations.remove(scope, discarded.id)
    purged = conversations.start(scope, PROJECT, n[11])
    conversations.remove(scope, purged.id)
    trash.purge(scope, purged.id)
    other = conversations.start(Scope(OTHER_PROJECT, user_id), OTHER_PROJECT, n[0])
    return [row.id, discarded.id, other.id]


def rows_of(user_id: str) -> list[Any]:
    return [*erasure.records_of(user_id, None)]


def ask_with_keys(api: Api, conversation_id: str, user_id: str, text: str) -> None:
    """Leave stored answers: to the user's own request, and to one of the project's."""
    for user in (user_id, None):
        api.post(
            f"/api/v1/conversations/{conversation_id}/messages",
            {"role": "user", "content": text},
            headers={"X-User-Id": user, "Idempotency-Key": f"of {user}"},
        )


@pytest.fixture
def person(either_store: Store, api: Api) -> list[str]:
    ids = live(PERSON, "needle")
    live("somebody else", "kept")
    key, _ = api_keys.make()  # a key of the store that the test runs on
    database.close()
    ask_with_keys(Api(api.transport, {"X-API-Key": key}), ids[0], PERSON, NEEDLES[0])
    return ids


def erase(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(cli, ["erase", *arguments])
    return result.exit_code, json.loads(result.stdout)


def no_progress(done: int, total: int) -> None:
    assert done <= total


def test_all_of_a_person_goes_and_nothing_else(person: list[str]):
    others = rows_of("somebody else")
    assert len(rows_of(PERSON)) > 3
    receipt = erasure.erase(PERSON, None, no_progress)
    assert (receipt.conversations, receipt.messages, receipt.tombstones) == (3, 6, 1)
    assert (receipt.stored_answers, receipt.held) == (2, [])
    digest = hashlib.sha256("".join(f"{id}\n" for id in sorted(person)).encode())
    assert receipt.sha256 == digest.hexdigest()
    assert rows_of(PERSON) == []
    assert rows_of("somebody else") == others
    for model in MODELS:
        for row in model.select().tuples():
            assert "needle" not in repr(row), model
    assert IdempotencyKey.select().count() == 0


def test_no_byte_of_it_is_left_in_the_file_its_log_or_a_backup(
    store: SqliteStore, api: Api, tmp_path: Path
):
    ids = live(PERSON, "needle")
    live("somebody else", "kept")
    database.close()
    ask_with_keys(api, ids[0], PERSON, NEEDLES[0])
    database.close()
    log = Path(f"{store.place}-wal")
    assert b"needle" in Path(store.place).read_bytes() + log.read_bytes()
    code, _ = erase("--user", PERSON)
    assert code == 0
    backup = tmp_path / "backup.db"
    assert CliRunner().invoke(cli, ["backup", str(backup)]).exit_code == 0
    files = [*tmp_path.glob("confab.db*"), backup]
    assert len(files) >= 2
    for file in files:
        content = file.read_bytes()
        assert b"needle" not in content, file
        assert file.suffix != ".db" or b"kept" in content


def test_while_others_read_the_receipt_says_that_bytes_are_left(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
):
    live(PERSON, "needle")
    database.close()
    monkeypatch.setitem(SqliteStore.PRAGMAS, "busy_timeout", 100)
    with closing(sqlite3.connect(store.place, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM message").fetchone()
        code, receipt = erase("--user", PERSON)
    assert (code, receipt["is_overwritten"], receipt["conversations"]) == (1, False, 3)
    assert "run the same command again" in receipt["remains"]
    code, receipt = erase("--user", PERSON)
    assert (code, receipt["is_overwritten"], receipt["conversations"]) == (0, True, 0)
    for file in Path(store.place).parent.glob("confab.db*"):
        assert b"needle" not in file.read_bytes(), file


def test_a_reader_of_the_feed_is_told_that_it_is_gone_and_not_whose_it_was(person: list[str]):
    project = changes.page_for(Scope(PROJECT))
    erasure.erase(PERSON, PROJECT, no_progress)
    gone = changes.page_for(Scope(PROJECT), after=project.place).rows
    assert {row.id for row in gone} >= set(person[:2])
    assert all(isinstance(row, changes.Deleted) for row in gone)
    left = changes.page_for(Scope(None, PERSON)).rows
    assert [row.id for row in left] == [person[2]]  # of the other project


def test_what_is_held_stays_and_is_named(store: SqliteStore):
    ids = live(PERSON, "needle")
    conversations.change(EVERYTHING, ids[0], is_held=True)
    kept = transcripts.read(EVERYTHING, ids[0], branch=ALL)
    database.close()
    code, receipt = erase("--user", PERSON)
    assert code == 1
    assert receipt["held"] == [ids[0]]
    assert receipt["conversations"] == 2
    assert transcripts.read(EVERYTHING, ids[0], branch=ALL) == kept


def test_only_one_project_can_be_erased(store: SqliteStore):
    ids = live(PERSON, "needle")
    database.close()
    code, receipt = erase("--user", PERSON, "--project", OTHER_PROJECT)
    assert (code, receipt["conversations"], receipt["project_id"]) == (0, 1, OTHER_PROJECT)
    assert {record["id"] for record in rows_of(PERSON) if record["type"] == "conversation"} == {
        *ids[:2]
    }


def test_nobody_there_is_a_receipt_of_nothing(store: SqliteStore):
    live("somebody else", "kept")
    before = rows_of("somebody else")
    database.close()
    code, receipt = erase("--user", "nobody")
    assert code == 0
    assert [receipt[name] for name in ("conversations", "messages", "stored_answers")] == [0, 0, 0]
    assert receipt["sha256"] == hashlib.sha256(b"").hexdigest()
    assert rows_of("somebody else") == before


def test_an_erasure_that_was_broken_off_goes_on(person: list[str], monkeypatch: pytest.MonkeyPatch):
    def fail(id: str) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as broken:
        broken.setattr(erasure, "_end", fail)
        with pytest.raises(RuntimeError):
            erasure.erase(PERSON, None, no_progress)
    assert erasure.erase(PERSON, None, no_progress).conversations == 3
    assert rows_of(PERSON) == []


def test_stored_answers_go_also_if_the_erasure_was_broken_off_behind_them(
    store: SqliteStore, api: Api, monkeypatch: pytest.MonkeyPatch
):
    id = conversations.start(Scope(PROJECT, PERSON), PROJECT).id
    database.close()
    ask_with_keys(api, id, PERSON, "needle")

    def fail(*_: object) -> list[str]:
        raise RuntimeError("killed")

    with monkeypatch.context() as broken:
        broken.setattr(erasure, "_forget_tombstones", fail)
        with pytest.raises(RuntimeError):
            erasure.erase(PERSON, None, no_progress)
    erasure.erase(PERSON, None, no_progress)
    assert IdempotencyKey.select().count() == 0


def test_the_feed_does_not_say_that_what_is_held_is_gone(store: SqliteStore):
    scope, id = Scope(PROJECT, PERSON), new_id()
    for _ in range(2):
        transcripts.append_or_start(scope, PROJECT, id, [Draft("user", "Hi")])
        conversations.remove(scope, id)
        trash.purge(scope, id)
    transcripts.append_or_start(scope, PROJECT, id, [Draft("user", "Hi")])
    conversations.change(EVERYTHING, id, is_held=True)
    place = changes.page_for(EVERYTHING).place
    assert erasure.erase(PERSON, None, no_progress).held == [id]
    assert changes.page_for(EVERYTHING, after=place).rows == []


def test_the_export_has_all_of_a_person(store: SqliteStore, tmp_path: Path):
    ids = live(PERSON, "needle")
    shown = transcripts.read(EVERYTHING, ids[0], branch=ALL)
    database.close()
    file = tmp_path / "person.jsonl"
    result = CliRunner().invoke(cli, ["export-user", "--user", PERSON, str(file)])
    assert result.exit_code == 0, result.output
    assert "3 conversations" in result.output
    records = [json.loads(line) for line in file.read_text().splitlines()]
    by_id = {record["id"]: record for record in records}
    assert {id for id in by_id if by_id[id]["type"] == "conversation"} == set(ids)
    assert by_id[ids[1]]["deleted_at"]
    for message in shown.messages:
        record = by_id[message.id]
        assert record["content"] == message.content
        assert record["parent_id"] == message.parent_id


def test_others_write_and_read_while_a_person_is_erased(store: SqliteStore):
    live(PERSON, "needle")
    live("somebody else", "kept")
    ids = [conversations.start(EVERYTHING, PROJECT).id for _ in range(4)]
    database.close()
    done = threading.Event()

    def write(id: str) -> int:
        count = 0
        while not done.is_set():
            messages.append(EVERYTHING, id, [Draft("user", str(count))])
            count += 1
        database.close()
        return count

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, id) for id in ids]
        try:
            erased = subprocess.run(
                [sys.executable, "-m", "db", "erase", "--user", PERSON],
                cwd=ROOT,
                env={**os.environ, "DATABASE_URL": f"sqlite:///{store.place}"},
                capture_output=True,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        finally:
            done.set()
        counts = [writer.result() for writer in writers]
    assert erased.returncode == 0, erased.stderr
    assert rows_of(PERSON) == []
    assert all(count > 0 for count in counts)
    stored = [len(transcripts.read(EVERYTHING, id).messages) for id in ids]
    assert stored == counts


def test_stored_answers_about_what_was_purged_go_too(store: SqliteStore, api: Api):
    id = conversations.start(Scope(PROJECT, PERSON), PROJECT).id
    database.close()
    body = {"role": "user", "content": NEEDLES[0]}
    headers = {"Idempotency-Key": "of nobody"}
    api.post(f"/api/v1/conversations/{id}/messages", body, headers=headers)
    conversations.remove(EVERYTHING, id)
    trash.purge(EVERYTHING, id)
    database.close()
    code, receipt = erase("--user", PERSON)
    assert (code, receipt["stored_answers"], receipt["tombstones"]) == (0, 1, 1)
    assert b"needle" not in Path(store.place).read_bytes()


def test_stored_answers_that_do_not_name_a_conversation_go_too(store: SqliteStore, api: Api):
    id = conversations.start(Scope(PROJECT, PERSON), PROJECT).id
    database.close()
    # Items have ids of their own, and a response may belong to no conversation.
    said = {"type": "message", "role": "user", "content": "a needle"}
    items = f"/v1/conversations/conv_{id}/items"
    answer = api.post(items, {"items": [said]}, headers={"Idempotency-Key": "k"})
    assert answer.status == 200

    def respond(key: str, **body: Any) -> str:
        headers = {"X-User-Id": PERSON, "Idempotency-Key": key}
        answer = api.post("/v1/responses", {"model": "echo", **body}, headers=headers)
        assert answer.status == 200
        return str(answer.json["id"])

    first = respond("k", input="a needle")
    respond("l", input="another needle")
    respond("m", input="a needle, too", previous_response_id=first)
    erase("--user", PERSON, "--project", NO_PROJECT)
    erase("--user", PERSON, "--project", PROJECT)
    assert IdempotencyKey.select().count() == 0
    for file in Path(store.place).parent.glob("confab.db*"):
        assert b"needle" not in file.read_bytes(), file


def test_erasing_one_project_keeps_the_answers_of_another(store: SqliteStore, api: Api):
    conversations.start(Scope(PROJECT, PERSON), PROJECT)
    database.close()
    headers = {"X-User-Id": PERSON, "Idempotency-Key": "k"}
    first = api.post("/api/v1/conversations", {"project_id": OTHER_PROJECT}, headers=headers).json
    assert erase("--user", PERSON, "--project", PROJECT)[1]["stored_answers"] == 0
    again = api.post("/api/v1/conversations", {"project_id": OTHER_PROJECT}, headers=headers).json
    assert again == first


def test_a_message_whose_writer_is_silent_is_exported_as_incomplete(
    store: SqliteStore, clock: Clock
):
    id = conversations.start(Scope(PROJECT, PERSON), PROJECT).id
    Writer(id, "Once").append(" upon")
    clock.move(seconds=61)
    _, message = rows_of(PERSON)
    assert (message["content"], message["status"]) == ("Once upon", "incomplete")
