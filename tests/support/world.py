"""A small set of rows, and for every route a request that succeeds on it."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import quote

from chalice.app import RouteEntry

from app import app
from db import conversations, messages, streams
from db.clock import new_id
from db.engine.database import database
from db.messages import Draft
from db.scope import EVERYTHING, Scope
from handlers.pages import console_page, reference_page

from .clients import Answer, Api

PROJECT = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
OTHER_PROJECT = "0f0e0d0c-0b0a-4908-8706-050403020100"
ROUTES: list[RouteEntry] = [route for methods in app.routes.values() for route in methods.values()]
USER = "alice"
SECRET = "Nobody else may read this"


class World(NamedTuple):
    """A user's conversation, with one completed message and one in progress."""

    project_id: str
    conversation_id: str
    message_id: str
    key: str = "a key"
    chat_id: str = "a chat"
    item_id: str = "no item"  # the message, as a path of /v1 names it
    version: str = "no version"  # of a page's files
    file: str = "icon.svg"

    @property
    def without_message(self) -> "World":
        """A world in which the message is another one, which is not there."""
        return self._replace(message_id=(id := new_id()), item_id=id)


class Request(NamedTuple):
    method: str
    path: str
    json: Any = None
    query: dict[str, Any] = {}

    def send(self, api: Api, **rest: Any) -> Answer:
        return api.request(self.method, self.path, self.json, **{**self.query, **rest})


def make_world(project_id: str = PROJECT, user_id: str | None = USER) -> World:
    scope = Scope(project_id, user_id)
    conversation = conversations.start(scope, project_id, SECRET)
    drafts = [Draft("user", SECRET), Draft("assistant", SECRET, "in_progress")]
    _, streaming = messages.append(scope, conversation.id, drafts)
    database.close()
    return World(
        project_id, conversation.id, streaming.id, chat_id=conversation.id, item_id=streaming.id
    )


# A valid body for each route that takes one. `request_for` fails for a route that is missing.
BODIES: dict[str, Callable[[World], Any]] = {
    "create_conversation": lambda world: {"project_id": world.project_id, "title": "A title"},
    "change_conversation": lambda world: {"title": "A new title", "is_archived": True},
    "rename_conversation": lambda world: {"title": "A new title"},
    "append_messages": lambda world: {"role": "user", "content": "Hello"},
    "edit_message": lambda world: {"content": "Better", "metadata": {"edited": True}},
    "append_to_message": lambda world: {"offset": len(SECRET), "delta": "!"},
    "get_or_create_conversation": lambda world: {
        "project_id": world.project_id,
        "tags": ["planning"],
    },
    "fork_conversation": lambda world: {"message_id": world.message_id},
    "append_project_messages": lambda world: {"messages": [{"role": "user", "content": "Hello"}]},
    "chat": lambda world: {"conversation_id": world.conversation_id, "content": "Hello"},
    "submit_to_chat": lambda world: {
        "id": world.chat_id,
        "messages": [{"id": "1", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}],
        "project_id": world.project_id,
    },
    "stop_chat": lambda world: {"activeStreamId": world.message_id},
    "create_openai_conversation": lambda world: {
        "title": "A title",
        "metadata": {"topic": "What it is about"},
    },
    "update_openai_conversation": lambda world: {
        "title": "A new title",
        "metadata": {"topic": "What it is about"},
    },
    "create_items": lambda world: {"items": [{"role": "user", "content": "Hello"}]},
    "create_token": lambda world: {"user_id": USER, "project_id": world.project_id},
    "create_response": lambda world: {"conversation": world.conversation_id, "input": "Hello"},
}
# Routes whose conversation has to be in the trash.
OF_THE_TRASH = {"restore_conversation", "purge_conversation"}
# Routes whose answer must have ended, where nobody writes it on.
OF_AN_END = {"resume_chat"}
# Files of pages, by the page that has them.
PAGE_FILES = {"console_file": console_page, "docs_file": reference_page}
# A query for each route whose tests need one.
QUERIES: dict[str, Callable[[World], dict[str, Any]]] = {
    "list_conversations": lambda world: {"project_id": world.project_id},
    "list_changes": lambda world: {"project_id": world.project_id},
    "search_messages": lambda world: {"q": SECRET, "project_id": world.project_id},
    "list_trash": lambda world: {"project_id": world.project_id},
    "end_tokens": lambda world: {"user_id": USER},
}


def name_of(route: RouteEntry) -> str:
    return route.view_function.__name__


def request_for(route: RouteEntry, world: World) -> Request:
    """Return a request to `route` that succeeds for the world's user."""
    name = name_of(route)
    if name in PAGE_FILES:
        world = world._replace(version=PAGE_FILES[name]().version)
    path = route.uri_pattern.format(**{name: quote(it) for name, it in world._asdict().items()})
    if name in OF_THE_TRASH:
        with suppress(Exception):  # a test may damage it, or ask for one that never existed
            conversations.remove(EVERYTHING, world.conversation_id)
        database.close()
    if name in OF_AN_END:
        with suppress(Exception):
            streams.stop(EVERYTHING, world.conversation_id)
        database.close()
    takes_body = route.view_function.endpoint.body_model is not None
    body = BODIES[name](world) if takes_body else None
    query = QUERIES[name](world) if name in QUERIES else {}
    return Request(route.method, path, body, query)


def dump() -> dict[str, list[Any]]:
    """Return all rows of all tables, but for when a key or a token was last used."""

    def columns(table: str) -> str:
        names = [column.name for column in database.get_columns(table) if column.name != "used_at"]
        return ", ".join(f'"{name}"' for name in names)

    with database.connection_context():
        return {
            table: database.execute_sql(
                f'SELECT {columns(table)} FROM "{table}" ORDER BY 1, 2'
            ).fetchall()
            for table in database.get_tables()
            if not table.startswith("search_")  # derived
        }
