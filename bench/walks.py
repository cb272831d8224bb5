"""Walks: how often control enters another file of the project, for four requests.

    python -m bench.walks [CHECKOUT]

Each call into another file counts, and so does each return from one. A request that writes runs in
a group, as the server's loop runs it.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1]).resolve()
OURS = ("app.py", "db/", "handlers/", "server/")
CONVERSATIONS = "/api/v1/conversations"
PROJECT_ID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


class Walk:
    """A profiler for `sys.setprofile`: the files of the project that control enters."""

    def __init__(self) -> None:
        self.entered: list[str] = []
        self._current: str | None = None
        self._stack: list[str | None] = []

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            self._stack.append(self._current)
            name = frame.f_code.co_filename.removeprefix(f"{ROOT}/")
            if name.startswith(OURS) and name != self._current:
                self.entered.append(name)
                self._current = name
        elif event == "return" and self._stack:
            self._current = self._stack.pop()

    @property
    def walks(self) -> int:
        """Entries and returns. The last return leaves the project, so it does not count."""
        return 2 * len(self.entered) - 1


def main() -> None:
    sys.path.insert(0, str(ROOT))
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "DATABASE_URL": f"sqlite:///{folder}/walks.db",
            "REQUIRE_API_KEY": "false",
            "STREAM_TIMEOUT": "0.5",
        }
        with open(os.devnull, "w") as nothing, redirect_stderr(nothing):  # the log goes there
            measure()


def in_a_group(request: Callable[[], Any]) -> Any:
    """Run a request that writes as the loop does, where this checkout has one."""
    try:
        from db.engine.database import database, keeps_connection
        from db.engine.group_commit import Group
    except ImportError:
        return request()
    keeps_connection.set(True)
    if database.obj is None:
        return request()
    group = Group(database.obj)
    try:
        group.begin()
    except TypeError:  # an older checkout asks whether to wait
        group.begin(wait=False)
    answer, _ = group.run(request)
    group.commit()
    return answer


def measure() -> None:
    from chalice.config import Config
    from chalice.local import LocalGateway

    from app import app

    gateway = LocalGateway(app, Config())

    def send(method: str, path: str, body: Any = None, profile: Walk | None = None) -> Any:
        content = b"" if body is None else json.dumps(body).encode()

        def answer() -> Any:
            headers = {"content-type": "application/json"}
            sys.setprofile(profile)
            try:
                return gateway.handle_request(method, path, headers, content)["body"]
            finally:
                sys.setprofile(None)

        # A chat and a follower have a thread.
        return in_a_group(answer) if method == "POST" and "chat" not in path else answer()

    def walk(name: str, method: str, path: str, body: Any = None) -> None:
        taken = Walk()
        send(method, path, body, taken)
        print(f"{name:30} {taken.walks:5} in {len(set(taken.entered))} files")

    def create() -> str:
        return str(json.loads(send("POST", CONVERSATIONS, {"project_id": PROJECT_ID}))["id"])

    def begin_stream() -> str:
        path = f"{CONVERSATIONS}/{create()}"
        draft = {"role": "assistant", "content": "", "status": "in_progress"}
        message = json.loads(send("POST", f"{path}/messages", draft))["id"]
        send("POST", f"{path}/messages/{message}/append", {"offset": 0, "delta": "Hello"})
        return f"{path}/events"

    def silence() -> str:
        path = begin_stream()
        time.sleep(0.6)
        return path

    def chat() -> dict[str, str]:
        return {"conversation_id": create(), "content": "one two three four"}

    # The first request of each kind makes validators and prepares queries.
    for _ in range(2):
        send("GET", silence())
        send("POST", "/api/v1/chat", chat())
    print(f"{'request':30} walks")
    walk("create", "POST", CONVERSATIONS, {"project_id": PROJECT_ID, "title": "Planning"})
    walk("follow", "GET", begin_stream())
    walk("follow after a silent writer", "GET", silence())
    walk("chat", "POST", "/api/v1/chat", chat())


if __name__ == "__main__":
    main()
