"""Search: messages and titles that have what is asked for."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from chalice.app import Blueprint
from pydantic import AfterValidator, Field, WithJsonSchema

from db import search
from db.clock import AFTER_ALL_IDS
from db.search import Hit, Place

from .http import cursors
from .http.caller import AnyCaller
from .http.cursors import Cursor
from .http.endpoint import ANY, SCAN, Reply, endpoint
from .http.types import Id, Strict, Timestamp, Uuid
from .messages import Role

routes = Blueprint(__name__)

SEARCH = "/api/v1/search"
MAX_QUERY_CODE_POINTS = 300


@dataclass(slots=True)
class FoundConversation:
    id: Id
    project_id: str
    title: str | None
    created_at: Timestamp
    updated_at: Timestamp


@dataclass(slots=True)
class FoundMessage:
    id: Id
    role: Role
    created_at: Timestamp


@dataclass(slots=True)
class SearchResult:
    conversation: FoundConversation
    message: Annotated[FoundMessage | None, Field(description="`null`: the title has the words.")]
    snippet: Annotated[
        str,
        Field(description="Up to 200 code points of the text, as it is stored.", max_length=200),
    ]
    highlights: Annotated[
        list[tuple[int, int]],
        Field(description="The places of the words in `snippet`: `[start, end)` in code points."),
    ]

    @classmethod
    def of(cls, hit: Hit) -> Self:
        return cls(
            conversation=FoundConversation(
                id=hit.conversation_id,
                project_id=hit.project_id,
                title=hit.title,
                created_at=hit.created_at,
                updated_at=hit.updated_at,
            ),
            message=None
            if hit.message_id is None
            else FoundMessage(
                id=hit.message_id,
                role=hit.role,  # type: ignore[arg-type]  # what was stored had been validated
                created_at=str(hit.message_created_at),
            ),
            snippet=hit.excerpt.text,
            highlights=hit.excerpt.highlights,
        )


@dataclass(slots=True)
class SearchPage:
    results: list[SearchResult]
    has_more: bool


def _asked(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    if len(text) > MAX_QUERY_CODE_POINTS:
        raise ValueError(f"must have at most {MAX_QUERY_CODE_POINTS} characters")
    return text


class SearchQuery(Strict):
    q: Annotated[
        str,
        AfterValidator(_asked),
        # As `str.strip` has it, which takes more for white space than ECMA-262.
        WithJsonSchema(
            {
                "type": "string",
                "pattern": r"[^\s\u001c-\u001f\u0085]",
                "maxLength": MAX_QUERY_CODE_POINTS,
            }
        ),
        Field(
            description='Words, all of which must occur, `"phrases"`, `-without`, `prefix*`. All '
            "else is literal. Case and diacritics do not matter."
        ),
    ]
    project_id: Uuid | None = None
    role: Role | None = Field(default=None, description="Only messages of this role, no titles.")
    is_archived: bool | None = None
    sort: Literal["relevance", "newest"] = "relevance"
    limit: int = Field(default=20, ge=1, le=100)
    cursor: str | None = Field(default=None, description="From a `Link` header of this search.")

    @property
    def asked(self) -> dict[str, Any]:
        """What makes this search another one than others, for its cursors."""
        return self.model_dump(mode="json", exclude={"limit", "cursor"})


@routes.route(SEARCH, methods=["GET"], content_types=ANY)
@endpoint(sends=("Link",), waits_for=SCAN)
def search_messages(caller: AnyCaller, query: SearchQuery) -> Reply[SearchPage]:
    """Messages and titles that have what `q` asks for, whatever the branch.

    By relevance, the newest 200 that are found are put in order, then the next 200.
    """
    if query.project_id:
        caller = caller.within(query.project_id)
    page = search.page_for(
        caller.scope,
        query.q,
        query.project_id,
        query.role,
        query.is_archived,
        query.sort,
        query.limit,
        _place_in(query),
    )
    headers = {}
    if page.next is not None:
        place = f"{page.next.before} {page.next.skip}"
        cursor = cursors.encode(query.asked, Cursor("after", place))
        headers["Link"] = cursors.link(SEARCH, query, "next", cursor=cursor)
    results = [SearchResult.of(hit) for hit in page.rows]
    return Reply(SearchPage(results, page.next is not None), headers)


def _place_in(query: SearchQuery) -> Place:
    """Where the page begins. Raises Problem 422 if the cursor belongs to another search."""
    if query.cursor is None:
        return Place()
    row = rf"({cursors.UUID}|{AFTER_ALL_IDS}) \d{{1,3}}"
    before, _, skip = cursors.decode(query.asked, query.cursor, row).row.partition(" ")
    return Place(before, int(skip))
