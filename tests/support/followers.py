"""A reader of `/events` that calls the handler, and helpers to write and read messages."""

from db import messages, transcripts
from db.messages import Draft
from db.scope import EVERYTHING
from handlers.events import FollowQuery, LastEventId, follow_conversation
from handlers.http.caller import Caller

from .readers import Reader


class Follower(Reader):
    """A reader that calls the handler."""

    def __init__(self, conversation_id: str, last_event_id: int = 0) -> None:
        super().__init__(last_event_id)
        self.conversation_id = conversation_id

    def ask(self, wait: float = 0) -> bytes:
        reply = follow_conversation(
            Caller(EVERYTHING),
            self.conversation_id,
            FollowQuery(wait=wait),
            LastEventId(last_event_id=self.last_event_id),
        )
        return str(reply.body).encode()

    def look(self) -> list[str]:
        """Ask once, and return the kinds of the events that came."""
        return [event.event for event in self.receive(self.ask())]

    def catch_up(self) -> "Follower":
        while self.look():
            pass
        return self


def say(conversation_id: str, *contents: object) -> list[str]:
    drafts = [Draft("user", content) for content in contents]
    return [row.id for row in messages.append(EVERYTHING, conversation_id, drafts)]


def stored(conversation_id: str) -> dict[str, tuple[object, str]]:
    _, rows = transcripts.read(EVERYTHING, conversation_id)
    return {row.id: (row.content, row.status) for row in rows}
