"""What can go wrong in the store, in its own words. `handlers/http/problems.py` has the statuses.

StoreError                 the caller's: `str(error)` is one sentence that says what to change
  NotFound                 ConversationNotFound, MessageNotFound, KeyNotFound
  Invalid                  a value that is well-formed and cannot be stored
  Conflict                 OffsetConflict, StreamFinished, StalePrecondition, RequestInProgress,
                           KeyTaken, ClientIdReused, Held
  IdempotencyKeyReused
  MessageDeleted, CursorExpired
Unavailable                the database's: `str(error)` is for the log
"""


class StoreError(Exception):
    """The caller asked for something that cannot be done.

    `str(error)` is one sentence that tells the caller what to change. Keyword arguments become
    `extra`: facts that a program needs to settle the conflict.
    """

    def __init__(self, detail: str, **extra: object) -> None:
        super().__init__(detail)
        self.extra = extra


class NotFound(StoreError):
    """No such thing exists for this caller. What another project or user owns does not exist."""


class ConversationNotFound(NotFound):
    def __init__(self, conversation_id: str) -> None:
        super().__init__(f"No conversation {conversation_id} exists for this caller.")


class MessageNotFound(NotFound):
    def __init__(self, message_id: str) -> None:
        super().__init__(f"No message {message_id} exists in this conversation.")


class KeyNotFound(NotFound):
    """No API key has that id."""


class Invalid(StoreError):
    """A value is well-formed JSON and cannot be stored. `field` names it."""

    def __init__(self, detail: str, field: str) -> None:
        super().__init__(detail)
        self.field = field


class Conflict(StoreError):
    """The caller's picture is out of date. The answer holds what brings it up to date."""


class OffsetConflict(Conflict):
    """An append is neither at the end of the text nor a repetition of what is there."""


class StreamFinished(Conflict):
    """An append is for a message that is not in progress, or no longer."""


class StalePrecondition(Conflict):
    """If-Match names another version than the stored one."""


class RequestInProgress(Conflict):
    """The first request with this Idempotency-Key is still running."""


class KeyTaken(Conflict):
    """Another conversation of this project and user has the key."""

    def __init__(self, conversation_id: str) -> None:
        super().__init__(
            f"The conversation {conversation_id} has this key: use it, or send another key.",
            conversation_id=conversation_id,
        )
        self.conversation_id = conversation_id


class ClientIdReused(Conflict):
    """The client_id names a message of this conversation that is another one."""


class Held(Conflict):
    """The conversation is under a legal hold."""


class MessageDeleted(StoreError):
    """The client_id names a message that was stored and has been deleted since."""


class CursorExpired(StoreError):
    """The reader of the feed was away for so long that it may have missed a deletion."""


class IdempotencyKeyReused(StoreError):
    """The Idempotency-Key was used before with another body."""


class Unavailable(Exception):
    """The database is busy, away or broken, and nothing was written. The cause is the driver's."""
