"""A PostgreSQL server as the store, for more than one machine. It does what `SqliteStore` does.

It relies on the server's default isolation, READ COMMITTED: each statement sees what was committed
when it began, and a verb that writes to a conversation locks its row first. It is tested on
PostgreSQL 18, and not on servers that only speak its protocol (CockroachDB, Aurora DSQL).
"""

import random
import re
import select
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar, cast

import psycopg
from peewee import Model, OperationalError, Query
from peewee import __exception_wrapper__ as as_peewee_errors  # type: ignore[attr-defined]
from playhouse.pool import MaxConnectionsExceeded, PooledPostgresqlDatabase
from psycopg.conninfo import conninfo_to_dict

from ..errors import Unavailable
from ..settings import SettingsError
from .database import sqlstate_of

T = TypeVar("T")

MIGRATION_LOCK = 0x636F6E666162  # the key of an advisory lock: any number that is ours ("confab")
# Serialization failure and deadlock: the server took the transaction back, so it can be repeated.
RETRIED_SQLSTATES = {"40001", "40P01"}
READ_ONLY = "25006"  # a write on a server, or in a session, that may only read
PAUSES_SECONDS = [0.005 * 2**attempt for attempt in range(8)]  # at most; 1.3 in all


class PostgresStore(PooledPostgresqlDatabase):
    """Connections are kept in a pool: opening one costs a server process and many round trips."""

    engine = "postgresql"
    DEFAULTS = {
        "connect_timeout": "5",
        # The lock timeout is SQLite's busy timeout: a request that waits longer gets a 503. The
        # keepalives free the locks of a client whose machine lost power after a minute, not hours.
        # Some proxies (Amazon's RDS Proxy) refuse this parameter: `?options=` leaves it out.
        "options": "-c lock_timeout=10s -c tcp_keepalives_idle=30 "
        "-c tcp_keepalives_interval=10 -c tcp_keepalives_count=3",
        "tcp_user_timeout": "15000",
        "application_name": "confab",
    }

    POOL = {
        "max_connections": 20,  # further threads wait for one of them,
        "timeout": 10,  # for so many seconds, as for a lock
        "stale_timeout": 300,  # seconds, so that a fail-over is noticed
    }

    def __init__(self, url: str) -> None:
        """`url` has libpq's form and any of libpq's parameters. Raises SettingsError."""
        try:
            params = {**self.DEFAULTS, **conninfo_to_dict(url)}
            name = params.pop("dbname")
            _refuse_split_password(url, str(params.get("port") or ""))
        except (
            psycopg.ProgrammingError,
            KeyError,
            ValueError,
        ):  # the driver's words may hold the password
            raise SettingsError(
                "DATABASE_URL is not usable: write it as postgresql://user:password@host:5432/name,"
                " with special characters percent-encoded."
            ) from None
        super().__init__(name, prefer_psycopg3=True, **self.POOL, **params)

    @property
    def place(self) -> str:
        """Where the rows are, for people; without secrets."""
        host, port = (self.connect_params.get(name) for name in ("host", "port"))
        return f"postgresql://{host or 'localhost'}{f':{port}' if port else ''}/{self.database}"

    @property
    def size(self) -> int:
        """Bytes on the server's disk."""
        return int(self.execute_sql("SELECT pg_database_size(current_database())").fetchone()[0])

    def write(self, verb: Callable[[], T]) -> T:
        """Run `verb` in a transaction, and all of it again if the server took it back."""

        def attempt() -> T:
            with self.atomic():
                return verb()

        return self.write_one(attempt)

    def write_one(self, statement: Callable[[], T]) -> T:
        """The same for a single statement, which is a transaction by itself."""
        for pause in PAUSES_SECONDS:
            try:
                return statement()
            except (OperationalError, Unavailable) as error:
                self.doubt(error)
                if _sqlstate(error) not in RETRIED_SQLSTATES:
                    raise
            # Random, so that two transactions that got in each other's way do not meet again.
            time.sleep(random.uniform(0, pause))  # noqa: S311
        return statement()

    def doubt(self, error: Exception) -> None:
        """Close this thread's connection if it may only read: a new one may write again."""
        if _sqlstate(error) == READ_ONLY and not self.in_transaction():
            self.manual_close()

    def check_writable(self) -> None:
        """Raises OperationalError if nothing can be written: on a standby, or by a setting."""
        if self.execute_sql("SHOW transaction_read_only").fetchone()[0] == "on":
            self.manual_close()
            raise OperationalError("the server does not take writes: transaction_read_only is on")

    def snapshot(self) -> AbstractContextManager[Any]:
        """A read transaction: every query in it sees one state. In a write, it is the write's."""
        if self.in_transaction():
            return nullcontext()
        return cast(AbstractContextManager[Any], self.atomic("REPEATABLE READ, READ ONLY"))

    def refresh(self) -> None:
        """Nothing is to be done: the pool looks at each connection that it gives."""

    def data_version(self) -> object:
        """See `database.data_version`. A snapshot names all transactions that it does not see."""
        return self.execute_sql("SELECT pg_current_snapshot()::text").fetchone()[0]

    def alone(self, change: Callable[[], T]) -> T:
        """Run a change of the schema, all or nothing, while nobody else runs one."""

        def locked() -> T:
            self.execute_sql("SELECT pg_advisory_xact_lock(%s)", [MIGRATION_LOCK])
            return change()

        return self.write(locked)

    def overwrite_deleted(self) -> str:
        """Free what was deleted. Return what may remain: PostgreSQL overwrites nothing."""
        with as_peewee_errors:
            self.connection().execute("VACUUM")
        return (
            "PostgreSQL has freed the rows (VACUUM). Their bytes stay in its files until new rows "
            "take the place, and in its write-ahead log, replicas and backups until these expire. "
            "VACUUM FULL writes a table anew."
        )

    def stream(self, query: Query) -> Iterator[tuple[Any, ...]]:
        """The rows of `query`, fetched some at a time. To be called in a snapshot."""
        sql, params = self.get_sql_context().sql(query).query()
        with as_peewee_errors, self.connection().cursor("stream") as cursor:
            cursor.itersize = 500
            yield from cursor.execute(sql, params)

    def load(self, model: type[Model], rows: Iterable[Sequence[Any]]) -> None:
        """Insert many rows, whose values are in the order of the model's fields."""
        columns = ", ".join(f'"{column}"' for column in model._meta.sorted_field_names)
        into = f'COPY "{model._meta.table_name}" ({columns}) FROM STDIN'
        with as_peewee_errors, self.cursor() as cursor, cursor.copy(into) as copy:
            for row in rows:
                copy.write_row(row)

    def connect(self, reuse_if_open: bool = False) -> bool:
        try:
            return cast(bool, super().connect(reuse_if_open))
        except MaxConnectionsExceeded as error:
            raise OperationalError("All connections of the pool stayed busy.") from error

    def _is_closed(self, conn: Any) -> bool:
        """Whether a connection died in the pool.

        The server sends nothing on an idle connection but its goodbye. So a look at the socket
        saves the round trip of a query.
        """
        if conn.closed:
            return True
        poll = select.poll()
        poll.register(conn.fileno(), select.POLLIN)
        if poll.poll(0):
            conn.close()
            return True
        return False


def _refuse_split_password(url: str, port: str) -> None:
    """Raises ValueError if a part of the password may stand where the host, port or name is.

    There, libpq puts what follows an @ or a slash that is not percent-encoded, and `place` and the
    driver's errors show it.
    """
    authority, _, name = url.partition("://")[2].partition("?")[0].partition("/")
    if authority.count("@") > 1 or "@" in name or not re.fullmatch("[0-9,]*", port):
        raise ValueError


def _sqlstate(error: Exception) -> str:
    """PostgreSQL's code of what went wrong. Empty if it was not the server that said so."""
    return sqlstate_of((error.__cause__ or error) if isinstance(error, Unavailable) else error)
