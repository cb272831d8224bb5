"""What can go wrong in the store, in the store's own words; `handlers/http/problems.py` maps it."""


class StoreError(Exception):
    """A domain error. `str(error)` is one sentence that tells the caller what to change.

    Keyword arguments become `extra`: facts a program needs to settle the conflict.
    """

    def __init__(self, detail: str, **extra: object) -> None:
        super().__init__(detail)
        self.extra = extra


class NotFound(StoreError):
    """No such thing for this caller: what another project or user owns does not exist."""


class ConversationNotFound(NotFound):
    def __init__(self, conversation_id: str) -> None:
        super().__init__(f"No conversation {conversation_id} exists for this caller.")


class MessageNotFound(NotFound):
    def __init__(self, message_id: str) -> None:
        super().__init__(f"No message {message_id} exists in this conversation.")


class KeyNotFound(NotFound):
    """No API key with that id."""


class Invalid(StoreError):
    """A value is well-formed JSON and cannot be stored; `field` says which."""

    def __init__(self, detail: str, field: str) -> None:
        super().__init__(detail)
        self.field = field


class Conflict(StoreError):
    """The caller's picture is out of date, and the answer holds what brings it up to date."""


class OffsetConflict(Conflict):
    """An append that is neither at the end of the text nor a repetition of what is there."""


class StreamFinished(Conflict):
    """An append to a message that is not in progress (any more)."""


class StalePrecondition(Conflict):
    """If-Match named another version than the stored one."""


class RequestInProgress(Conflict):
    """The first request with this Idempotency-Key is still running."""


class IdempotencyKeyReused(StoreError):
    """The Idempotency-Key was used before with another body."""
