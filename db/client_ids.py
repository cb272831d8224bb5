"""The client's own ids of messages: one names one message of a conversation, for ever.

The row is inserted first, and its key decides. It says what was sent, which a later edit does not
change, and it stays when the message is deleted.
"""

import hashlib
from typing import Any

from .engine.prepared import insertion, prepared
from .models import CLIENT_ID_COLUMNS, ClientId, ClientIdRow


def digest_of(role: str, content_type: str, content: str) -> str:
    """What is compared of a message that is sent again. `content` is as stored."""
    return hashlib.sha256("\0".join((role, content_type, content)).encode()).hexdigest()


def claim(row: ClientIdRow) -> bool:
    """Whether the id is free. Then it is taken now. The caller holds the conversation's lock."""
    return bool(_insert(*row).rowcount)


def find(conversation_id: str, client_id: str) -> ClientIdRow | None:
    """What was sent under the id."""
    found = _by_id(conversation_id, client_id).fetchone()
    return None if found is None else ClientIdRow._make(found)


def give_up(conversation_id: str, client_id: str) -> None:
    """Make the id free for another message. The caller holds the conversation's lock."""
    _delete(conversation_id, client_id)


_insert = insertion(ClientId, ClientIdRow._fields, unless_taken=True)


@prepared
def _by_id(conversation_id: Any, client_id: Any) -> Any:
    """One client id."""
    return ClientId.select(*CLIENT_ID_COLUMNS).where(
        ClientId.conversation_id == conversation_id, ClientId.client_id == client_id
    )


@prepared
def _delete(conversation_id: Any, client_id: Any) -> Any:
    """One client id."""
    return ClientId.delete().where(
        ClientId.conversation_id == conversation_id, ClientId.client_id == client_id
    )
