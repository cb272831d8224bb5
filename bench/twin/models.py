"""The twin's tables and its engine, which has the same pragmas as ours."""

import os
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, Engine, ForeignKey, Index, String, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, sessionmaker


def uuid7() -> str:
    millis = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    high = millis << 16 | 7 << 12 | random >> 68
    return str(UUID(int=high << 64 | 1 << 63 | random & (1 << 62) - 1))


def now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


class Base(DeclarativeBase):
    pass


class Conversation(Base):
    __tablename__ = "conversations"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=uuid7)
    project_id: Mapped[str]
    user_id: Mapped[str | None]
    title: Mapped[str | None] = mapped_column(String(255))
    is_archived: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)
    last_message_id: Mapped[str | None] = mapped_column(String(36))
    messages: Mapped[list["Message"]] = relationship(order_by="Message.id")

    __table_args__ = (Index("conversations_of_project", "project_id", "id"),)


class Message(Base):
    __tablename__ = "messages"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=uuid7)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"))
    role: Mapped[str]
    content: Mapped[Any] = mapped_column(JSON)
    status: Mapped[str]
    # `metadata` itself belongs to SQLAlchemy.
    details: Mapped[dict[str, Any] | None] = mapped_column("metadata", JSON(none_as_null=True))
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)

    __table_args__ = (Index("messages_of_conversation", "conversation_id", "id"),)


class ApiKey(Base):
    __tablename__ = "api_keys"

    digest: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str | None]


def engine_at(path: str) -> Engine:
    engine = create_engine(f"sqlite:///{path}", pool_size=40, connect_args={"timeout": 10})

    @event.listens_for(engine, "connect")
    def tune(connection: Any, record: Any) -> None:
        for pragma in (
            "journal_mode=wal",
            "synchronous=full",
            "foreign_keys=1",
            "cache_size=-16000",
            "temp_store=memory",
        ):
            connection.execute(f"PRAGMA {pragma}")

    return engine


Session = sessionmaker(autoflush=False, expire_on_commit=False)
