"""Branches: a new conversation that goes on from a message of another one."""

from chalice.app import Blueprint

from db import transcripts

from .conversations import CONVERSATIONS, ConversationResponse, OwnKey, made
from .http.caller import AnyCaller
from .http.endpoint import ANY, Reply, endpoint
from .http.problems import KEY_TAKEN, NO_MESSAGE
from .http.types import Strict, Title, Uuid

routes = Blueprint(__name__)


class ForkRequest(Strict):
    message_id: Uuid | None = None
    title: Title | None = None
    key: OwnKey = None


NOTHING_SENT = ForkRequest()


@routes.route(CONVERSATIONS + "/{conversation_id}/fork", methods=["POST"], content_types=ANY)
@endpoint(status=201, sends=("Location", "ETag"), problems=(KEY_TAKEN, NO_MESSAGE))
def fork_conversation(
    caller: AnyCaller, conversation_id: Uuid, body: ForkRequest = NOTHING_SENT
) -> Reply[ConversationResponse]:
    """Copy the path to a message, by default to the active leaf, into a new conversation.

    It has the origin's user, tags, metadata, and title unless there is another one. Its
    `metadata.forked_from` names the origin.
    """
    return made(
        transcripts.fork(caller.scope, conversation_id, body.message_id, body.title, body.key)
    )
