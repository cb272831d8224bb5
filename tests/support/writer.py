"""A client that writes a message piece by piece."""

from db import messages, streams
from db.messages import Draft
from db.models import Event, MessageRow
from db.scope import EVERYTHING
from db.streams import StreamState


class Writer:
    """Writes one message and keeps track of its length, as a client does."""

    def __init__(self, conversation_id: str, content: str = "") -> None:
        self.conversation_id = conversation_id
        draft = Draft("assistant", content, "in_progress")
        (row,) = messages.append(EVERYTHING, conversation_id, [draft])
        self.id, self.length = row.id, len(content)

    def append_at(self, offset: int, delta: str, status: str | None = None) -> StreamState:
        return streams.append(EVERYTHING, self.conversation_id, self.id, offset, delta, status)

    def append(self, delta: str, status: str | None = None) -> StreamState:
        progress = self.append_at(self.length, delta, status)
        self.length = progress.length
        return progress

    @property
    def message(self) -> MessageRow:
        return messages.find(EVERYTHING, self.conversation_id, self.id)

    @property
    def text(self) -> tuple[object, str]:
        return self.message.content, self.message.status

    def edit(self, **changes: object) -> MessageRow:
        return messages.edit(EVERYTHING, self.conversation_id, self.id, **changes)


def events_left(conversation_id: str) -> list[str]:
    query = Event.select(Event.kind).where(Event.conversation_id == conversation_id)
    return [kind for (kind,) in query.order_by(Event.position).tuples()]
