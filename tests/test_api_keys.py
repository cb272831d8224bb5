"""API keys: what is stored of them, what they open, and when they stop to."""

import hashlib
import re
from pathlib import Path

import pytest

from db.api_key import ApiKey
from db.database import SqliteStore
from db.errors import KeyNotFound

from .clients import Api, assert_problem
from .conftest import OTHER_PROJECT, PROJECT, Clock

CONVERSATIONS = "/api/v1/conversations"


def test_a_key_can_be_recognised_and_not_be_guessed():
    plain, _ = ApiKey.make()
    assert re.fullmatch(r"confab_[A-Za-z0-9_-]{43}", plain)  # 43 × 6 bits hold 256
    assert ApiKey.make()[0] != plain


def test_a_key_is_stored_as_its_digest_only(store: SqliteStore):
    plain, row = ApiKey.make(PROJECT, "web")
    assert row.digest == hashlib.sha256(plain.encode()).hexdigest()
    store.close_all()
    for file in Path(store.place).parent.iterdir():
        assert plain.removeprefix("confab_").encode() not in file.read_bytes()


def test_a_key_is_found_by_its_plain_text():
    plain, row = ApiKey.make(PROJECT, "web")
    ApiKey.make(OTHER_PROJECT)
    assert ApiKey.find(plain) == row
    assert (row.project_id, row.name, row.revoked_at) == (PROJECT, "web", None)


@pytest.mark.parametrize("stranger", ["", "confab_", "confab_" + "A" * 43, "x" * 10_000, "é", "\0"])
def test_a_key_that_was_never_made_is_not_found(stranger: str):
    ApiKey.make()
    assert ApiKey.find(stranger) is None


def test_neither_its_digest_nor_its_id_opens_what_a_key_opens():
    _, row = ApiKey.make()
    assert ApiKey.find(row.digest) is None
    assert ApiKey.find(row.id) is None


def test_all_keys_are_listed_oldest_first():
    rows = [ApiKey.make(name=name)[1] for name in ("first", "second", "third")]
    assert ApiKey.all() == rows


def test_a_revoked_key_is_listed_and_not_found():
    plain, row = ApiKey.make()
    kept, _ = ApiKey.make()
    ApiKey.revoke(row.id)
    assert ApiKey.find(plain) is None
    assert ApiKey.find(kept) is not None
    assert [key.revoked_at is None for key in ApiKey.all()] == [False, True]


def test_revoking_twice_keeps_the_first_time(clock: Clock):
    _, row = ApiKey.make()
    ApiKey.revoke(row.id)
    first = ApiKey.all()[0].revoked_at
    clock.move(60)
    ApiKey.revoke(row.id)
    assert ApiKey.all()[0].revoked_at == first


def test_a_key_that_does_not_exist_cannot_be_revoked():
    with pytest.raises(KeyNotFound, match="There is no key 42"):
        ApiKey.revoke("42")


def test_a_key_for_a_project_opens_that_project_only(api: Api):
    key, _ = ApiKey.make(PROJECT)
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
    plain, row = ApiKey.make()
    caller = Api(api.transport, {"X-API-Key": plain})
    assert caller.get(CONVERSATIONS).status == 200
    ApiKey.revoke(row.id)
    problem = assert_problem(caller.get(CONVERSATIONS), 401, "unauthenticated")
    assert "revoked" in problem["detail"]
