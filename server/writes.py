"""Requests that write: they are answered together, with one commit (`db.engine.group_commit`).

The loop answers them itself while nobody else writes to the file. If another process or another
thread has the lock, one thread waits for it with all of them.
"""

import threading
from collections.abc import Callable, Iterable
from functools import partial

from db.engine.database import WouldWait, database, release
from db.engine.group_commit import Group
from db.errors import Unavailable
from handlers.http.metrics import note_commit
from handlers.http.middleware import Note

from .connection import Connection
from .gateway import Gateway, GatewayResponse

GROUP_REQUESTS = 128  # in one commit, so that no answer waits too long

Answered = tuple[Connection, GatewayResponse]


class Writes:
    def __init__(self, gateway: Gateway, hand_over: Callable[[list[Answered]], None]) -> None:
        """`hand_over` takes the answers of the thread that waits for the lock."""
        self._gateway = gateway
        self._hand_over = hand_over
        # Those who wait, and until when they may. None: nobody does, and there is no thread.
        self._waiting: list[tuple[float, Connection]] | None = None
        self._changing_waiting = threading.Lock()

    def answer(self, connections: list[Connection]) -> list[Answered] | None:
        """The answers, after the commit. None if they have to wait for the lock."""
        with self._changing_waiting:
            if self._waiting is not None:  # not before those who were there first
                return None
        try:
            group = self._begin()
        except WouldWait:
            return None
        except Exception as error:  # the database is away, or broken
            return self._failed([(each, None) for each in connections], error)
        return None if group is None else self._answer_in(group, connections)

    def wait(self, connections: list[Connection]) -> bool:
        """Let them wait. Return whether a thread has to be started, for `serve`."""
        deadline = database.obj.writer.deadline()
        with self._changing_waiting:
            is_served = self._waiting is not None
            self._waiting = self._waiting or []
            self._waiting += [(deadline, connection) for connection in connections]
        return not is_served

    def serve(self) -> None:
        """Answer those who wait, each before its deadline, until nobody does."""
        waiting: list[tuple[float, Connection]] = []
        while True:
            with self._changing_waiting:
                waiting += self._waiting or []
                self._waiting = [] if waiting else None
            if not waiting:
                release()
                return
            together, waiting = waiting[:GROUP_REQUESTS], waiting[GROUP_REQUESTS:]
            first, _ = together[0]
            try:
                group = self._begin(first)
            except Exception as error:
                late = [(each, None) for deadline, each in together if deadline <= first]
                self._hand_over(self._failed(late, error))
                waiting = together[len(late) :] + waiting
                continue
            if group is not None:
                connections = [connection for _, connection in together]
                self._hand_over(self._answer_in(group, connections))

    def _begin(self, deadline: float | None = None) -> Group | None:
        """A group for requests that write. Without a deadline, None if the lock is taken.

        Raises Unavailable if the database is away or broken, or the lock not to be had in time.
        """
        group = Group(database.obj)
        return group if group.begin(deadline) else None

    def _answer_in(self, group: Group, connections: list[Connection]) -> list[Answered]:
        answered: list[Answered] = []
        dependent: list[Answered] = []  # on the commit
        notes: dict[Connection, list[Note]] = {}
        try:
            for connection in connections:
                (response, notes[connection]), wrote = group.run(
                    partial(self._response, connection)
                )
                (dependent if wrote else answered).append((connection, response))
            if dependent:
                group.commit()
                note_commit(len(dependent))
        except WouldWait as lock:  # at the commit, where readers lock out who writes
            dependent = self._failed(dependent, Unavailable(str(lock.__cause__)))
        except Exception as error:  # the commit failed
            dependent = self._failed(dependent, error)
        finally:
            group.end()
        answered += dependent
        for connection, response in answered:
            for note in notes[connection]:
                note(response.status)
        return answered

    def _response(self, connection: Connection) -> tuple[GatewayResponse, list[Note]]:
        assert connection.request is not None  # noqa: S101 - that is why it is among them
        try:
            return self._gateway.respond_unnoted(connection.request)
        except WouldWait as lock:
            ((_, response),) = self._failed([(connection, None)], Unavailable(str(lock.__cause__)))
            return response, []

    def _failed(
        self, answers: Iterable[tuple[Connection, GatewayResponse | None]], error: Exception
    ) -> list[Answered]:
        """The problems in the place of these answers: a 503 each, or a 500 if it is our fault."""
        return [
            (each, self._gateway.failed(each.request, error, instead_of))  # type: ignore[arg-type]
            for each, instead_of in answers
        ]
