"""What an import did, for people and for programs."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from .parsed import EMPTY, HIDDEN, REPEATED, STRUCTURAL

REASONS = {
    STRUCTURAL: "that only hold the tree together",
    EMPTY: "without content",
    HIDDEN: "that the product hides (--all keeps them)",
}
OUTCOMES = {
    "created": "created",
    "extended": "extended by new messages",
    "unchanged": "unchanged",
    "changed_at_the_source": "differ from the source, and were left as they are (--update)",
    "updated": "overwritten with the source's texts",
    "deleted_here": "deleted here, and left so (--restore)",
    "restored": "restored",
}
MAX_LINES = 20  # of what failed or was ignored, in words


@dataclass(slots=True)
class Report:
    """Conversations by what became of them, and what was seen in them.

    A conversation may count twice, as extended and changed at the source. `found` counts also those
    that occur twice in the files, and `null`.
    """

    found: int = 0
    created: int = 0
    extended: int = 0
    unchanged: int = 0
    changed_at_the_source: int = 0
    updated: int = 0
    deleted_here: int = 0
    restored: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)  # the id and why
    messages: int = 0
    branches: int = 0
    messages_deleted_here: int = 0  # in conversations that were compared
    skipped: dict[str, int] = field(default_factory=dict)  # messages, by reason
    attachments_not_in_the_file: int = 0
    cleaned: int = 0  # characters and numbers that cannot be stored
    messages_with_a_repeated_id: int = 0
    titles_cut_or_blank: int = 0
    messages_over_6_mb: int = 0  # whole, and larger than a request could send them
    shards_missing: list[str] = field(default_factory=list)
    side_files_ignored: list[str] = field(default_factory=list)
    dry_run: bool = False

    def fail(self, id: str, why: str) -> None:
        self.failed.append({"id": id, "why": why})

    def count(self, words: list[str]) -> None:
        for word in words:
            setattr(self, word, getattr(self, word) + 1)

    def take(self, counts: Counter[str]) -> None:
        """What the formats have noted."""
        self.skipped = {reason: counts[reason] for reason in REASONS}
        self.attachments_not_in_the_file = counts["attachments"]
        self.cleaned = counts["cleaned"]
        self.titles_cut_or_blank = counts["titles"]
        self.messages_with_a_repeated_id = counts[REPEATED]

    @property
    def exit_status(self) -> int:
        """0 if all is in, 1 if some failed, 2 if nothing could be read."""
        if not any(getattr(self, word) for word in OUTCOMES):
            return 2
        return 1 if self.failed or self.shards_missing else 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        """The report in words."""
        would = "A dry run: nothing was changed. " if self.dry_run else ""
        lines = [f"{would}{_many(self.found, 'conversation')} found."]
        lines += [
            f"{count:,} {words}."
            for name, words in OUTCOMES.items()
            if (count := getattr(self, name))
        ]
        if self.messages:
            branches = f", on {_many(self.branches, 'branch', 'es')}" if self.branches else ""
            lines.append(f"{_many(self.messages, 'message')} new here{branches}.")
        if self.messages_deleted_here:
            deleted = _many(self.messages_deleted_here, "message")
            lines.append(f"{deleted} deleted here, and left so (--restore).")
        lines += [
            f"{_many(count, 'message')} left out {REASONS[reason]}."
            for reason, count in self.skipped.items()
            if count
        ]
        if self.attachments_not_in_the_file:
            lines.append(
                f"{_many(self.attachments_not_in_the_file, 'attachment')} not in the file."
            )
        if self.cleaned:
            lines.append(f"{self.cleaned:,} characters or numbers replaced that cannot be stored.")
        if self.messages_with_a_repeated_id:
            repeated = _many(self.messages_with_a_repeated_id, "message")
            lines.append(f"{repeated} with the id of another one.")
        if self.titles_cut_or_blank:
            lines.append(f"{_many(self.titles_cut_or_blank, 'title')} cut, or blank.")
        if self.messages_over_6_mb:
            lines.append(f"{_many(self.messages_over_6_mb, 'message')} of more than 6 MB.")
        lines += [f"{name} is missing: the export is not whole." for name in self.shards_missing]
        lines += _some([f"Failed: {each['id']}: {each['why']}." for each in self.failed])
        lines += _some([f"Ignored: {name}" for name in self.side_files_ignored])
        return lines


def _many(count: int, noun: str, plural: str = "s") -> str:
    return f"{count:,} {noun}{'' if count == 1 else plural}"


def _some(lines: list[str]) -> list[str]:
    more = len(lines) - MAX_LINES
    return lines if more <= 0 else [*lines[:MAX_LINES], f"… and {more:,} more."]
