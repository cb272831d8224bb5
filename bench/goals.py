"""The goals, each a bound on a measured value, and why some are hard to reach."""

from collections.abc import Mapping
from typing import NamedTuple

from . import earlier, search_questions, transfer, unbranched, unsearched
from .growth import API_V1_PAGE, PROJECTS_PAGE


class Goal(NamedTuple):
    """`value` bounds what was `measured`: from below for `≥`, from above for `≤`."""

    label: str
    measured: str
    sign: str
    bound: float
    why: str = ""  # shown if the goal is missed

    def is_met_by(self, value: float) -> bool:
        return value >= self.bound if self.sign == "≥" else value <= self.bound


# Why some goals are hard. The report shows it where they are missed.
COMMIT = (
    "The requests that are there together share one commit. What is left is each request's own "
    "time in Python: Chalice's gateway and our handlers. The profile below has each layer's share."
)
READING = (
    "Most of a read is Chalice's gateway, our handlers and SQLite. The profile below has each "
    "layer's share."
)
WORKERS = (
    "wrk and two workers share the machine's processors. On one file only one worker writes at a "
    "time, and each worker's group holds fewer requests than the group of a single process."
)
PAGES = (
    "SQLite writes whole pages. A conversation's row has a page of its own, and so have its newest "
    "messages. Appends to different conversations share only the page of the newest ids. (Before "
    "group commit, an append wrote 29,000 bytes on eight connections.)"
)
PAGES_OF_STREAM = (
    "SQLite writes whole pages to the log: those of the event, the stream and the conversation. A "
    "checkpoint writes them to the file."
)
NEWEST = (
    "Both read one run of neighbouring rows. Ours also checks whose conversation it is, in one "
    "snapshot, and reads all fields of a message."
)
LAYERS = "The profile below has each layer's share."
SYNC = "Each append waits for the same sync of the disk, which is most of the time of both."
CACHE = (
    "The small file fits into SQLite's page cache of 16 MB. Some pages of the large one come from "
    "the operating system."
)

RUNS = (
    "In the worst layout each message of the path is found by its own step in the index, and read "
    "from its own page."
)
INDEXES = (
    "An append moves its conversation in its project's list by activity and in the feed, "
    "each an index. It leaves one page of each index and enters another one."
)
FIELDS = "A message has two more fields, and a conversation eight."
BATCHES = (
    "The index takes a hundred messages at a time. It stores the words of each once more, and "
    "where they are."
)
PAIRS = (
    "The index has pairs of characters. For a single one, it joins the lists of all pairs that "
    "begin with it."
)
TWO_TAGS = "With two tags, all conversations that have the rarer one are looked at."

