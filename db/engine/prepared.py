"""Queries that Peewee builds once and the database runs many times."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from peewee import Database, Model, Query, Value

from .database import DRIVER_ERRORS, database, unavailable


class prepared:  # noqa: N801 - a decorator
    """A Peewee query that is built once and run many times.

    Building a query takes Peewee 50 to 100 µs, several times what SQLite needs to run it. The
    decorated function builds the query from placeholders. A call with values runs it and returns
    the driver's cursor:

        @prepared
        def by_id(id):
            return Conversation.select().where(Conversation.id == id)

        by_id("01a1fff2-…").fetchone()

    A call raises Unavailable if the database is busy or away.
    """

    def __init__(self, build: Callable[..., Query], arity: int | None = None) -> None:
        self._build = build
        self._arity = arity or len(inspect.signature(build).parameters)
        self._for: Database | None = None

    def _compile(self, store: Database) -> None:
        slots = [_Slot(index) for index in range(self._arity)]
        query = self._build(*(Value(slot, converter=False, unpack=False) for slot in slots))
        # A query of another query knows no database, so it has to be told in which dialect it is.
        self._sql, params = store.get_sql_context().parse(query)  # type: ignore[no-untyped-call]
        self._indexes = [p.index if isinstance(p, _Slot) else None for p in params]
        self._constants = params
        self._takes_values_as_they_are = self._indexes == list(range(self._arity))
        self._for = store

    def __call__(self, *values: object) -> Any:
        store = database.obj
        if self._for is not store:
            self._compile(store)
        params: Sequence[object] = values
        if not self._takes_values_as_they_are:
            params = [
                constant if index is None else values[index]
                for index, constant in zip(self._indexes, self._constants, strict=True)
            ]
        try:
            return store.execute_sql(self._sql, params)
        except DRIVER_ERRORS as error:
            raise unavailable(error) from error


class _Slot:
    """The place of a value in a query that is being built."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


class prepared_for_list:  # noqa: N801 - a decorator
    """A prepared query whose last parameter is a list, for `IN (…)`.

        @prepared_for_list
        def some(conversation_id, ids):
            return Message.select().where(…, Message.id.in_(ids))

        some("01a1fff2-…", ["01a1fff3-…", "01a1fff4-…"]).fetchall()

    The list is padded with its last value to a power of two, so that a handful of statements serves
    lists of every length. It must not be empty.
    """

    def __init__(self, build: Callable[..., Query]) -> None:
        self._build = build
        self._arity = len(inspect.signature(build).parameters) - 1  # of what comes before the list
        self._by_length: dict[int, prepared] = {}

    def __call__(self, *arguments: Any) -> Any:
        *values, items = arguments
        length = 1 << (len(items) - 1).bit_length()
        query = self._by_length.get(length)
        if query is None:
            query = self._by_length[length] = self._prepare(length)
        return query(*values, *items, *[items[-1]] * (length - len(items)))

    def _prepare(self, length: int) -> prepared:
        def build(*slots: Value) -> Query:
            return self._build(*slots[: self._arity], slots[self._arity :])

        return prepared(build, self._arity + length)


def insertion(
    model: type[Model],
    fields: Sequence[str],
    unless_taken: bool = False,
    computed: Mapping[Any, Callable[[], Any]] | None = None,
) -> prepared:
    """The INSERT of one row. It is called with the values of `fields` in their order.

    With `unless_taken`, a row that a unique index refuses is left out: its `rowcount` is 0.
    `computed` makes the SQL of further columns' values.
    """
    columns = [getattr(model, field) for field in fields]

    def build(*values: Value) -> Query:
        made = {column: make() for column, make in (computed or {}).items()}
        inserted = model.insert({**dict(zip(columns, values, strict=True)), **made})
        return inserted.on_conflict_ignore() if unless_taken else inserted

    return prepared(build, len(fields))
