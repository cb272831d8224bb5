"""Import: from the files of an export to conversations, one at a time, beside a running server."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any, NamedTuple

from ..models import PARTS, TEXT
from ..scope import NO_PROJECT
from . import sources, storing
from .arrivals import STRANGE, Arrival, Options
from .json_values import Reader
from .parsed import Format, Notes, NotJson, Owner, Unreadable, as_object
from .recognition import Group, groups, recognise
from .report import Report
from .rows import MAX_MESSAGE_BYTES, without_data
from .sources import READ_ERRORS, Source
from .storing import Known, Outcome, store_each
from .storing_beside import Storer, much_at_once
from .tree import Placed, settle
from .values import json_text

# Of one transaction, in which nobody else writes: 10 ms. With 50 an import takes as long, and 4 MB
# more; with 12 longer.
BATCH_CONVERSATIONS = 25
BATCH_CHARACTERS = 1_000_000
# In an import of so much, another process stores: to start one takes half a second.
LARGE_BYTES = 10_000_000
ANOTHERS = "it belongs to another user, {}: import each user's chats apart"

# It is called with the bytes that are read, those that there are, and the conversations so far.
OnProgress = Callable[[int, int, int], object]


class Wanted(NamedTuple):
    """What the caller asked for. None for a project or user that the export may tell."""

    project_id: str | None = None
    user_id: str | None = None
    keeps_hidden: bool = False
    options: Options = Options()

    def owner(self, format: Format, value: Any) -> Owner:
        told = format.owner_of(as_object(value)) or Owner(NO_PROJECT, "")
        return Owner(self.project_id or told.project_id, self.user_id or told.user_id)


class Waiting(NamedTuple):
    """A conversation that was read and is not yet looked up."""

    owner: Owner
    format: Format
    group: Group

    @property
    def source(self) -> str:
        return f"{self.format.name}:{self.group.id}"


def import_paths(
    paths: Iterable[Path],
    wanted: Wanted,
    progress: OnProgress,
    open_beside: Callable[[], None] | None = None,
    report: Report | None = None,
) -> Report:
    """Import all conversations under the paths, and say what became of them.

    All files are looked through first. Raises Unreadable if there is nothing to import; then
    nothing was changed. If they are large, another process stores them, where `open_beside` opens
    the store. A `report` of the caller's says also what was done before something is raised.
    """
    run = _Run(wanted, progress, Report() if report is None else report)
    found = sources.find(paths)
    for name, why in found.failed:
        run.report.fail(name, why)
    run.report.shards_missing = found.missing
    run.report.side_files_ignored = found.ignored
    readable = run.recognise(found.sources)
    if not readable:
        failed = run.report.failed
        why = f"{failed[0]['id']}: {failed[0]['why']}" if failed else "there are no conversations"
        raise Unreadable(why)
    run.total = sum(source.size for source, _ in readable)
    beside: Storer | None = None
    if open_beside and run.total >= LARGE_BYTES and not wanted.options.is_dry:
        beside = Storer(wanted.options, open_beside)
    try:
        with much_at_once(), beside or nullcontext() as run.storer:
            for source, format in readable:
                run.read(source, format)
    finally:
        run.report.take(run.notes.counts)
    return run.report


class _Run:
    """An import that is under way."""

    def __init__(self, wanted: Wanted, progress: OnProgress, report: Report) -> None:
        self.wanted = wanted
        self.notes = Notes(wanted.keeps_hidden)
        self.report = report
        report.dry_run = wanted.options.is_dry
        self.total = self._passed = 0  # bytes
        self._messages = 0  # in what was read, or was there before
        self._progress = progress
        self.storer: Storer | None = None
        self._batch: list[Waiting] = []
        self._batch_characters = 0
        # In a dry run, what would be there by now.
        self._seen: dict[tuple[Owner, str], str] = {}  # with its hash

    def recognise(self, candidates: Iterable[Source]) -> list[tuple[Source, Format]]:
        """Those that are exports. What is none is a side file, unless it was named."""
        readable: list[tuple[Source, Format]] = []
        for source in candidates:
            try:
                format = recognise(source, self.notes)
            except NotJson as error:
                if source.is_named:
                    self.report.fail(source.name, str(error))
                    continue
                format = None
            except (Unreadable, *READ_ERRORS) as error:
                self.report.fail(source.name, str(error))
                continue
            if format is not None:
                readable.append((source, format))
            elif source.is_named:
                self.report.fail(source.name, "nothing in it is known as an export of chats")
            else:
                self.report.side_files_ignored.append(source.name)
        self.notes.counts.clear()  # of the values that were looked at
        return readable

    def read(self, source: Source, format: Format) -> None:
        """Import what is in a file. If it is damaged somewhere, what stands before that is in."""
        found, told, failed = self.report.found, self._messages, len(self.report.failed)
        user: str | None = None  # at the source, of the first conversation that has one
        try:
            with source.open() as file:
                values = Reader(_Counted(file, self), self.notes.counts).values()
                for group in groups(format, values, self.notes):
                    self.report.found += 1
                    if group is None:
                        continue
                    if not isinstance(value := group.values[0], dict):
                        self.report.fail(group.id, "it is no object")
                        continue
                    its = format.user_at_the_source(value)
                    user = user or its
                    if its in (None, user):
                        self._take(Waiting(self.wanted.owner(format, value), format, group))
                    else:
                        self.report.fail(group.id, ANOTHERS.format(its))
        except (Unreadable, *READ_ERRORS) as error:
            self._finish()
            self.report.fail(source.name, str(error))
            return
        self._finish()
        if self.report.found == found:
            self.report.fail(source.name, "there are no conversations in it")
        elif self._messages == told and len(self.report.failed) == failed:
            self.report.fail(source.name, "there are no messages in it")

    def passed_over(self, count: int) -> None:
        """So many bytes were read."""
        self._passed += count
        self._progress(self._passed, self.total, self.report.found)

    def _take(self, waiting: Waiting) -> None:
        self._batch.append(waiting)
        self._batch_characters += waiting.group.characters
        is_full = len(self._batch) == BATCH_CONVERSATIONS
        if is_full or self._batch_characters > BATCH_CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        """Look up what was read, and store what is new."""
        batch, self._batch, self._batch_characters = self._batch, [], 0
        arrivals = [
            arrival for waiting in self._new_in(batch) if (arrival := self._arrival(waiting))
        ]
        if not arrivals:
            return
        if self.storer is None:
            self._note(store_each(arrivals, self.wanted.options))
        else:
            self._note(self.storer.store(arrivals))

    def _finish(self) -> None:
        self._flush()
        if self.storer is not None:
            self._note(self.storer.finish())

    def _new_in(self, batch: list[Waiting]) -> Iterator[Waiting]:
        """What is not the same as last time. Of the others no message is read."""
        known: dict[tuple[Owner, str], Known] = {}
        for owner in {waiting.owner for waiting in batch}:
            asked = [waiting.source for waiting in batch if waiting.owner == owner]
            known |= {(owner, name): it for name, it in storing.known(owner, asked).items()}
        options = self.wanted.options
        for waiting in batch:
            key, sha256 = (waiting.owner, waiting.source), waiting.group.sha256
            it = known.get(key)
            if it is not None and not it.is_there and not options.restore:
                self.report.deleted_here += 1
                self._messages += 1
            elif (it is not None and it.sha256 == sha256 and not options.compares_all) or (
                self._seen.get(key) == sha256
            ):
                self.report.unchanged += 1
                self._messages += 1
            else:
                if options.is_dry:
                    self._seen[key] = sha256
                yield waiting

    def _arrival(self, waiting: Waiting) -> Arrival | None:
        group = waiting.group
        try:
            parsed = waiting.format.read(group.values, self.notes)
            self.notes.counts["titles"] += storing.changes_title(parsed)
            tree = settle(parsed)
            if group.characters > MAX_MESSAGE_BYTES:
                tree = tree._replace(messages=[self._smaller(placed) for placed in tree.messages])
            arrival = Arrival(
                waiting.owner, waiting.format.name, group.id, group.sha256, parsed, tree
            )
            parsed.nodes.clear()  # they are in the tree
        except Unreadable as error:
            self.report.fail(group.id, str(error))
            return None
        except STRANGE as error:
            self.report.fail(group.id, f"it is not as it should be ({error!r})")
            return None
        self._messages += len(tree.messages)
        return arrival

    def _smaller(self, placed: Placed) -> Placed:
        """A message that is too large, without the files in it. A text is reported and not cut."""
        if len(placed.content) <= MAX_MESSAGE_BYTES:
            return placed
        if placed.content_type != TEXT:
            parts = [without_data(part) for part in placed.decoded_content]
            placed = placed._replace(content=json_text(parts), content_type=PARTS)
        if len(placed.content) > MAX_MESSAGE_BYTES:
            self.report.messages_over_6_mb += 1
        return placed

    def _note(self, outcomes: list[Outcome]) -> None:
        for id, result in outcomes:
            if isinstance(result, str):
                self.report.fail(id, result)
                continue
            self.report.count(result.words)
            self.report.messages += result.messages
            self.report.branches += result.branches
            self.report.messages_deleted_here += result.deleted


class _Counted:
    """A file that tells how much of it was read."""

    def __init__(self, file: IO[bytes], run: _Run) -> None:
        self._file = file
        self._run = run

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._run.passed_over(len(data))
        return data
