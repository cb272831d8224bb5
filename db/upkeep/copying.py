"""Copying: every row of one database into an empty one, whatever the two engines are.

The rows are copied in batches, in the order of their primary keys. Each batch commits together with
a note of how far it came. So a copy that was broken off goes on from there.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

from peewee import (
    SQL,
    BigIntegerField,
    BooleanField,
    DataError,
    Field,
    IntegrityError,
    Model,
    Select,
    TextField,
    Tuple,
    fn,
)

from ..engine.connect import Store
from ..models import MODELS, Conversation
from .schema import migrate, version

BATCH_ROWS = 5_000
BATCH_CODE_POINTS = 4_000_000  # a message may have millions

Row = tuple[Any, ...]


class CopyError(Exception):
    """One sentence that says why the copy is not there, and what to do."""


class Bar(Protocol):
    def update(self, n_steps: int) -> None: ...


# As click.progressbar: a label, and the number of rows that it will be told of.
ProgressBar = Callable[[str, int], AbstractContextManager[Bar]]


class CopiedTable(Model):
    """How far each table's rows have come. It is in the target while a copy is unfinished."""

    name = TextField(primary_key=True)
    last_key = TextField()  # JSON list
    rows = BigIntegerField()

    class Meta:
        table_name = "copied_table"


class Tally(NamedTuple):
    """The number of a table's rows, and a checksum of them that does not depend on their order."""

    table: str
    rows: int
    checksum: str


def copy(source: Store, target: Store, progress: ProgressBar) -> list[Tally]:
    """Copy all rows, or go on with a copy that was broken off. Then compare the two databases.

    The source is read as it was at the start. What others write to it meanwhile is not copied.
    Raises CopyError.
    """
    if source.size is None:
        raise CopyError(f"There is no database at {source.place}.")
    with source.connection_context(), target.connection_context(), target.bind_ctx([CopiedTable]):
        _prepare(source, target)
        with source.snapshot():
            try:
                _transfer(source, target, progress)
            except (DataError, IntegrityError) as error:
                raise CopyError(f"{_not_the_same(source, target)} ({error})") from error
            tallies = _compare(source, target, progress)
        CopiedTable.drop_table()
        return tallies


def _prepare(source: Store, target: Store) -> None:
    """Check that the schemas are the same, and that the target is empty or an unfinished copy."""
    if source.table_exists(CopiedTable._meta.table_name):
        raise CopyError(f"{source.place} is itself a copy that was broken off: finish it first.")
    if version(target) is None:
        migrate(target)
    if version(source) != version(target):
        raise CopyError(
            f"The schemas are at {version(source)} and {version(target)}: run python -m db migrate "
            "for both."
        )
    if CopiedTable.table_exists():  # type: ignore[no-untyped-call]
        return
    for model in MODELS:
        if target.execute(model.select(SQL("1")).limit(1)).fetchone():
            raise CopyError(f"{target.place} has rows already: name an empty database.")
    # What the target has had before may have left an index of texts that are not there any more.
    target.execute_sql("DELETE FROM search_document")
    target.execute_sql("UPDATE search_progress SET changed = 0, conversation_id = ''")
    CopiedTable.create_table()


def _not_the_same(source: Store, target: Store) -> str:
    return (
        f"{target.place} did not become the same as {source.place}: empty it, and copy again while "
        "nobody writes to either."
    )


def _transfer(source: Store, target: Store, progress: ProgressBar) -> None:
    done = {table.name: table for table in CopiedTable.select()}
    with progress("Copying", _count(source)) as bar:
        for model in MODELS:
            table = done.get(model._meta.table_name)
            count = table.rows if table else 0
            bar.update(count)
            remaining = _rows(model, json.loads(table.last_key) if table else None)
            for batch in _batches(source.stream(remaining)):
                count += len(batch)
                target.write(partial(_store, target, model, batch, count))
                bar.update(len(batch))


def _store(target: Store, model: type[Model], batch: list[Row], count: int) -> None:
    target.load(model, batch)
    columns = model._meta.sorted_field_names
    last_key = [batch[-1][columns.index(key.name)] for key in _keys(model)]
    CopiedTable.insert(
        name=model._meta.table_name, last_key=json.dumps(last_key), rows=count
    ).on_conflict(
        conflict_target=[CopiedTable.name], preserve=[CopiedTable.last_key, CopiedTable.rows]
    ).execute()


def _compare(source: Store, target: Store, progress: ProgressBar) -> list[Tally]:
    with progress("Comparing", 2 * _count(source)) as bar, target.snapshot():
        pairs = [(_tally(source, model, bar), _tally(target, model, bar)) for model in MODELS]
    different = [
        f"{theirs.rows:,} of {ours.rows:,} rows in {ours.table}"
        if ours.rows != theirs.rows
        else f"other contents in {ours.table}"
        for ours, theirs in pairs
        if ours != theirs
    ]
    if different:
        raise CopyError(f"{_not_the_same(source, target)} (There are {', '.join(different)}.)")
    return [theirs for _, theirs in pairs]


def _tally(store: Store, model: type[Model], bar: Bar) -> Tally:
    count = checksum = 0
    for batch in _batches(store.stream(_rows(model))):
        count += len(batch)
        for row in batch:
            digest = blake2b(repr(row).encode(), digest_size=16).digest()
            checksum += int.from_bytes(digest, "big")
        bar.update(len(batch))
    return Tally(model._meta.table_name, count, f"{checksum % 2**128:032x}")


def _count(store: Store) -> int:
    return sum(store.execute(model.select(fn.COUNT(1))).fetchone()[0] for model in MODELS)


def _rows(model: type[Model], after: Sequence[Any] | None = None) -> Select:
    """All rows in the order of the primary key, or those behind a key.

    The values are the same from every engine: SQLite's booleans are numbers. The copy has no search
    index yet, so it has no version up to which that goes.
    """
    keys = _keys(model)
    query = model.select(
        *(
            SQL("0")
            if field is Conversation.indexed_version
            else field.cast("integer")
            if isinstance(field, BooleanField)
            else field
            for field in model._meta.sorted_fields
        )
    ).order_by(*keys)
    return query.where(Tuple(*keys) > Tuple(*after)) if after else query


def _keys(model: type[Model]) -> Sequence[Field]:
    return model._meta.get_primary_keys()  # type: ignore[no-untyped-call]


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += sum(len(value) for value in row if isinstance(value, str))
        if len(batch) == BATCH_ROWS or size > BATCH_CODE_POINTS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
