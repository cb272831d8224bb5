"""Tests followers of the server: they wait without a thread, and are told at once."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from io import StringIO
from typing import Any

import pytest
from chalice.config import Config
from chalice.local import LocalDevServer

from app import app
from db import api_keys, conversations, events, messages
from db.engine.connect import Store
from db.engine.database import database
from db.errors import Unavailable
from db.messages import Draft
from db.scope import EVERYTHING
from db.settings import settings
from handlers.events import EventsWait
from handlers.http.logs import log
from server.connection import Connection
from server.followers import Followers
from server.gateway import Gateway, GatewayRequest, GatewayResponse, Parked

from .support.clients import Answer, Api, OverHttp, assert_problem, open_api
from .support.local_server import eventually, serving, threads_aside
from .support.model_server import ModelServer, Reply
from .support.processes import PATIENCE, append_messages, processes
from .support.readers import Reader
from .support.world import OTHER_PROJECT, PROJECT

CONVERSATIONS = "/api/v1/conversations"
HELLO = {"role": "user", "content": "Hello"}


@pytest.fixture
def followers(development: LocalDevServer) -> Followers:
    """Those that the server has put aside."""
    return development.server._loop._followers


@pytest.fixture
def api(either_store: Store, port: int) -> Iterator[Api]:
    """A client of a server whose rows are on either engine."""
    with open_api(port) as api:
        yield api


@pytest.fixture
def path(api: Api) -> str:
    return api.post(CONVERSATIONS, {"project_id": PROJECT}).headers["location"]


Follow = Callable[..., "Future[Answer]"]


@pytest.fixture
def follow(port: int, followers: Followers) -> Iterator[Follow]:
    """`follow(path)` waits for the next events of a conversation, on a connection of its own."""
    with ExitStack() as stack, ThreadPoolExecutor(40) as pool:

        def begin(path: str, wait: float = 20, **headers: str) -> "Future[Answer]":
            client = stack.enter_context(open_api(port))
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            expected = len(followers) + 1
            started = pool.submit(client.get, f"{path}/events", wait=wait, headers=named)
            assert eventually(lambda: len(followers) == expected or started.done())
            return started

        yield begin


def told(following: "Future[Answer]") -> list[str]:
    """The kinds of the events that it was told."""
    answer = following.result(PATIENCE)
    assert answer.status == 200, answer
    return [event.event for event in Reader().receive(answer.body)]


def test_those_who_follow_a_conversation_are_told_and_no_others(
    api: Api, path: str, follow: Follow
):
    other = api.post(CONVERSATIONS, {"project_id": PROJECT}).headers["location"]
    following = [follow(path) for _ in range(20)]
    elsewhere = follow(other)
    assert not any(each.done() for each in following)
    assert api.post(f"{path}/messages", HELLO).status == 201
    assert [told(each) for each in following] == [["message"]] * 20
    assert not elsewhere.done()
    assert api.patch(other, {"title": "New"}).status == 200
    assert told(elsewhere) == ["conversation"]


def test_waiting_takes_no_thread(api: Api, path: str, follow: Follow, store: Store):
    assert eventually(lambda: threads_aside() == 0)
    following = [follow(path) for _ in range(20)]
    # A database server is asked by a thread, every 0.1 seconds.
    assert threads_aside() == 0 if database.obj is store else threads_aside() < 5
    api.post(f"{path}/messages", HELLO)
    assert [told(each) for each in following] == [["message"]] * 20


def test_what_another_process_writes_is_told(api: Api, path: str, follow: Follow):
    id = path.rpartition("/")[2]
    following = [follow(path), follow(path)]
    with processes(1) as pool:
        pool.submit(append_messages, settings().database_url, id, "other", 1).result()
        assert [told(each) for each in following] == [["message"]] * 2
        again = follow(path, Last_Event_ID="1")
        pool.submit(append_messages, settings().database_url, id, "other", 1).result()
        assert told(again) == ["message"]


def test_followers_of_a_chat_see_each_piece_as_it_is_written(
    api: Api, path: str, follow: Follow, port: int, model: ModelServer
):
    told_first, may_end = threading.Event(), threading.Event()

    def hesitate(reply: Reply) -> None:
        reply.begin().say("Hello").stall(told_first).say(", world").stall(may_end).done()

    model.script = hesitate
    reader = Reader()
    with open_api(port) as talker, ThreadPoolExecutor(1) as pool:
        body = {"conversation_id": path.rpartition("/")[2], "content": "Hi"}
        chatting = pool.submit(talker.post, "/api/v1/chat", body)

        def texts() -> list[str]:
            following = follow(path, Last_Event_ID=str(reader.last_event_id))
            reader.receive(following.result(PATIENCE).body)
            return [text for text, _ in reader.texts.values()]

        assert eventually(lambda: texts()[1:] == ["Hello"])
        told_first.set()
        assert eventually(lambda: texts()[1:] == ["Hello, world"])
        may_end.set()
        assert chatting.result(PATIENCE).status == 200


def test_a_follower_learns_that_the_conversation_was_deleted(api: Api, path: str, follow: Follow):
    following = follow(path)
    assert api.delete(path).status == 204
    assert_problem(following.result(PATIENCE), 404, "conversation-not-found")


def test_a_follower_finds_out_that_a_writer_went_silent(
    api: Api, path: str, follow: Follow, configure: Callable[..., None]
):
    configure(stream_timeout=0.5, database_url=settings().database_url, require_api_key="false")
    api.post(f"{path}/messages", {"role": "assistant", "content": "", "status": "in_progress"})
    following = follow(path, Last_Event_ID="1")
    started = time.monotonic()
    assert b"event: done" in following.result(PATIENCE).body
    assert time.monotonic() - started < 15  # it would wait for 20


def test_a_follower_waits_no_longer_than_it_said(api: Api, path: str, follow: Follow):
    following = follow(path, wait=0.2)
    assert following.result(PATIENCE).body == b"retry: 500\n\n"


def test_a_look_ahead_does_not_wait(api: Api, path: str, followers: Followers):
    assert api.get(f"{path}/events").body == b"retry: 500\n\n"
    assert len(followers) == 0


def test_a_client_that_leaves_is_forgotten(api: Api, path: str, port: int, followers: Followers):
    gone = OverHttp(port)
    gone.connection.request("GET", f"{path}/events?wait=20")
    assert eventually(lambda: len(followers) == 1)
    gone.connection.close()
    assert eventually(lambda: len(followers) == 0)


def test_those_who_have_left_leave_nothing_behind(
    api: Api, path: str, follow: Follow, followers: Followers
):
    following = follow(path)
    api.post(f"{path}/messages", HELLO)
    assert told(following) == ["message"]
    assert eventually(lambda: len(followers) == 0)
    assert followers.seconds_until_due() > 1e6  # nothing wakes the loop
    assert not followers._of
    assert not followers._woken


def test_a_client_that_has_sent_all_still_gets_its_answer(
    api: Api, path: str, port: int, followers: Followers
):
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as half_closed:
        half_closed.sendall(f"GET {path}/events?wait=20 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert eventually(lambda: len(followers) == 1)
        half_closed.shutdown(socket.SHUT_WR)
        assert half_closed.recv(1 << 16).endswith(b"retry: 500\n\n")


def test_readers_from_the_future_are_told_the_same(
    api: Api, path: str, follow: Follow, monkeypatch: pytest.MonkeyPatch
):
    following = [follow(path, Last_Event_ID=str(1000 + number)) for number in range(10)]
    looks: list[object] = []
    look = events.look
    monkeypatch.setattr(events, "look", lambda *key: looks.append(key) or look(*key))
    api.post(f"{path}/messages", HELLO)
    assert [told(each) for each in following] == [["message"]] * 10
    assert len(looks) < 5


def test_a_client_that_sends_its_next_request_waits_no_longer_for_the_first(
    api: Api, path: str, port: int, followers: Followers
):
    following = OverHttp(port)
    following.connection.connect()
    connection = following.connection.sock
    request = f"GET {path}%s HTTP/1.1\r\nHost: localhost\r\n\r\n"
    connection.sendall((request % "/events?wait=20").encode())
    assert eventually(lambda: len(followers) == 1)
    connection.sendall((request % "").encode())
    received = b""
    while b'"messages":[]' not in received:
        received += connection.recv(1 << 16)
    assert received.count(b"HTTP/1.1 200") == 2
    assert received.index(b"retry: 500") < received.index(b'"messages":[]')
    following.connection.close()


def test_when_the_server_ends_followers_are_answered_at_once(
    development: LocalDevServer, either_store: Store
):
    port = development.server.socket.getsockname()[1]
    followers = development.server._loop._followers
    id = conversations.start(EVERYTHING, PROJECT).id
    database.close()
    with ThreadPoolExecutor(1) as pool, open_api(port) as client:
        with serving(development):
            following = pool.submit(client.get, f"{CONVERSATIONS}/{id}/events", wait=20)
            assert eventually(lambda: len(followers) == 1)
            started = time.monotonic()
        assert following.result(PATIENCE).body == b"retry: 500\n\n"
    assert time.monotonic() - started < 15


def test_each_follower_sees_what_is_its_own(
    api: Api, follow: Follow, port: int, followers: Followers
):
    path = api.post(CONVERSATIONS, {"project_id": PROJECT}, headers={"X-User-Id": "alice"}).headers[
        "location"
    ]
    key, _ = api_keys.make(OTHER_PROJECT)
    database.close()
    assert_problem(follow(path, X_User_Id="bob").result(), 404, "conversation-not-found")
    assert_problem(follow(path, X_API_Key=key).result(), 404, "conversation-not-found")
    following = [follow(path), follow(path, X_User_Id="alice")]
    api.post(f"{path}/messages", HELLO)
    assert [told(each) for each in following] == [["message"]] * 2


def test_those_who_are_told_the_same_share_one_look(
    api: Api, path: str, follow: Follow, monkeypatch: pytest.MonkeyPatch
):
    looks: list[tuple[Any, ...]] = []
    look = events.look

    def counted(*arguments: Any) -> events.Look:
        looks.append(arguments)
        return look(*arguments)

    following = [follow(path) for _ in range(20)]
    monkeypatch.setattr(events, "look", counted)
    api.post(f"{path}/messages", HELLO)
    assert [told(each) for each in following] == [["message"]] * 20
    assert len(looks) < 5


def test_the_log_has_a_followers_line_when_it_is_answered(
    api: Api, path: str, follow: Follow, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(log.handlers[0], "stream", lines := StringIO())

    def logged() -> list[dict[str, Any]]:
        found = [json.loads(line) for line in lines.getvalue().splitlines()]
        return [line for line in found if line.get("route", "").endswith("/events")]

    following = [follow(path), follow(path, wait=0.3)]
    assert logged() == []
    following[1].result(PATIENCE)
    assert [line["status"] for line in logged()] == [200]
    assert api.delete(path).status == 204
    answer = following[0].result(PATIENCE)
    assert eventually(lambda: len(logged()) == 2)
    assert logged()[1]["status"] == 404
    assert logged()[1]["request_id"] == answer.headers["x-request-id"] == answer.json["instance"]


def test_a_follower_that_lost_its_database_is_told_so(
    path: str, follow: Follow, api: Api, monkeypatch: pytest.MonkeyPatch
):
    def away(*_: object) -> None:
        raise Unavailable("away")

    following = follow(path)
    with monkeypatch.context() as broken:
        broken.setattr(events, "look", away, raising=True)
        api.post(f"{path}/messages", HELLO)
        assert_problem(following.result(PATIENCE), 503, "unavailable")
    assert told(follow(path)) == ["message"]


def test_a_batch_of_a_long_history_follows_without_waiting(api: Api, path: str, follow: Follow):
    id = path.rpartition("/")[2]
    for _ in range(3):
        messages.append(EVERYTHING, id, [Draft("user", "x" * 100)] * 100)
    database.close()
    reader = Reader()
    for _ in range(3):
        following = follow(path, Last_Event_ID=str(reader.last_event_id))
        if not reader.receive(following.result(PATIENCE).body):
            break
        if len(reader.messages) == 300:
            break
    assert len(reader.messages) == 300


# The watcher


@pytest.fixture
def stale(either_store: Store) -> Iterator[Followers]:
    """One follower that began to wait after the notice that it waits for."""
    id = conversations.start(EVERYTHING, PROJECT).id
    wait = EventsWait(EVERYTHING, id, 0, 20)
    wait.learn(wait.look())
    messages.append(EVERYTHING, id, [Draft("user", "Hello")])
    followers = Followers(Gateway(app, Config()), lambda: None)
    near, far = socket.socketpair()
    with near, far:
        followers.park(Connection(near), Parked(GatewayResponse(200, [], b""), wait))
        yield followers


def test_a_follower_that_missed_its_notice_is_found_by_the_watch(stale: Followers):
    stale.ask(stale.begin_watch(), stale.versions)
    stale.wake()
    assert stale.next() is not None


def test_a_watch_that_failed_is_made_up_for(stale: Followers, monkeypatch: pytest.MonkeyPatch):
    def away() -> None:
        raise Unavailable("away")

    with monkeypatch.context() as broken:
        broken.setattr("server.followers.data_version", away)
        stale.ask(stale.begin_watch(), stale.versions)
    stale.ask(stale.begin_watch(), stale.versions)
    stale.wake()
    assert stale.next() is not None


def test_a_watch_asks_for_versions_only_if_something_was_committed(stale: Followers):
    stale.ask(stale.begin_watch(), stale.versions)
    stale.ask(stale.begin_watch(), lambda: pytest.fail("nothing was committed since"))


def test_a_follower_that_begins_to_wait_while_the_server_ends_does_not_wait(stale: Followers):
    (connection,) = stale._parked
    parked = stale.take(connection)
    stale.end()
    stale.park(connection, parked)
    assert stale.next() is connection
    request = GatewayRequest("GET", "/", {}, b"")
    assert stale.look(request, stale.take(connection)) == parked.response
