"""Records the examples of the OpenAPI document: what each route answers to a request that succeeds.

    python -m tests.support.examples

asks every route in this process, on a database of its own, and writes the answers with the ids and
times of always the same moment. `tests/test_examples.py` fails if they are no longer true.
"""

import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

from chalice.app import RouteEntry

from app import app
from db import api_keys
from db.engine.database import database
from db.settings import settings
from db.startup import open_store
from handlers.http.openapi import EXAMPLES

from . import world
from .clients import Api, InProcess
from .world import ROUTES, USER, make_world, name_of, request_for

MOMENT = "2026-11-24T21:24:00.879Z"
TIME = re.compile(r"\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
SECONDS = re.compile(r"\b1[789]\d{8}\b(?!\.)")
# UUIDv7, and how the dialects spell it. The project's id is a UUIDv4 and stays.
ID = re.compile(
    r"\b(?:[a-z]+_)?(01[0-9a-f]{6}-?[0-9a-f]{4}-?7[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12})"
)
VERSION = re.compile(r"(?<=console/)[0-9a-f]{16}|(?<=docs/)[0-9a-f]{16}")
CURSOR = re.compile(r'(?<="cursor": ")[\w=-]+(?=")')


def record() -> dict[str, Any]:
    """The examples of all operations, by the names of their functions."""
    found = {}
    said = world.SECRET
    world.SECRET = "Plan a trip to Paris"
    try:
        for route in ROUTES:
            with _store():
                found[name_of(route)] = _example(route)
    finally:
        world.SECRET = said
    return found


@contextmanager
def _store() -> Iterator[None]:
    with TemporaryDirectory() as folder:
        before = dict(os.environ)
        os.environ.update(DATABASE_URL=f"sqlite:///{folder}/examples.db", REQUIRE_API_KEY="true")
        settings.cache_clear()
        opened, database_before = open_store(settings()), database.obj
        try:
            yield
        finally:
            opened.close_all()
            database.initialize(database_before if database_before is not opened else None)
            os.environ.clear()
            os.environ.update(before)
            settings.cache_clear()


def _example(route: RouteEntry) -> dict[str, Any]:
    key, _ = api_keys.make()
    database.close()
    api = Api(InProcess(app), {"X-API-Key": key, "X-User-Id": USER})
    rows = make_world()
    request = request_for(route, rows)
    answer = request.send(api)
    assert answer.status == route.view_function.endpoint.status, (name_of(route), answer)
    path = {name: getattr(rows, name) for name in route.view_args}
    if "version" in path:
        path["version"] = world.PAGE_FILES[name_of(route)]().version
    example: dict[str, Any] = {"parameters": {**path, **request.query}}
    if request.json is not None:
        example["request"] = request.json
    if answer.body:
        media_type = answer.headers["content-type"]
        is_json = media_type.endswith("json")
        body = answer.json if is_json else answer.body.decode()
        if name_of(route) == "openapi":
            body = {name: body[name] for name in ("openapi", "info", "servers")}
        if name_of(route) == "tell_metrics":  # the other figures are never the same
            body = "\n".join(line for line in body.splitlines() if "confab_streams" in line)
        example["response"] = {"media_type": media_type, "body": body}
    return _of_one_moment(example)


def _of_one_moment(example: dict[str, Any]) -> dict[str, Any]:
    """The example with other ids and times, which are the same whenever it is recorded."""
    text = json.dumps(example, ensure_ascii=False)
    known: dict[str, str] = {}

    def rename(match: re.Match[str]) -> str:
        given = match[1]
        number = known.setdefault(given.replace("-", ""), f"{len(known) + 1:012x}")
        id = f"01a20f71-b8ef-750d-8941-{number}"
        return match[0].replace(given, id if "-" in given else id.replace("-", ""))

    text = ID.sub(rename, text)
    text = TIME.sub(MOMENT, text)
    text = SECONDS.sub("1795555440", text)
    text = re.sub(r"confab_user_[\w-]{43}", f"confab_user_{'x' * 43}", text)
    text = VERSION.sub("0123456789abcdef", text)
    text = CURSOR.sub("eyJhZnRlciI6ICJhIHBsYWNlIn0", text)
    text = re.sub(r'(?<="version": ")[0-9a-f]{16}', "0123456789abcdef", text)
    return json.loads(text)


def main() -> None:
    logging.getLogger("confab").setLevel(logging.WARNING)
    EXAMPLES.write_text(json.dumps(record(), ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
