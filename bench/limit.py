"""In process against the limit: requests through our gateway, and the same SQL by hand."""

import json
import shutil
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import NamedTuple

from chalice.app import Chalice
from chalice.config import Config
from chalice.local import LocalGateway

from .data import (
    APPEND_PROJECT,
    CONVERSATIONS,
    CREATE_PROJECT,
    READ_PROJECT,
    TEXTS,
    fill_usual,
    ids,
    use,
)
from .inprocess import Gateway
from .options import Options, Section, Step
from .raw import Raw
from .timing import Call, in_turns

JSON_HEADERS = {"Content-Type": "application/json"}


class Case(NamedTuple):
    """One operation in both ways. Each call takes the next id."""

    name: str
    times: int
    ours: Call
    raw: Call


class Distance(NamedTuple):
    """Median microseconds of both, one a round."""

    operation: str
    synchronous: str
    rounds: list[dict[str, float]]

    def typical(self, name: str) -> float:
        return median(each[name] for each in self.rounds)

    @property
    def ratio(self) -> float:
        return median(each["ours"] / each["raw"] for each in self.rounds)


def cases(database: Path, gateway: Gateway, raw: Raw) -> list[Case]:
    conversation = json.dumps(
        {"project_id": CREATE_PROJECT, "title": "Architecture planning"}
    ).encode()
    message = json.dumps({"role": "user", "content": TEXTS[0]}).encode()

    bare = LocalGateway(_bare_app(), Config.create())

    def both(name: str, times: int, keys: list[str], ours: Call, theirs: Call) -> Case:
        mine, others = cycle(keys), cycle(keys)
        return Case(name, times, lambda: ours(next(mine)), lambda: theirs(next(others)))

    return [
        both(
            "an empty route", 1000, [""],
            lambda _: bare.handle_request("POST", "/", dict(JSON_HEADERS), message)["body"],
            lambda _: json.dumps(json.loads(message)),
        ),
        both(
            "create", 1000, [CREATE_PROJECT],
            lambda _: gateway.send("POST", CONVERSATIONS, conversation),
            lambda _: raw.create(conversation),
        ),
        both(
            "append", 1000, ids(database, APPEND_PROJECT),
            lambda key: gateway.send("POST", f"{CONVERSATIONS}/{key}/messages", message),
            lambda key: raw.append(key, message),
        ),
        both(
            "get, 20 messages", 1000, ids(database, READ_PROJECT),
            lambda key: gateway.send("GET", f"{CONVERSATIONS}/{key}"),
            raw.get,
        ),
        both(
            "/api/v1 list, 100 × 20", 40, [READ_PROJECT],
            lambda key: gateway.send("GET", f"{CONVERSATIONS}?project_id={key}"),
            raw.list,
        ),
        both(
            "/projects list, 100", 400, [READ_PROJECT],
            lambda key: gateway.send("GET", f"/projects/{key}/conversations?limit=100"),
            raw.page,
        ),
    ]  # fmt: skip


def _bare_app() -> Chalice:
    """An app that returns its body. It shows what Chalice alone takes."""
    app = Chalice("bare", configure_logs=False)
    app.route("/", methods=["POST"])(lambda: app.current_request.json_body)
    return app


def steps(options: Options) -> int:
    return 2 * 6


def measure(options: Options, step: Step) -> list[Distance]:
    found = []
    for synchronous in ("off", "full"):
        # Each has a file: a connection drops its cache when another one writes.
        mine, theirs = (options.folder / f"{name}-{synchronous}.db" for name in ("mine", "raw"))
        shutil.copy(fill_usual(mine), theirs)
        use(mine, synchronous)
        for case in cases(mine, Gateway(), Raw(theirs, synchronous)):
            _check(case)
            calls = {"ours": case.ours, "raw": case.raw}
            rounds = [in_turns(calls, options.scaled(case.times)) for _ in range(options.rounds)]
            found.append(Distance(case.name, synchronous, rounds))
            step(f"{case.name}, synchronous={synchronous}")
    return found


def _check(case: Case) -> None:
    """Fail unless both ways read the same, and create rows with the same fields."""
    ours, raw = json.loads(case.ours()), json.loads(case.raw())
    if list(ours) != list(raw) or (case.name not in ("create", "append") and ours != raw):
        raise RuntimeError(f"{case.name} differs:\n{ours}\n{raw}")


def section(found: list[Distance]) -> Section:
    return Section(
        "Limit: in process",
        "Median microseconds of a request through the gateway that serves, with its log line, and "
        "of the same SQL on raw `sqlite3` with `json`, without routing, validation, tenants and "
        "errors.",
        ["operation", "synchronous", "ours µs", "raw µs", "ratio"],
        [
            [
                each.operation,
                each.synchronous,
                f"{each.typical('ours'):,.0f}",
                f"{each.typical('raw'):,.0f}",
                f"**{each.ratio:.2f}**",
            ]
            for each in found
        ],
        {f"limit: {each.operation}, {each.synchronous}": each.ratio for each in found},
    )
