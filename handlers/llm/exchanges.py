"""An exchange: a model is asked first, and what was said is stored when its answer begins.

So a model that fails before leaves nothing behind. (`turns` stores the question first: there, the
user's words stay whatever happens.)
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain

from db import answers, streams
from db.answers import Place
from db.chat_messages import ChatMessage
from db.chat_parts import Call
from db.clock import new_id
from db.engine.database import release
from db.idempotency_keys import Claim
from db.messages import Draft
from db.models import IN_PROGRESS, INCOMPLETE
from db.scope import Scope

from . import turns
from .client import End, Line, ModelError, Options, Piece
from .signs_of_life import signs_of_life
from .turns import log


class Exchange:
    """What is said to a model in a place, or nowhere, and its answer."""

    def __init__(
        self,
        scope: Scope,
        place: Place | None,
        said: Sequence[Draft],
        draft_of_call: Callable[[Call], Draft],
        claim: Claim | None = None,
    ) -> None:
        """Without a place nothing is stored. Then all messages get ids that they could have."""
        self._scope = scope
        self._place = place
        self._draft_of_call = draft_of_call
        self._claim = claim
        self._line = Line()
        self._pieces: Iterator[Piece] = iter(())
        self._first: Piece = End()
        self.said = said if place else [draft._replace(id=new_id()) for draft in said]
        self.conversation_id = place.conversation_id if place else None
        self.id = ""  # of the answer, once it is stored: its first message, or what it follows
        self.text = ""
        self.text_id: str | None = None  # of the message that has the text, if there is any
        self.calls: list[tuple[str, Call]] = []  # with the ids of their messages
        self.end = End()
        self.status = IN_PROGRESS  # of the answer
        self.failure: str | None = None  # why it is incomplete, unless somebody has ended it

    def begin(self, history: Sequence[ChatMessage], options: Options) -> None:
        """Ask, and wait for the first output. If it is text, it is stored that it has begun.

        Raises ModelError, and as `answers.begin` does. Then nothing is stored.
        """
        self._pieces = pieces = turns.ask(history, options, self._line)
        release()  # a server of rows has fewer connections than may wait for a model
        try:
            self._first = next((piece for piece in pieces if piece != ""), End())
            if isinstance(self._first, str):
                (self.text_id,) = self._store([Draft("assistant", "", IN_PROGRESS)])
                turns.lines[self.text_id] = self._line
        except Exception:
            pieces.close()
            raise

    def pieces(self) -> Iterator[str]:
        """The text, piece by piece as it is stored. When it ends, all is stored.

        If it raises, nothing is: what goes wrong later is the exchange's `failure`, and what is
        there of the answer stays.
        """
        calls: list[Call] = []
        try:
            with self._signs_of_life():
                for piece in chain([self._first], self._pieces):
                    if isinstance(piece, str):
                        self._write(piece)
                        yield piece
                    elif isinstance(piece, Call):
                        calls.append(piece)
                    else:
                        self.end = piece
            self._finish(calls)
        except Exception as error:
            if self.text_id is None:
                raise
            self.failure = self._reason_of(error)
            self._give_up()
        finally:
            turns.lines.pop(self.text_id or "", None)
            release()

    def _reason_of(self, error: Exception) -> str | None:
        """What went wrong, in a sentence. None if somebody has ended the answer."""
        if isinstance(error, turns.ENDED) or self._line.is_hung_up:
            log.info("The answer %s was ended or changed by others.", self.text_id)
            return None
        if isinstance(error, ModelError):
            log.warning("%s", error, exc_info=error.__cause__)
            return str(error)
        log.exception("An answer could not be stored to its end")
        return "The answer could not be stored to its end."

    def _signs_of_life(self) -> AbstractContextManager[None]:
        if self._place is None or self.text_id is None:
            return nullcontext()
        place = self._scope, str(self.conversation_id), self.text_id
        return signs_of_life(*place, lambda: len(self.text))

    def _write(self, piece: str) -> None:
        if self._place is not None:
            place = self._scope, str(self.conversation_id), str(self.text_id)
            streams.append(*place, len(self.text), piece)
            release()
        self.text += piece

    def _give_up(self) -> None:
        """Let the answer end where it is."""
        self.status = INCOMPLETE
        if self._place is not None:
            turns.give_up(self._scope, str(self.conversation_id), str(self.text_id))

    def _finish(self, calls: list[Call]) -> None:
        """Store the end of the text and the calls, which are whole."""
        calls, status = turns.whole_calls(calls, self.end), turns.status_at(self.end)
        drafts = [self._draft_of_call(call) for call in calls]
        if self.text_id is None:
            ids = self._store(drafts)
        elif self._place is None:
            ids = [new_id() for _ in calls]
        else:
            place = self._scope, str(self.conversation_id), self.text_id
            rows = answers.finish(*place, len(self.text), status, drafts)
            ids = [row.id for row in rows]
        self.calls = [*zip(ids, calls, strict=True)]
        self.status = status

    def _store(self, answer: list[Draft]) -> list[str]:
        """Store what was said and these messages of the answer. Return the ids of these."""
        if self._place is None:
            ids = [new_id() for _ in answer]
            self.id = [*ids, *(str(draft.id) for draft in self.said[::-1])][0]
            return ids
        stored = answers.begin(self._scope, self._place, self.said, answer, self._claim)
        release()
        self.conversation_id, self.id = stored.conversation_id, stored.id
        return [row.id for row in stored.answer]

    def messages(self) -> list[Draft]:
        """The messages of the answer as they are stored, with their ids."""
        text = Draft("assistant", self.text, self.status, id=self.text_id)
        calls = [self._draft_of_call(call)._replace(id=id) for id, call in self.calls]
        return [text, *calls] if self.text_id else calls
