"""Changes: what an offline app, a second device or a cache asks for."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Annotated, Literal

from chalice.app import Blueprint
from pydantic import Field, TypeAdapter

from db import changes
from db.changes import LAST_ID, ChangeSlice, Deleted, Place
from db.models import ConversationRow
from db.scope import Scope
from db.settings import settings

from .conversations import ConversationResponse
from .http import cursors
from .http.caller import AnyCaller
from .http.cursors import Cursor
from .http.endpoint import ANY, NEWS, Reply, endpoint
from .http.problems import CURSOR_EXPIRED
from .http.types import Id, Strict, Timestamp, Uuid
from .http.waiting import Found, Wait, body_of

routes = Blueprint(__name__)


@dataclass(slots=True)
class ConversationChange:
    type: Literal["conversation"]
    conversation: ConversationResponse


@dataclass(slots=True)
class DeletedChange:
    type: Literal["deleted"]
    id: Id
    deleted_at: Timestamp


@dataclass(slots=True)
class ChangePage:
    changes: list[ConversationChange | DeletedChange]
    cursor: Annotated[str, Field(description="Where to go on: the next `after`.")]
    has_more: bool


_PAGE: TypeAdapter[ChangePage] = TypeAdapter(ChangePage)


class ChangesQuery(Strict):
    project_id: Uuid | None = None
    after: str | None = Field(
        default=None, description="The `cursor` of the page before. Absent: all that there is."
    )
    limit: int = Field(default=100, ge=1, le=1000)
    wait: float = Field(default=0, ge=0, le=20, description="Seconds to wait for a change.")


class ChangesWait(Wait):
    """A request that waits for what changes in a scope behind a place."""

    def __init__(self, scope: Scope, place: Place | None, limit: int, seconds: float) -> None:
        super().__init__(scope, seconds)
        self._place, self._limit = place, limit
        self._scope = scope
        self._found = ""

    @property
    def key(self) -> Hashable:
        return (self._place, self._limit)

    def look(self) -> Found:
        page = changes.page_for(self._scope, None, self._place, self._limit)
        self._found = _body(self._scope, page)
        return Found(self._found if page.rows else None, page.place.number)

    def nothing(self) -> str:
        return self._found


@routes.route("/api/v1/changes", methods=["GET"], content_types=ANY)
@endpoint(problems=(CURSOR_EXPIRED,), waits_for=NEWS)
def list_changes(caller: AnyCaller, query: ChangesQuery) -> Reply[ChangePage]:
    """What changed since a cursor, each conversation once and as it is now, without its messages.

    Without `after`, it is all that there is. A page with `has_more` goes on with its `cursor`.
    """
    if query.project_id:
        caller = caller.within(query.project_id)
    place = None if query.after is None else _place_of(caller.scope, query.after)
    seconds = min(query.wait, settings().max_wait)
    body = body_of(ChangesWait(caller.scope, place, query.limit, seconds))
    return Reply(body, is_encoded=True)  # type: ignore[arg-type]


def _body(scope: Scope, page: ChangeSlice) -> str:
    phase = "b" if page.place.is_beginning else "c"
    place = f"{phase} {page.place.number} {page.place.id} {page.place.complete_at}"
    shown = ChangePage(
        changes=[_change(row) for row in page.rows],
        cursor=cursors.encode({"changes": scope}, Cursor("after", place)),
        has_more=page.has_more,
    )
    return _PAGE.dump_json(shown, warnings=False).decode()


def _change(row: ConversationRow | Deleted) -> ConversationChange | DeletedChange:
    if isinstance(row, Deleted):
        return DeletedChange(type="deleted", id=row.id, deleted_at=row.deleted_at)
    return ConversationChange(type="conversation", conversation=ConversationResponse.of(row, []))


def _place_of(scope: Scope, cursor: str) -> Place:
    """Raises Problem 422 if the cursor belongs to another feed."""
    row = rf"[bc] \d{{1,18}} ({cursors.UUID}|{LAST_ID})? {cursors.TIME}"
    found = cursors.decode({"changes": scope}, cursor, row, "after").row
    phase, number, id, complete_at = found.split(" ")
    return Place(int(number), id, complete_at, is_beginning=phase == "b")