GOALS: tuple[Goal, ...] = (
    Goal(
        "create, 8 connections, against the twin",
        "peers: create, 8 connections",
        "≥",
        6,
        COMMIT,
    ),
    Goal("append, 8 connections", "peers: append, 8 connections", "≥", 6, COMMIT),
    Goal("create, 32 connections", "peers: create, 32 connections", "≥", 7, COMMIT),
    Goal("create, p99 at 32 connections against that at 8", "peers: create, p99", "≤", 4),
    Goal("create, new connections", "peers: create, 8 new connections", "≥", 3, COMMIT),
    Goal(
        "get 20 messages, 8 connections",
        "peers: get, 20 messages, 8 connections",
        "≥",
        5,
        READING,
    ),
    Goal(
        "/projects list of 100, 8 connections",
        "peers: /projects list, 100, 8 connections",
        "≥",
        5,
        READING,
    ),
    Goal(
        "/api/v1 list, 100 × 20, 8 connections",
        "peers: /api/v1 list, 100 × 20, 8 connections",
        "≥",
        5,
        READING,
    ),
    Goal(
        "create, 2 workers against `chalice local`",
        "production: create, 8 connections",
        "≥",
        1,
        WORKERS,
    ),
    Goal(
        "get 20 messages, 2 workers against `chalice local`",
        "production: get, 20 messages, 8 connections",
        "≥",
        1,
        WORKERS,
    ),
    Goal(
        "bytes an append writes, 8 connections against 1",
        "commits: bytes, 8 connections",
        "≤",
        0.5,
        PAGES,
    ),
    Goal("create, in process, against raw sqlite3", "limit: create, off", "≤", 2.5, LAYERS),
    Goal("get 20 messages, in process", "limit: get, 20 messages, off", "≤", 1.8, LAYERS),
    Goal(
        "/api/v1 list, 100 × 20, in process",
        "limit: /api/v1 list, 100 × 20, off",
        "≤",
        1.05,
        LAYERS,
    ),
    Goal(
        "append, in process: time of openai-agents' `SQLiteSession`",
        "alternatives: append, SQLiteSession",
        "≥",
        1.5,
        SYNC,
    ),
    Goal(
        "append, in process: time of LangChain's history",
        "alternatives: append, SQLChatMessageHistory",
        "≥",
        1.5,
        SYNC,
    ),
    Goal(
        "newest 20, in process: time of openai-agents' `SQLiteSession`",
        "alternatives: newest 20, SQLiteSession",
        "≥",
        3,
        NEWEST,
    ),
    Goal(
        "newest 20, in process: time of LangChain's history",
        "alternatives: newest 20, SQLChatMessageHistory",
        "≥",
        3,
    ),
    Goal("/api/v1 list, first page, large file against small", f"growth: {API_V1_PAGE}", "≤", 1.3),
    Goal(
        "/projects list, first page, large file against small", f"growth: {PROJECTS_PAGE}", "≤", 1.3
    ),
    Goal("get, large file against small", "growth: get, 10 messages", "≤", 1.3, CACHE),
    Goal("append, large file against small", "growth: append", "≤", 1.3, CACHE),
    Goal("archive, large file against small", "growth: archive", "≤", 1.3, CACHE),
    Goal("deep cursor against the first page", "growth: deep cursor against first page", "≤", 1.2),
    Goal(
        "deep skip against the first page",
        "growth: skip against first page",
        "≤",
        20,
        "SQLite steps over each skipped row in the index.",
    ),
    Goal(
        "side bar: largest file against smallest, of all lists",
        "side bar: largest ratio",
        "≤",
        1.3,
        TWO_TAGS,
    ),
    Goal(
        "side bar: deep cursor against first page",
        "side bar: by activity: all, deep against first",
        "≤",
        1.2,
    ),
    Goal(
        "side bar: the same of what is not archived",
        "side bar: by activity: not archived, deep against first",
        "≤",
        1.2,
    ),
    Goal(
        "path of 100 in a tree against a line, worst of all requests and layouts",
        "branches: largest ratio of a path",
        "≤",
        2,
        RUNS,
    ),
    *(
        Goal(f"{name}: against the code before branches", f"branches: {name}", "≤", bound, why)
        for name, bound, why in (
            (f"{unbranched.APPEND}, {earlier.PLAIN}", 1.15, INDEXES),
            (f"{earlier.APPEND_OVER_HTTP}, {earlier.PLAIN}", 1.15, INDEXES),
            (f"{earlier.BYTES}, {earlier.PLAIN}", 1.25, INDEXES),
            (unbranched.GET, 1.05, FIELDS),
        )
    ),
    Goal("migration of 1,000,000 messages, seconds", f"branches: {unbranched.MIGRATION}", "≤", 10),
    *(
        Goal(
            f"search, {kind}: p99 in ms",
            f"search: {kind}, p99",
            "≤",
            50,
            PAIRS if kind == search_questions.CHARACTER else "",
        )
        for kind in search_questions.KINDS
    ),
    Goal(
        "search, rare word: large file against small",
        f"search: {search_questions.RARE}, growth",
        "≤",
        2,
    ),
    *(
        Goal(f"live answers, 1 at once, {label}: p50 in ms", f"live: {measured}", "≤", bound)
        for label, measured, bound in (
            ("who asked", "local, 1, asker", 5),
            ("a follower in the same process", "local, 1, follower", 5),
            ("a follower in any of two", "production, 1, follower", 60),
            ("the first piece", "local, 1, first", 30),
        )
    ),
    Goal(
        f"{unsearched.APPEND}: against the code before search",
        f"unsearched: {unsearched.APPEND}",
        "≤",
        1.1,
        BATCHES,
    ),
    *(
        Goal(f"{name}: the same", f"unsearched: {name}", "≤", bound, BATCHES)
        for name, bound in zip(unsearched.OVER_HTTP, (1.1, 1.25, 1.1, 1.25), strict=True)
    ),
    Goal(
        "imported conversations a second",
        f"transfer: {transfer.FIRST}, a second",
        "≥",
        2000,
        "It needs two processors that are free: one process reads, half of it Python's steps for "
        "20 messages each, and one stores.",
    ),
    *(
        Goal(f"{name}: peak MB", f"transfer: {name}, MB", "≤", 150)
        for name in (transfer.FIRST, transfer.ZIP, transfer.EXPORT)
    ),
    Goal(
        "import of app, against the twin",
        "cold: import",
        "≤",
        0.3,
        "Half of it is Pydantic, which both import, and a sixth is Chalice.",
    ),
    Goal("memory after 100,000 requests against 1,000", "memory: growth", "≤", 1.01),
    Goal("last appends to a stream against the first", "streams: last against first", "≤", 1.1),
    Goal(
        "bytes written for one append to a stream", "streams: bytes", "≤", 20_000, PAGES_OF_STREAM
    ),
)


SHARED = (
    "The clients run on the same two processors. A worker that loses its processor while it has "
    "the turn to write keeps the other one waiting."
)


def _of_followers(name: str) -> tuple[Goal, ...]:
    """The goals of one server. Times are in milliseconds."""
    told = f"followers: {name}, 1 of 1"
    return (
        Goal(f"{name}: 1,000 idle followers, cores", f"followers: {name}, idle", "≤", 0.02),
        Goal(f"{name}: the same, MB in all", f"followers: {name}, megabytes", "≤", 100),
        Goal(f"{name}: told of a client's message, p50 ms", f"{told}, by a client", "≤", 10),
        Goal(
            f"{name}: told of another process's message, p50 ms",
            f"{told}, by another process",
            "≤",
            110,
        ),
        Goal(
            f"{name}: p99 of appends, 200 followers of one against none",
            f"followers: {name}, 200 of 1",
            "≤",
            2,
            SHARED,
        ),
        Goal(
            f"{name}: the same, 1,000 followers of 1,000",
            f"followers: {name}, 1,000 of 1,000",
            "≤",
            2,
            SHARED,
        ),
        Goal(
            f"{name}: p99 of `/health` meanwhile, ms",
            f"followers: {name}, 1,000 of 1,000, health",
            "≤",
            10,
            SHARED,
        ),
    )


GOALS += (
    Goal("the console's first view, bytes", "console: first view", "≤", 120_000),
    Goal("the console's longest task, ms", "console: longest task", "≤", 100),
    Goal("the console's nodes, after scrolling 2,000 messages", "console: nodes", "≤", 2),
)
GOALS += _of_followers("chalice local") + _of_followers("production")


def judge(measured: Mapping[str, float]) -> list[tuple[Goal, float]]:
    """The goals that were measured, and their values."""
    return [(goal, measured[goal.measured]) for goal in GOALS if goal.measured in measured]
