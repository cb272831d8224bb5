"""API Gateway as Chalice plays it, for the servers that are not Lambda."""

import uuid
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, NamedTuple

from chalice.app import Chalice
from chalice.config import Config
from chalice.local import LambdaEventConverter, LocalGateway, RouteMatcher

from handlers.http.caller import has_to_wait
from handlers.http.endpoint import NEWS, OUTSIDE
from handlers.http.headers import REQUEST_ID
from handlers.http.logs import log
from handlers.http.middleware import Note, failure, notes_to_come
from handlers.http.problems import UNKNOWN_PATH, Kind, Problem
from handlers.http.waiting import Parking, Wait, parking

# The most of a body that is read, as API Gateway has it. The app refuses more than 6,000,000 bytes.
MAX_KEPT_BYTES = 10_000_000


class GatewayRequest(NamedTuple):
    """`target` is path and query as they were sent, percent-encoded.

    The names of headers are in lower case. Each has all its values, in the order in which they were
    sent, with one character for each byte.
    """

    method: str
    target: str
    headers: Mapping[str, list[str]]
    body: bytes


class GatewayResponse(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Parked(NamedTuple):
    """A request that waits for news, with the response that it gets if none comes.

    If the wait is live, this is the beginning of the response.
    """

    response: GatewayResponse
    wait: Wait


class Piece(NamedTuple):
    """A further part of a live response, and whether it is the last one."""

    parked: Parked
    content: bytes
    is_last: bool
    is_cut: bool = False  # it ends before all was told, as the client shall see


class _EventConverter(LambdaEventConverter):
    """Makes the events of API Gateway, which have every value of a header, and the last one."""

    def create_lambda_event(
        self, method: str, path: str, headers: dict[str, Any], body: bytes | None = None
    ) -> dict[str, Any]:
        last = {name: values[-1] for name, values in headers.items()}
        event = super().create_lambda_event(method, path, last, body)
        event["multiValueHeaders"] = headers
        return event


class Gateway:
    def __init__(self, app_object: Chalice, config: Config) -> None:
        # Chalice looks these up in several dictionaries for each request, which takes 10 µs.
        constants = SimpleNamespace(
            function_name=config.function_name,
            lambda_memory_size=config.lambda_memory_size,
            lambda_timeout=config.lambda_timeout,
        )
        self._routes = app_object.routes
        self._gateway = LocalGateway(app_object, constants)
        # `waits_for`, `answer` and the converter ask for the same route. The matcher finds it once.
        matcher = RouteMatcher(list(app_object.routes))
        matcher.match_route = self._match = lru_cache(1024)(matcher.match_route)
        converter = _EventConverter(matcher, app_object.api.binary_types)
        self._gateway.event_converter = converter

    def waits_for(self, request: GatewayRequest) -> str | None:
        """What else than the database the request may wait for, as its endpoint says, or who
        calls: a token of the identity provider may have a key that is not known yet.
        """
        route = self._route(request.target)
        if route is None:
            return None
        is_head = request.method == "HEAD"
        entry = self._routes[route].get("GET" if is_head else request.method)
        waits_for = entry.view_function.endpoint.waits_for if entry is not None else None
        sent = request.headers.get("authorization")
        if sent is not None and has_to_wait(sent[-1]):
            return OUTSIDE
        return None if is_head and waits_for == NEWS else waits_for

    def answer_or_park(self, request: GatewayRequest) -> GatewayResponse | Parked:
        """The response, unless the request has to wait for news."""
        place = Parking(is_flushed=True)
        token = parking.set(place)
        try:
            response = self.respond(request)
        finally:
            parking.reset(token)
        return response if place.wait is None else Parked(response, place.wait)

    def respond(self, request: GatewayRequest) -> GatewayResponse:
        """The response, whatever happens."""
        try:
            return self.answer(request)
        except Exception as error:
            return self.failed(request, error)

    def respond_unnoted(self, request: GatewayRequest) -> tuple[GatewayResponse, list[Note]]:
        """The response, and the notes to be called with the status of what is sent, if any."""
        notes: list[Note] = []
        token = notes_to_come.set(notes)
        try:
            return self.respond(request), notes
        finally:
            notes_to_come.reset(token)

    def answer(self, request: GatewayRequest) -> GatewayResponse:
        method, target, headers, body = request
        route = self._route(target)
        if route is None:  # API Gateway has the same status. There, this never reaches the app
            detail = "There is no such path: /openapi.json lists those that there are."
            return refusal(
                UNKNOWN_PATH, detail, method, target, message="Missing Authentication Token"
            )
        methods = self._routes[route]
        if method == "HEAD" and "GET" in methods:
            response = self._head(target, headers, body)
        else:
            response = self._gateway.handle_request(method, target, headers, body)
        named = {**response["headers"], **response["multiValueHeaders"]}
        if response["statusCode"] == 405 and "GET" in methods:
            named["Allow"] += ", HEAD"
        content = (response["body"] or "").encode()
        return _response(response["statusCode"], named, content, method)

    def resume(
        self, request: GatewayRequest, parked: Parked, look: Callable[[Wait], str | None]
    ) -> GatewayResponse | Piece | None:
        """The response to a request that waits, or a part of it. None if nothing is new."""
        kept, wait = parked
        if wait.is_live:
            return self._next_piece(request, parked, look)
        try:
            body = look(wait)
        except Exception as error:
            response = self.failed(request, error, kept)
        else:
            if body is None:
                return None
            content = (wait.head + body).encode()
            headers = [pair for pair in kept.headers if pair[0] != "Content-Length"]
            headers.append(("Content-Length", str(len(content))))
            response = GatewayResponse(kept.status, headers, content)
        wait.note(response.status)
        return response

    def _next_piece(
        self, request: GatewayRequest, parked: Parked, look: Callable[[Wait], str | None]
    ) -> GatewayResponse | Piece | None:
        """The status is told already. So what goes wrong ends the response, and a client that asks
        again is told of it.
        """
        try:
            body = look(parked.wait)
            content = None if body is None else body.encode()
        except Exception as error:
            self.failed(request, error, parked.response)  # for the log
            return self.give_up(parked)
        if content is None:
            return None
        if is_last := parked.wait.has_ended():
            parked.wait.note(parked.response.status)
        return Piece(parked, content, is_last)

    @staticmethod
    def give_up(parked: Parked) -> GatewayResponse | Piece:
        """The response to a request that waits no longer, or the end of one that is live."""
        parked.wait.note(parked.response.status)
        if parked.wait.is_live:
            return Piece(parked, b"", is_last=True, is_cut=not parked.wait.ends_with_server)
        return parked.response

    def failed(
        self, request: GatewayRequest, error: Exception, instead_of: GatewayResponse | None = None
    ) -> GatewayResponse:
        """The problem for a request that failed, in the place of the answer that it had, if any."""
        sent = dict(instead_of.headers) if instead_of else {}
        request_id = sent.get(REQUEST_ID) or str(uuid.uuid4())
        return _failure(error, request_id, request.method, request.target)

    def _route(self, target: str) -> str | None:
        """The pattern of the target's route. None if there is no such path."""
        if target.startswith("//"):  # Chalice would take `//a/health` for /health on the host a
            return None
        try:
            return self._match(target).route
        except ValueError:
            return None

    def _head(self, target: str, headers: Mapping[str, list[str]], body: bytes) -> Any:
        """Answer a HEAD as the GET of the app. The caller leaves the body out.

        API Gateway answers 403 to HEAD, because Chalice gives it only the methods of the routes.
        """
        place = Parking()  # so that it does not wait for news, which would be in the body
        token = parking.set(place)
        try:
            response = self._gateway.handle_request("GET", target, headers, body)
        finally:
            parking.reset(token)
        if place.wait is not None:
            place.wait.note(response["statusCode"])
        return response


def refusal(
    kind: Kind, detail: str, method: str = "GET", target: str = "", **extra: Any
) -> GatewayResponse:
    """The problem for what does not reach the app. The log has the reason in a line."""
    request_id = str(uuid.uuid4())
    log.info("Refused with %d: %s", kind.status, detail, extra={"request_id": request_id})
    return _failure(Problem(kind, detail, **extra), request_id, method, target)


def _failure(error: Exception, request_id: str, method: str, path: str) -> GatewayResponse:
    response = failure(error, request_id, path)
    content = str(response.body).encode()
    return _response(response.status_code, response.headers, content, method)


def _response(
    status: int, named: Mapping[str, str | list[str]], content: bytes, method: str
) -> GatewayResponse:
    pairs = [
        (name, str(value))
        for name, values in named.items()
        for value in (values if isinstance(values, list) else [values])
    ]
    if status in (204, 304):
        return GatewayResponse(status, pairs, b"")
    pairs.append(("Content-Length", str(len(content))))
    return GatewayResponse(status, pairs, b"" if method == "HEAD" else content)
