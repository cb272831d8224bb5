"""Tests API keys: what is stored of them, what they open, and how they are revoked."""

import hashlib
import re
from pathlib import Path

import pytest

from db import api_keys
from db.engine.sqlite import SqliteStore
from db.errors import KeyNotFound

from .support.clients import Api, assert_problem
from .support.clock import Clock
from .support.world import OTHER_PROJECT, PROJECT

CONVERSATIONS = "/api/v1/conversations"


def test_a_key_can_be_recognised_but_not_guessed():
    plain, _ = api_keys.make()
    assert re.fullmatch(r"confab_[A-Za-z0-9_-]{43}", plain)  # 43 characters of 6 bits hold 256 bits
    assert api_keys.make()[0] != plain


def test_a_key_is_stored_as_its_digest_only(store: SqliteStore):
    plain, row = api_keys.make(PROJECT, "web")
    assert row.digest == hashlib.sha256(plain.encode()).hexdigest()
    store.close_all()
    for file in Path(store.place).parent.iterdir():
        assert plain.removeprefix("confab_").encode() not in file.read_bytes()


def test_a_key_is_found_by_its_plain_text():
    plain, row = api_keys.make(PROJECT, "web")
    api_keys.make(OTHER_PROJECT)
    assert api_keys.find(plain) == row
    assert (row.project_id, row.name, row.revoked_at) == (PROJECT, "web", None)


@pytest.mark.parametrize("stranger", ["", "confab_", "confab_" + "A" * 43, "x" * 10_000, "é", "\0"])
def test_a_key_that_was_never_made_is_not_found(stranger: str):
    api_keys.make()
    assert api_keys.find(stranger) is None


def test_the_digest_and_the_id_of_a_key_open_nothing():
    _, row = api_keys.make()
    assert api_keys.find(row.digest) is None
    assert api_keys.find(row.id) is None


def test_all_keys_are_listed_oldest_first():
    rows = [api_keys.make(name=name)[1] for name in ("first", "second", "third")]
    assert api_keys.list_all() == rows


def test_a_revoked_key_is_listed_and_not_found():
    plain, row = api_keys.make()
    kept, _ = api_keys.make()
    api_keys.revoke(row.id)
    assert api_keys.find(plain) is None
    assert api_keys.find(kept) is not None
    assert [key.revoked_at is None for key in api_keys.list_all()] == [False, True]


def test_revoking_twice_keeps_the_first_time(clock: Clock):
    _, row = api_keys.make()
    api_keys.revoke(row.id)
    first = api_keys.list_all()[0].revoked_at
    clock.move(60)
    api_keys.revoke(row.id)
    assert api_keys.list_all()[0].revoked_at == first


def test_a_key_that_does_not_exist_cannot_be_revoked():
    with pytest.raises(KeyNotFound, match="There is no key 42"):
        api_keys.revoke("42")


def test_a_key_for_a_project_opens_that_project_only(api: Api):
    key, _ = api_keys.make(PROJECT)
    limited = Api(api.transport, {"X-API-Key": key})
    assert limited.post(CONVERSATIONS, {"project_id": PROJECT}).status == 201
    assert_problem(limited.post(CONVERSATIONS, {"project_id": OTHER_PROJECT}), 403, "other-project")
    api.post(CONVERSATIONS, {"project_id": OTHER_PROJECT})
    shown = limited.get(CONVERSATIONS).json["conversations"]
    assert [one["project_id"] for one in shown] == [PROJECT]


def test_a_key_for_all_projects_opens_each(api: Api):
    for project_id in (PROJECT, OTHER_PROJECT):
        assert api.post(CONVERSATIONS, {"project_id": project_id}).status == 201
    assert len(api.get(CONVERSATIONS).json["conversations"]) == 2


def test_a_key_opens_nothing_from_the_moment_it_is_revoked(api: Api):
    plain, row = api_keys.make()
    caller = Api(api.transport, {"X-API-Key": plain})
    assert caller.get(CONVERSATIONS).status == 200
    api_keys.revoke(row.id)
    problem = assert_problem(caller.get(CONVERSATIONS), 401, "unauthenticated")
    assert "revoked" in problem["detail"]
