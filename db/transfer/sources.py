"""Where exports are read from: files, folders, and zips, whose members are read as streams.

Nothing is unpacked. A file is known by what is in it: see `recognition`.
"""

import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from .parsed import Unreadable

MANIFEST = "export_manifest.json"  # ChatGPT's: it names the shards of an export
MANIFEST_BYTES = 1 << 20
# A zip bomb: its member claims to be so large, and so many times larger than in the zip. Chats have
# a ratio of 3 to 20, and DEFLATE cannot have more than 1,032.
BOMB_BYTES, BOMB_RATIO = 1 << 26, 200
NOT_JSON = (".html", ".htm", ".pdf", ".png", ".jpg", ".jpeg", ".webp", ".gif", ".dat", ".wav")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")

# What may be raised while a file is read, beside Unreadable: a damaged disk or zip.
READ_ERRORS = (OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile)


class Source(NamedTuple):
    """A file that may be an export, or a part of one."""

    name: str
    size: int  # bytes, as they are read
    open: Callable[[], Any]  # a context with a file that is read as bytes
    is_named: bool  # the caller named this very file


class Found(NamedTuple):
    """What there is to be read, and what cannot be, with the reason.

    `missing` are the names of shards that a manifest names and nobody has.
    """

    sources: list[Source]
    ignored: list[str]
    missing: list[str]
    failed: list[tuple[str, str]]


def find(paths: Iterable[Path]) -> Found:
    """All files under the paths. Raises Unreadable for a path that does not exist."""
    found = Found([], [], [], [])
    for path in paths:
        if path.is_dir():
            inside = [file for file in sorted(path.rglob("*")) if file.is_file()]
            for file in inside:
                _add(file, found, is_named=False)
                if file.name == MANIFEST:
                    _add_missing(file, set(inside), found)
        elif path.exists():
            _add(path, found, is_named=True)
        else:
            raise Unreadable(f"{path} does not exist")
    return found


def _add(path: Path, found: Found, is_named: bool) -> None:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                inside = _all_in(archive, path)
            found.sources.extend(inside.sources)
            found.ignored.extend(inside.ignored)
            found.missing.extend(inside.missing)
        elif _begins_as_zip(path):
            raise Unreadable("it is a zip that was cut off or damaged")
        elif path.suffix.lower() in NOT_JSON and not is_named:
            found.ignored.append(str(path))
        else:
            found.sources.append(
                Source(str(path), path.stat().st_size, partial(path.open, "rb"), is_named)
            )
    except (Unreadable, *READ_ERRORS) as error:
        found.failed.append((str(path), str(error)))


def _add_missing(manifest: Path, there: set[Path], found: Found) -> None:
    try:
        with manifest.open("rb") as file:
            shards = _shards(file.read(MANIFEST_BYTES))
    except OSError:  # it is among those that failed
        return
    found.missing.extend(name for name in shards if manifest.parent / name not in there)


def _begins_as_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _all_in(archive: zipfile.ZipFile, path: Path) -> Found:
    """The members of a zip. Raises Unreadable if one of them should not be touched."""
    found = Found([], [], [], [])
    names = set(archive.namelist())
    for member in archive.infolist():
        name = f"{path}/{member.filename}"
        parts = member.filename.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or _DRIVE.match(member.filename):
            raise Unreadable(f"{member.filename} lies outside of the zip: this is no export")
        if member.is_dir() or parts[0] == "__MACOSX":
            continue
        if member.file_size > max(BOMB_BYTES, BOMB_RATIO * member.compress_size):
            size = f"{member.file_size:,} bytes"
            raise Unreadable(f"{member.filename} would have {size}: this is a zip bomb")
        if member.flag_bits & 1:
            raise Unreadable(f"{member.filename} is encrypted: unpack it first")
        if parts[-1] == MANIFEST:
            with archive.open(member) as manifest:
                shards = _shards(manifest.read(MANIFEST_BYTES))
            folder = member.filename.removesuffix(MANIFEST)
            found.missing.extend(shard for shard in shards if folder + shard not in names)
        if Path(parts[-1]).suffix.lower() in NOT_JSON:
            found.ignored.append(name)
        else:
            found.sources.append(
                Source(name, member.file_size, partial(_opened, path, member), False)
            )
    return found


@contextmanager
def _opened(path: Path, member: zipfile.ZipInfo) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(path) as archive, archive.open(member) as file:
        yield file


def _shards(manifest: bytes) -> Iterator[str]:
    try:
        files = json.loads(manifest)["logical_files"]["conversations.json"]["files"]
        yield from (str(name) for name in files)
    except (ValueError, KeyError, TypeError):  # another product's
        return
