"""Around every request: its id, its connection, its log line and span, one shape of error."""

import json
import os
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING

from chalice.app import Request, Response

from db import startup
from db.engine.database import database, keeps_connection, release
from db.settings import ON_LAMBDA, settings

from ..tracing import switch
from . import metrics
from .endpoint import pending_request
from .headers import CORS, REQUEST_ID
from .logs import log_request
from .problems import MISDIRECTED, RESPONSE_TOO_LARGE, Problem, chalice_problem, problem_response
from .tracing import begin_span, end_span
from .waiting import parking

if TYPE_CHECKING:
    from opentelemetry.trace import Span

CORS_HEADERS = CORS.get_access_control_headers()
MAX_RESPONSE_BYTES = 6_000_000  # Lambda's limit. Beyond it API Gateway answers a bare 502

Note = Callable[[int], None]  # notes a request, which was answered with that status
# Set while a server answers requests whose commit is still to come, and may fail. It calls their
# notes afterwards.
notes_to_come: ContextVar[list[Note] | None] = ContextVar("notes_to_come", default=None)


def serve(request: Request, get_response: Callable[[Request], Response]) -> Response:
    """Chalice's middleware for all routes."""
    if request is None:  # the event is not an HTTP request, and Chalice says so
        return get_response(request)
    started = time.perf_counter()
    request_id = request.lambda_context.aws_request_id
    span = None if switch.spans is None else begin_span(request, request_id)
    try:
        _refuse_other_routes(request)
        if database.obj is None:
            startup.open_once()
        pending_request.set(request)
        response = get_response(request)
    except Exception as error:
        response = problem_response(error, request_id, request.path)
    finally:
        pending_request.set(None)
        if span is not None:
            switch.current.set(None)
        if not keeps_connection.get():
            release()
    response = _finished(request, response, request_id)
    note = partial(_note, request_id, request.method, request.path, started, span)
    place, to_come = parking.get(), notes_to_come.get()
    if place is not None and place.wait is not None:
        place.wait.note = note
    elif to_come is not None:
        to_come.append(note)
    else:
        note(response.status_code)
    return response


def _note(
    request_id: str, method: str, route: str, started: float, span: "Span | None", status: int
) -> None:
    """Count the request, write its line into the log, and end its span."""
    metrics.note_request(method, route, status, time.perf_counter() - started)
    log_request(request_id, method, route, started, status)
    if span is not None:
        end_span(span, status)


def failure(error: Exception, request_id: str, path: str) -> Response:
    """The whole response to a request that failed outside of the app, as at its commit."""
    return _with_common_headers(problem_response(error, request_id, path), request_id)


def _refuse_other_routes(request: Request) -> None:
    """A function for one route has this route's memory, time-out and permissions."""
    only = settings().only_route
    if only is not None and only != (asked := f"{request.method} {request.path}"):
        raise Problem(MISDIRECTED, f"This function serves only {only}: {asked} has its own.")


def _finished(request: Request, response: Response, request_id: str) -> Response:
    """The response with what all responses have."""
    if response.status_code >= 400 and isinstance(response.body, dict):  # Chalice's own error
        response = chalice_problem(response, request_id, request.path)
    if os.environ.get(ON_LAMBDA) and _is_too_large(response.body):
        response = _too_large(request_id, request.path)
    if request.method == "HEAD":
        response.body = ""
    return _with_common_headers(response, request_id)


def _with_common_headers(response: Response, request_id: str) -> Response:
    if "Access-Control-Allow-Origin" not in response.headers:
        response.headers.update(CORS_HEADERS)
    response.headers[REQUEST_ID] = request_id
    return response


def _is_too_large(body: str) -> bool:
    """Whether Lambda would refuse the answer.

    It counts what its runtime writes: a JSON string, in ASCII before Python 3.12. There, one
    character takes up to 12 bytes.
    """
    if len(body) <= MAX_RESPONSE_BYTES // 12:
        return False
    written = json.dumps(body, ensure_ascii=sys.version_info < (3, 12)).encode()
    return len(written) > MAX_RESPONSE_BYTES


def _too_large(request_id: str, path: str) -> Response:
    return problem_response(
        Problem(
            RESPONSE_TOO_LARGE,
            f"The answer has more than {MAX_RESPONSE_BYTES:,} bytes: page through /messages, or "
            "list with include_messages=false or a smaller limit.",
        ),
        request_id,
        path,
    )
