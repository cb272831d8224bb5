"""The twin's routes: create, get and list conversations, append and list messages.

`TWIN_WAY` says where endpoints run. With `threads` each runs in a thread, as its documentation
advises for a blocking driver. With `loop` they run in the event loop, which answers nothing else
meanwhile. SQLite is often done before a thread would have woken up, so the loop is the faster one.
(SQLAlchemy's asyncio with aiosqlite is the slowest of the three: each statement changes threads
twice.)
"""

import hashlib
import os
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from threading import Lock
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Depends, FastAPI, Header, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select, update
from sqlalchemy.orm import selectinload

from .models import ApiKey, Conversation, Message, Session, engine_at, now, uuid7

Session.configure(bind=engine_at(os.environ["TWIN_DATABASE"]))
app = FastAPI(title="Conversations")

# SQLite lets waiting writers sleep, up to 100 ms at a time. With this the slowest of a hundred
# creates on 8 connections takes 28 ms instead of 223.
writing = Lock()


def placed(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    if os.environ["TWIN_WAY"] == "threads":
        return endpoint

    @wraps(endpoint)
    async def in_loop(*args: Any, **kwargs: Any) -> Any:
        return endpoint(*args, **kwargs)

    return in_loop


class Out(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class MessageIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]]
    status: Literal["in_progress", "completed", "incomplete"] = "completed"
    metadata: dict[str, Any] | None = None


class MessageOut(Out):
    id: str
    conversation_id: str
    role: str
    content: str | list[dict[str, Any]]
    status: str
    metadata: dict[str, Any] | None = Field(validation_alias="details")
    created_at: datetime
    updated_at: datetime


class ConversationIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    project_id: UUID
    title: str | None = Field(default=None, max_length=255)


class ConversationOut(Out):
    id: str
    project_id: str
    title: str | None
    messages: list[MessageOut]
    created_at: datetime
    updated_at: datetime


class ConversationListOut(Out):
    conversations: list[ConversationOut]
    total: int
    skip: int
    limit: int


class MessageListOut(Out):
    messages: list[MessageOut]
    has_more: bool
    first_id: str | None
    last_id: str | None


class ProjectConversationOut(Out):
    type: Literal["conversation"] = "conversation"
    id: str
    title: str | None
    created_at: datetime
    is_archived: bool
    project_id: str
    user_id: str | None
    last_message_id: str | None


class PageOut(Out):
    data: list[ProjectConversationOut]
    has_more: bool
    first_id: str | None
    last_id: str | None


UserId = Annotated[str | None, Header(alias="X-User-Id")]
WITH_MESSAGES = selectinload(Conversation.messages)


@app.post("/api/v1/conversations", status_code=201)
@placed
def create_conversation(body: ConversationIn, user_id: UserId = None) -> ConversationOut:
    with writing, Session() as session:
        conversation = Conversation(
            project_id=str(body.project_id), title=body.title, user_id=user_id, messages=[]
        )
        session.add(conversation)
        session.commit()
        return ConversationOut.model_validate(conversation)


@app.get("/api/v1/conversations/{conversation_id}")
@placed
def get_conversation(conversation_id: UUID) -> ConversationOut:
    with Session() as session:
        conversation = session.get(Conversation, str(conversation_id), options=[WITH_MESSAGES])
        if conversation is None:
            raise HTTPException(404, "Conversation not found")
        return ConversationOut.model_validate(conversation)


@app.get("/api/v1/conversations")
@placed
def list_conversations(
    project_id: UUID | None = None,
    skip: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> ConversationListOut:
    query = select(Conversation).options(WITH_MESSAGES).order_by(Conversation.id.desc())
    if project_id:
        query = query.where(Conversation.project_id == str(project_id))
    with Session() as session:
        rows = session.scalars(query.offset(skip).limit(limit)).all()
        found = [ConversationOut.model_validate(row) for row in rows]
    return ConversationListOut(conversations=found, total=len(found), skip=skip, limit=limit)


@app.post("/api/v1/conversations/{conversation_id}/messages", status_code=201)
@placed
def append_message(conversation_id: UUID, body: MessageIn) -> MessageOut:
    message = Message(
        id=uuid7(),
        conversation_id=str(conversation_id),
        role=body.role,
        content=body.content,
        status=body.status,
        details=body.metadata,
    )
    with writing, Session() as session:
        # The write comes first: a transaction that begins with a read could not wait for the lock.
        found = session.execute(
            update(Conversation)
            .where(Conversation.id == message.conversation_id)
            .values(updated_at=now(), last_message_id=message.id)
            .execution_options(synchronize_session=False)
        )
        if not found.rowcount:
            raise HTTPException(404, "Conversation not found")
        session.add(message)
        session.commit()
        return MessageOut.model_validate(message)


@app.get("/api/v1/conversations/{conversation_id}/messages")
@placed
def list_messages(
    conversation_id: UUID,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: UUID | None = None,
) -> MessageListOut:
    query = select(Message).where(Message.conversation_id == str(conversation_id))
    if after:
        query = query.where(Message.id > str(after))
    with Session() as session:
        if session.get(Conversation, str(conversation_id)) is None:
            raise HTTPException(404, "Conversation not found")
        rows = session.scalars(query.order_by(Message.id).limit(limit + 1)).all()
        found = [MessageOut.model_validate(row) for row in rows[:limit]]
    return MessageListOut(
        messages=found,
        has_more=len(rows) > limit,
        first_id=found[0].id if found else None,
        last_id=found[-1].id if found else None,
    )


@placed
def key_holder(project_id: str, key: Annotated[str, Header(alias="X-API-Key")]) -> None:
    with Session() as session:
        found = session.get(ApiKey, hashlib.sha256(key.encode()).hexdigest())
    if found is None:
        raise HTTPException(401, "Unknown API key")
    if found.project_id not in (None, project_id):
        raise HTTPException(403, "The API key is for another project")


@app.get("/projects/{project_id}/conversations", dependencies=[Depends(key_holder)])
@placed
def list_project_conversations(
    project_id: str,
    user_id: UserId = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: UUID | None = None,
) -> PageOut:
    query = select(Conversation).where(Conversation.project_id == project_id)
    if user_id is not None:
        query = query.where(Conversation.user_id == user_id)
    if after:
        query = query.where(Conversation.id < str(after))
    with Session() as session:
        rows = session.scalars(query.order_by(Conversation.id.desc()).limit(limit + 1)).all()
        found = [ProjectConversationOut.model_validate(row) for row in rows[:limit]]
    return PageOut(
        data=found,
        has_more=len(rows) > limit,
        first_id=found[0].id if found else None,
        last_id=found[-1].id if found else None,
    )
