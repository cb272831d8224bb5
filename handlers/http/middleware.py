"""Around every request: its id, its database connection, its log line, and one shape of error."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable

from chalice.app import CORSConfig, Request, Response

from db.database import database, open_store
from db.settings import ON_LAMBDA, settings

from .endpoint import pending_request
from .logs import log, log_request
from .problems import MISDIRECTED, RESPONSE_TOO_LARGE, Problem, chalice_problem, problem_response

CORS = CORSConfig(
    allow_headers=[
        "Idempotency-Key",
        "If-Match",
        "If-None-Match",
        "Last-Event-ID",
        "X-User-Id",
    ],  # X-Api-Key is among Chalice's own
    expose_headers=["ETag", "Link", "Location", "Retry-After", "X-Request-Id"],
    max_age=86_400,
)
MAX_RESPONSE = 6_000_000  # bytes; Lambda's limit, beyond which API Gateway answers a bare 502

_opening = threading.Lock()


def serve(request: Request, get_response: Callable[[Request], Response]) -> Response:
    """Chalice's middleware for all routes."""
    if request is None:  # an event that is no HTTP request: Chalice says so
        return get_response(request)
    started = time.perf_counter()
    request_id = request.lambda_context.aws_request_id
    try:
        _refuse_other_routes(request)
        _open_once()
        pending_request.set(request)
        response = get_response(request)
    except Exception as error:
        response = problem_response(error, request_id)
    finally:
        pending_request.set(None)
        if database.obj is not None and not database.is_closed():
            database.close()
    response = _finished(request, response, request_id)
    log_request(
        request_id,
        request.method,
        request.path,
        response.status_code,
        time.perf_counter() - started,
    )
    return response


def _refuse_other_routes(request: Request) -> None:
    """A function for one route has that route's memory, time and permissions."""
    only = settings().only_route
    if only is not None and only != (asked := f"{request.method} {request.path}"):
        raise Problem(MISDIRECTED, f"This function serves {only} alone: {asked} has its own.")


def _open_once() -> None:
    """On the first request, not at import: packaging imports the app, too."""
    if database.obj is None:
        with _opening:
            if database.obj is None:
                store = open_store(settings())
                log.info("The database is %s", store.place)


def _finished(request: Request, response: Response, request_id: str) -> Response:
    if response.status_code >= 400 and isinstance(response.body, dict):  # Chalice's own error
        response = chalice_problem(response, request_id)
    if os.environ.get(ON_LAMBDA) and _is_too_large(response.body):
        response = _too_large(request_id)
    if "Access-Control-Allow-Origin" not in response.headers:
        response.headers.update(CORS.get_access_control_headers())
    response.headers["X-Request-Id"] = request_id
    if request.method == "HEAD":
        response.body = ""
    return response


def _is_too_large(body: str) -> bool:
    """Whether Lambda would refuse the answer. It counts what its runtime writes: a JSON string, in
    ASCII before Python 3.12, so that one character takes up to 12 bytes."""
    if len(body) <= MAX_RESPONSE // 12:
        return False
    return len(json.dumps(body, ensure_ascii=sys.version_info < (3, 12)).encode()) > MAX_RESPONSE


def _too_large(request_id: str) -> Response:
    return problem_response(
        Problem(
            RESPONSE_TOO_LARGE,
            f"The answer has more than {MAX_RESPONSE:,} bytes: page through /messages, or list "
            "with include_messages=false or a smaller limit.",
        ),
        request_id,
    )
