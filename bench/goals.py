"""The goals, each a bound on a measured ratio; and, where one was missed, why."""

from collections.abc import Mapping
from typing import NamedTuple


class Goal(NamedTuple):
    """`value` bounds what was `measured`: from below for `≥`, from above for `≤`."""

    label: str
    measured: str
    sign: str
    bound: float
    why: str = ""  # it is missed, if it is

    def is_met_by(self, value: float) -> bool:
        return value >= self.bound if self.sign == "≥" else value <= self.bound


GOALS = (
    Goal("create, 8 connections, against the twin", "peers: create, 8 connections", "≥", 4),
    Goal("append, 8 connections", "peers: append, 8 connections", "≥", 4),
    Goal("get 20 messages, 8 connections", "peers: get, 20 messages, 8 connections", "≥", 3),
    Goal("list 100 × 20, 8 connections", "peers: list 100 × 20, 8 connections", "≥", 2),
    Goal(
        "second API, list 100, 8 connections", "peers: second API, list 100, 8 connections", "≥", 4
    ),
    Goal("create, new connections", "peers: create, 8 new connections", "≥", 2),
    Goal("create, in process, against raw sqlite3", "limit: create, off", "≤", 3),
    Goal("get 20 messages, in process", "limit: get, 20 messages, off", "≤", 3),
    Goal("list 100 × 20, in process", "limit: list 100 × 20, off", "≤", 1.5),
    Goal(
        "first page of the first API, large against small", "growth: first API, 20 newest", "≤", 1.3
    ),
    Goal("first page of the second API", "growth: second API, 20 newest", "≤", 1.3),
    Goal("get", "growth: get, 10 messages", "≤", 1.3),
    Goal("append", "growth: append", "≤", 1.3),
    Goal("archive", "growth: archive", "≤", 1.3),
    Goal("deep cursor against the first page", "growth: deep cursor against first page", "≤", 1.2),
    Goal("deep skip against the first page", "growth: skip against first page", "≤", 20),
    Goal("import of app, against the twin", "cold: import", "≤", 0.3),
    Goal("memory after 100,000 requests against 1,000", "memory: growth", "≤", 1.01),
    Goal("last appends to a stream against the first", "streams: last against first", "≤", 1.1),
    Goal("bytes written for one append to a stream", "streams: bytes", "≤", 20_000),
)


def judge(measured: Mapping[str, float]) -> list[tuple[Goal, float]]:
    """The goals that were measured, and their values."""
    return [(goal, measured[goal.measured]) for goal in GOALS if goal.measured in measured]
