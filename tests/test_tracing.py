"""Tests the spans: what a collector is told of requests and of models, and when."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from app import app
from db import api_keys, user_tokens
from db.engine.database import database
from db.settings import ON_LAMBDA
from handlers.tracing import switch

from .support.chats import Chat
from .support.clients import Api, InProcess, open_api
from .support.collector import Collector, Told
from .support.live import Live
from .support.local_server import eventually, threads_aside
from .support.model_server import ModelServer, Reply, Stepwise, hello
from .support.processes import ROOT, ProductionServer, Server
from .support.world import PROJECT, ROUTES, SECRET, USER, World, make_world, request_for

CONVERSATIONS = "/api/v1/conversations"
ONE = f"{CONVERSATIONS}/{{conversation_id}}"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture
def told(collector: Collector, configure: Callable[..., None]) -> Iterator[Callable[[], Any]]:
    """This process makes spans. `told()` ends that and returns what the collector was told."""
    configure(otel_exporter_otlp_endpoint=collector.url)
    switch.begin()

    def end() -> list[Told]:
        switch.end()
        return collector.spans

    yield end
    switch.end()


Spans = Callable[[], list[Told]]


def named(spans: list[Told], name: str) -> Told:
    (span,) = (span for span in spans if span.name == name)
    return span


# --- Requests


def test_a_request_has_a_span_by_the_conventions_for_http_servers(api: Api, told: Spans):
    answer = api.post(CONVERSATIONS, {"project_id": PROJECT})
    (span,) = told()
    assert (span.name, span.kind, span.service) == (f"POST {CONVERSATIONS}", "SERVER", "confab")
    assert span.attributes == {
        "http.request.method": "POST",
        "http.route": CONVERSATIONS,
        "http.response.status_code": 201,
        "url.scheme": "http",
        "confab.request_id": answer.headers["x-request-id"],
    }
    assert (span.parent_id, span.is_error) == ("", False)
    assert 0 < span.seconds < 5


def test_its_parent_is_the_clients_span(api: Api, told: Spans):
    api.get(CONVERSATIONS, headers={"TraceParent": TRACEPARENT, "X-Forwarded-Proto": "https"})
    (span,) = told()
    assert (span.trace_id, span.parent_id) == (TRACE, PARENT)
    assert span.attributes["url.scheme"] == "https"


@pytest.mark.parametrize(
    "traceparent",
    [
        *("", " ", "nonsense", "00", TRACEPARENT[:-1], TRACEPARENT + "0", "x" * 10_000),
        *(TRACEPARENT.upper(), f"ff{TRACEPARENT[2:]}", f"00-{'0' * 32}-{PARENT}-01"),
        "00-\xe9" + TRACEPARENT,
    ],
)
def test_a_traceparent_that_is_none_is_ignored(traceparent: str, api: Api, told: Spans):
    headers = {"traceparent": traceparent, "tracestate": "=,;\xe9" * 100}
    assert api.get(CONVERSATIONS, headers=headers).status == 200
    (span,) = told()
    assert span.parent_id == ""


def test_a_client_that_is_not_traced_has_no_spans(api: Api, told: Spans):
    assert api.get(CONVERSATIONS, headers={"traceparent": f"{TRACEPARENT[:-1]}0"}).status == 200
    assert told() == []


def test_requests_that_one_thread_answers_one_after_another_have_nothing_in_common(
    api: Api, told: Spans
):
    api.get(CONVERSATIONS, headers={"traceparent": TRACEPARENT})
    for _ in range(3):
        api.get(CONVERSATIONS)
    spans = told()
    assert [span.parent_id for span in spans] == [PARENT, "", "", ""]
    assert len({span.trace_id for span in spans}) == 4
    assert switch.current.get() is None


def test_a_clients_mistake_is_no_error_of_the_server(api: Api, told: Spans):
    api.get(f"{CONVERSATIONS}/nonsense")
    (span,) = told()
    assert span.name == f"GET {ONE}"
    assert span.attributes["http.response.status_code"] == 422
    assert not span.is_error
    assert "error.type" not in span.attributes


def test_a_failure_is_an_error(api: Api, told: Spans, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("handlers.conversations.transcripts", None)
    assert api.post(CONVERSATIONS, {"project_id": PROJECT}).status == 500
    (span,) = told()
    assert span.is_error
    assert span.attributes["error.type"] == "500"
    assert span.attributes["http.response.status_code"] == 500


def test_health_has_no_span(api: Api, told: Spans):
    assert api.get("/health").status == 200
    assert told() == []


def test_a_request_that_waits_ends_its_span_when_it_is_answered(told: Spans, port: int):
    with open_api(port) as api, open_api(port) as other, ThreadPoolExecutor(1) as pool:
        path = api.post(CONVERSATIONS, {"project_id": PROJECT}).headers["location"]
        headers = {"traceparent": TRACEPARENT}
        waiting = pool.submit(other.get, f"{path}/events", headers=headers, wait=20)
        time.sleep(0.2)
        api.get(path)
        api.post(f"{path}/messages", {"role": "user", "content": "Hello"})
        assert b"Hello" in waiting.result().body
    spans = told()
    assert len(spans) == 4
    span = named(spans, f"GET {ONE}/events")
    assert (span.trace_id, span.parent_id) == (TRACE, PARENT)
    assert span.attributes["http.response.status_code"] == 200
    assert 0.1 < span.seconds < 15
    assert [each.trace_id == TRACE for each in spans].count(True) == 1


# --- Models


def test_a_call_of_a_model_is_a_part_of_its_request(chat: Chat, told: Spans, model: ModelServer):
    def count(reply: Reply) -> None:
        reply.begin().say("Hello").usage(prompt_tokens=12, completion_tokens=3, total_tokens=15)
        reply.done()

    model.script = count
    assert chat(headers={"traceparent": TRACEPARENT}).status == 200
    request, call = (named(told(), name) for name in ("POST /api/v1/chat", "chat gpt-4o-mini"))
    assert call.kind == "CLIENT"
    assert (call.trace_id, call.parent_id, request.trace_id) == (TRACE, request.span_id, TRACE)
    assert call.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 3,
        "server.address": "127.0.0.1",
        "server.port": int(model.url.split(":")[-1].removesuffix("/v1")),
    }
    assert not call.is_error
    (asked,) = model.asked
    assert asked.headers["traceparent"] == f"00-{TRACE}-{call.span_id}-01"


@contextmanager
def chatting(port: int) -> Iterator[tuple[Api, str, Live]]:
    """A chat whose answer comes live: a client, the conversation's path, and the response.

    At its end no thread is left.
    """
    with open_api(port) as api:
        path = api.post(CONVERSATIONS, {"project_id": PROJECT}).headers["location"]
        body = {"conversation_id": path.rpartition("/")[2], "content": "Hi"}
        with Live(port, "POST", "/api/v1/chat", body, Accept="text/event-stream") as live:
            yield api, path, live
        assert eventually(lambda: threads_aside() == 0)


def test_a_live_answer_is_a_part_of_the_request_that_began_it(
    told: Spans, model: ModelServer, port: int
):
    model.script = script = Stepwise("Hel", "lo")
    with chatting(port) as (api, _, live):
        script.step()
        api.get(CONVERSATIONS)
        script.finish()
        live.end()
    spans = told()
    request, call = (named(spans, name) for name in ("POST /api/v1/chat", "chat gpt-4o-mini"))
    assert (call.trace_id, call.parent_id) == (request.trace_id, request.span_id)
    assert named(spans, f"GET {CONVERSATIONS}").trace_id != request.trace_id


def test_so_is_a_response_whose_first_piece_the_request_itself_waits_for(
    told: Spans, model: ModelServer, port: int
):
    key, _ = api_keys.make(PROJECT)
    database.close()
    body = {"model": "small", "input": "Hi", "stream": True}
    with Live(port, "POST", "/v1/responses", body, Authorization=f"Bearer {key}") as live:
        live.end()
    assert eventually(lambda: threads_aside() == 0)
    request, call = (named(told(), name) for name in ("POST /v1/responses", "chat small"))
    assert (call.trace_id, call.parent_id) == (request.trace_id, request.span_id)
    assert not call.is_error


def refuse(reply: Reply) -> None:
    reply.begin(status=429, media_type="application/json").end()


FAILURES = [
    ("429", refuse),
    ("cut_off", lambda reply: reply.begin().say("Hel").end()),
    ("ReadError", lambda reply: reply.cut()),
    ("bad_answer", lambda reply: reply.begin().event("no JSON").done()),
    ("timeout", lambda reply: reply.begin().stall()),
]


@pytest.mark.parametrize(("error_type", "script"), FAILURES, ids=[kind for kind, _ in FAILURES])
def test_a_model_that_fails_is_an_error_with_its_kind(
    error_type: str,
    script: Any,
    chat: Chat,
    told: Spans,
    model: ModelServer,
    configure: Callable[..., None],
):
    configure(chat_timeout=0.5)
    model.script = script
    assert chat().status == 502
    request, call = (named(told(), name) for name in ("POST /api/v1/chat", "chat gpt-4o-mini"))
    assert (request.is_error, call.is_error) == (True, True)
    assert call.attributes["error.type"] == error_type
    assert request.attributes["error.type"] == "502"


def test_an_answer_that_somebody_stops_is_no_error(told: Spans, model: ModelServer, port: int):
    model.script = script = Stepwise("Hel", "lo")
    with chatting(port) as (api, path, live):
        script.step()
        live.wait_for_body(lambda body: b"Hel" in body)
        assert api.post(f"{path}/stop").status == 204
        live.end()
    script.finish()
    assert not named(told(), "chat gpt-4o-mini").is_error


def test_without_a_collector_a_model_is_not_told_of_spans(chat: Chat, model: ModelServer):
    assert chat(headers={"traceparent": TRACEPARENT}).status == 200
    assert "traceparent" not in model.asked[0].headers


# --- What is private


def test_no_span_has_a_text_a_title_a_key_a_user_or_an_id_of_a_row(
    collector: Collector, told: Spans, model: ModelServer, configure: Callable[..., None]
):
    configure(chat_api_key="sk-of-the-model")
    key, _ = api_keys.make()
    token, _ = user_tokens.make(USER, PROJECT, 60)
    database.close()
    by_key = {"X-API-Key": key, "X-User-Id": USER, "Idempotency-Key": "once-only"}
    worlds: list[World] = []
    for headers in (by_key, {"Authorization": f"Bearer {token}", "If-None-Match": '"secret-tag"'}):
        api = Api(InProcess(app), headers)
        for route in ROUTES:
            for script in (hello, refuse):
                model.script = script
                worlds.append(make_world())
                request_for(route, worlds[-1]).send(api)
        api.get(f"{CONVERSATIONS}/by-key/secret-key", q="secret-query")
    assert len(told()) > 2 * len(ROUTES)
    private = [
        *(SECRET, "A title", "A new title", "planning", "What it is about", "Hello", "Better"),
        *(key, token, "sk-of-the-model", USER, PROJECT, "once-only", "secret"),
        *(id for world in worlds for id in (world.conversation_id, world.message_id)),
    ]
    raw = collector.raw.lower()
    assert [text for text in private if text.lower().encode() in raw] == []


# --- Processes


def ask(server: Server, count: int = 1) -> float:
    """Send requests, and return the seconds that the slowest of them took."""
    slowest = 0.0
    with open_api(server.port) as api:
        for _ in range(count):
            began = time.monotonic()
            assert api.get(CONVERSATIONS).status in (200, 401)
            slowest = max(slowest, time.monotonic() - began)
    return slowest


def test_chalice_local_sends_its_spans_at_its_end(url: str, collector: Collector):
    settings = {"otel_exporter_otlp_endpoint": collector.url, "otel_service_name": "a-laptop"}
    with Server(url, **settings) as server:
        ask(server, 3)
        server.interrupt()
    assert [span.service for span in collector.spans] == ["a-laptop"] * 3


def test_each_worker_of_gunicorn_sends_its_spans_at_its_end(url: str, collector: Collector):
    settings = {"otel_exporter_otlp_endpoint": collector.url, "workers": 2}
    with ProductionServer(url, **settings) as server:
        for _ in range(3):
            ask(server)
        server.terminate()
        assert server.exit_code() == 0
    assert [span.name for span in collector.spans] == [f"GET {CONVERSATIONS}"] * 3


def test_while_the_collector_is_away_requests_are_answered_and_the_log_has_a_line(
    url: str, capfd: pytest.CaptureFixture[str]
):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        place = f"http://127.0.0.1:{closed.getsockname()[1]}"
    settings = {"otel_exporter_otlp_endpoint": place, "otel_bsp_schedule_delay": 50}
    with ProductionServer(url, workers=1, **settings) as server:
        assert ask(server, 100) < 5
        time.sleep(0.5)
        began = time.monotonic()
        server.terminate()
        assert server.exit_code() == 0
        assert time.monotonic() - began < 10
    (line,) = (line for line in capfd.readouterr().err.splitlines() if "spans" in line)
    assert line.startswith('{"time": ')
    assert "Connection refused" in line


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


ASK_ONCE = """
import sys
from app import app
from tests.support.clients import Api, InProcess
assert Api(InProcess(app)).get("/api/v1/conversations").status == 401
print(*[name for name in sys.modules if name.startswith("opentelemetry")])
"""


def test_without_the_variable_nothing_of_opentelemetry_is_imported():
    done = run(ASK_ONCE)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr


def test_without_the_packages_the_start_ends_with_one_sentence_that_says_what_to_install():
    code = "import sys; sys.modules['opentelemetry.sdk'] = None; import app"
    done = run(code, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4318")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        r"confab: OTEL_EXPORTER_OTLP_ENDPOINT needs .*deploy/requirements-tracing\.txt.*\.\n",
        done.stderr,
    )


# --- Lambda


@pytest.fixture
def on_lambda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ON_LAMBDA, "confab-prod")


@pytest.mark.usefixtures("on_lambda")
def test_on_lambda_a_request_ends_when_the_collector_has_its_spans(
    chat: Chat, collector: Collector, configure: Callable[..., None], model: ModelServer
):
    configure(otel_exporter_otlp_endpoint=collector.url)
    switch.prepare()
    try:
        assert chat().status == 200
        assert [span.kind for span in collector.spans] == ["CLIENT", "SERVER"]
        assert len(collector.bodies) == 1
    finally:
        switch.end()


@pytest.mark.usefixtures("on_lambda")
def test_on_lambda_a_collector_that_does_not_answer_keeps_one_request_waiting_for_a_second(
    api: Api, configure: Callable[..., None]
):
    asked: list[float] = []

    def wait() -> int:
        asked.append(time.monotonic())
        time.sleep(15)
        return 200

    with Collector(wait) as silent:
        configure(otel_exporter_otlp_endpoint=silent.url)
        switch.begin()
        try:
            began = time.monotonic()
            for _ in range(5):
                assert api.get(CONVERSATIONS).status == 200
            took = time.monotonic() - began
            assert len(asked) == 1
        finally:
            switch.end()
    assert took < 10
