"""Typed endpoints: a route function says what it takes and gives, and the adapter does the rest.

    @routes.route("/things/{thing_id}", methods=["PATCH"], content_types=ANY)
    @endpoint()
    def change_thing(caller: AnyCaller, thing_id: Uuid, body: ThingPatch) -> ThingResponse: ...

The parameters `caller`, `body`, `query` and `headers` are made from the request by their types. All
others are path parameters, but for `claim`: an endpoint that has it sees to its Idempotency-Key
itself. For all other endpoints the adapter does that. A `body` with a default may be left out.

Without a request, as a test calls it, the endpoint is the plain function.
"""

import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property, wraps
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import unquote

import pydantic_core
from chalice.app import Request, Response
from pydantic import BaseModel, TypeAdapter, ValidationError

from db.idempotency_keys import Claim

from . import rate_limit
from .caller import ANYBODY, Authentication, Caller, authenticate
from .headers import IDEMPOTENCY_KEY, refuse_repeated
from .idempotency import claim_of, respond_once
from .problems import (
    MALFORMED,
    PAYLOAD_TOO_LARGE,
    READ_ONLY,
    UNSUPPORTED_MEDIA_TYPE,
    Kind,
    Problem,
    TextResponse,
    problem_response,
)
from .types import Strict
from .validation import invalid

T = TypeVar("T")

# For `content_types=`: Chalice checks them even where there is no body. The adapter checks them
# where there is one.
ANY: list[str] = []
JSON = "application/json"
# Dart's and the browser's HTTP clients call a string text/plain.
JSON_TYPES = frozenset({JSON, "text/json", "text/plain"})
MAX_BODY_BYTES = 6_000_000  # Lambda's limit, the same everywhere
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})  # those that change nothing (RFC 9110, 9.2.1)
# What a request may wait for, or take long for.
NEWS, OUTSIDE, SCAN = "news", "outside", "scan"

# The request that Chalice is about to call a view for. The view that takes it answers it.
pending_request: ContextVar[Request | None] = ContextVar("pending_request", default=None)


@dataclass(slots=True)
class Reply(Generic[T]):
    """An answer with more than a body."""

    body: T  # None for a 304
    headers: dict[str, str] = field(default_factory=dict)
    status: int | None = None
    media_type: str | None = None
    is_encoded: bool = False  # the body is the text that is sent


class _Nothing(Strict):
    """The body or query of an endpoint that takes none."""


class Endpoint:
    """A route function's signature: it is filled from requests, and described by OpenAPI."""

    def __init__(
        self,
        function: Callable[..., Any],
        status: int,
        sends: tuple[str, ...],
        media_types: tuple[str, ...],
        problems: tuple[Kind, ...],
        waits_for: str | None,
        if_known: int | None,
        if_none: int | None,
        is_idempotent: bool,
    ) -> None:
        self.function = function
        self.status = status
        self.sends = sends
        self.media_types = media_types
        self.problems = problems
        self.waits_for = waits_for
        self.if_known = if_known
        self.if_none = if_none
        self.is_idempotent = is_idempotent
        hints = get_type_hints(function, include_extras=True)
        returns = hints.pop("return")
        if get_origin(returns) is Reply:
            (returns,) = get_args(returns)
        self.returns: Any = returns
        caller = hints.pop("caller", None)
        self.authentication: Authentication | None = caller.__metadata__[0] if caller else None
        self.body_model: Any = hints.pop("body", None)
        body = inspect.signature(function).parameters.get("body")
        self.needs_body = body is not None and body.default is body.empty
        self.query_model: type[BaseModel] | None = hints.pop("query", None)
        self.takes_claim = hints.pop("claim", None) is not None
        self.headers_model: type[BaseModel] | None = hints.pop("headers", None)
        fields = self.headers_model.model_fields if self.headers_model else {}
        self.header_names = [field.alias or name for name, field in fields.items()]
        self.path_types = hints
        self.narrows = caller is not None and "project_id" in hints

    # The validators are made for the first request: most processes of a function per route see the
    # requests of one endpoint.

    @cached_property
    def response(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.returns)

    @cached_property
    def body(self) -> TypeAdapter[Any]:
        body: Any = self.body_model or _Nothing | None
        return TypeAdapter(body)

    @cached_property
    def query(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.query_model or _Nothing)

    @cached_property
    def headers(self) -> TypeAdapter[Any]:
        headers: Any = self.headers_model
        return TypeAdapter(headers)

    @cached_property
    def path(self) -> dict[str, TypeAdapter[Any]]:
        return {name: TypeAdapter(hint) for name, hint in self.path_types.items()}

    @cached_property
    def signature(self) -> inspect.Signature:
        return inspect.signature(self.function)

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The plain function, for a caller who has no request."""
        if self.narrows:
            arguments = self.signature.bind(*args, **kwargs).arguments
            self._narrow(arguments)
            return self.function(**arguments)
        return self.function(*args, **kwargs)

    def respond(self, request: Request, path: Mapping[str, str]) -> Response:
        """The answer to a request, whatever happens."""
        limits: dict[str, str] = {}
        try:
            caller = self._caller(request)
            if caller is not None:
                limits = rate_limit.take(caller)
            response = self._answer(request, path, caller)
        except Exception as error:
            request_id = request.lambda_context.aws_request_id
            response = problem_response(error, request_id, request.path)
        response.headers.update(limits)
        return response

    def _caller(self, request: Request) -> Caller | None:
        """Who calls, or None if the endpoint does not ask. Raises Problem 400, 401, 403 or 422."""
        # Chalice's Request has the last value of a header, and its test client sends no others.
        refuse_repeated(request.to_original_event().get("multiValueHeaders") or {})
        if self.authentication is None:
            return None
        return authenticate(request.headers, self.authentication)

    def _answer(self, request: Request, path: Mapping[str, str], caller: Caller | None) -> Response:
        arguments = self._arguments(request, path, caller)
        claim = self._claim(request, arguments.get("caller", ANYBODY))
        if claim is None:
            return self._render(self.function(**arguments))
        if self.takes_claim:
            return self._render(self.function(**arguments, claim=claim))
        return respond_once(claim, path, lambda: self._render(self.function(**arguments)))

    def _claim(self, request: Request, caller: Caller) -> Claim | None:
        """What the request's Idempotency-Key stands for. Raises Problem 422."""
        if request.method != "POST" or self.is_idempotent:
            return None
        key = request.headers.get(IDEMPOTENCY_KEY.name)
        return None if key is None else claim_of(request, caller, IDEMPOTENCY_KEY.checked(key))

    def _arguments(
        self, request: Request, path: Mapping[str, str], caller: Caller | None
    ) -> dict[str, Any]:
        """What the function takes, in the order in which a request is checked."""
        arguments: dict[str, Any] = {}
        headers = request.headers
        if caller is not None:
            if caller.is_read_only and request.method not in SAFE_METHODS:
                raise Problem(READ_ONLY, "The API key only reads: send one that may write.")
            arguments["caller"] = caller
        if path:
            for name, value in path.items():
                arguments[name] = _parse(self.path[name], unquote(value), "path", name)
            if self.narrows:
                self._narrow(arguments)
        if self.query_model is not None or request.query_params:
            query = _parse(self.query, _single(request.query_params), "query")
            if self.query_model is not None:
                arguments["query"] = query
        if self.headers_model is not None:
            given = {name: headers[name] for name in self.header_names if name in headers}
            arguments["headers"] = _parse(self.headers, given, "header")
        if self.body_model is not None:
            raw = _raw(request)
            if raw or self.needs_body:
                arguments["body"] = _parse(self.body, _json(raw, headers), "body")
        elif raw := _raw(request):
            _parse(self.body, _json(raw, headers), "body")
        return arguments

    @staticmethod
    def _narrow(arguments: dict[str, Any]) -> None:
        """Make the caller one of the path's project. Raises Problem 403."""
        arguments["caller"] = arguments["caller"].within(arguments["project_id"])

    def _render(self, result: Any) -> Response:
        reply = result if isinstance(result, Reply) else Reply(result)
        status = reply.status or self.status
        media_type = reply.media_type or self.media_types[0]
        if status in (204, 304):
            body = ""
        elif media_type == JSON and not reply.is_encoded:
            # The adapter's own methods take 1 µs more.
            as_json = self.response.serializer.to_json
            body = as_json(reply.body, by_alias=True, warnings=False).decode()
        else:
            body = reply.body
        headers = {"Content-Type": media_type, **reply.headers}
        return TextResponse(body=body, status_code=status, headers=headers)


def endpoint(
    status: int = 200,
    sends: tuple[str, ...] = (),
    media_types: tuple[str, ...] = (JSON,),
    problems: tuple[Kind, ...] = (),
    waits_for: str | None = None,
    if_known: int | None = None,
    if_none: int | None = None,
    is_idempotent: bool = False,
) -> Callable[[Callable[..., T]], Any]:
    """Make a typed function a Chalice view.

    `sends` names the headers that its Reply may have. The first of `media_types` is what it answers
    unless its Reply names another; what is not JSON is text and is sent as it is. `problems` are
    those that its signature does not imply. `waits_for` says that a request may wait for something
    else than the database: for NEWS (`waiting`), or for somebody OUTSIDE, such as a model; or that
    it is a SCAN of many rows, which takes long. No other request waits for it then.
    `if_known` is the status that its Reply has instead if what is sent was stored before, and
    `if_none` if there is nothing to tell. A POST that `is_idempotent` may be repeated as it is: its
    Idempotency-Key changes nothing.
    """

    def decorate(function: Callable[..., T]) -> Callable[..., T | Response]:
        adapter = Endpoint(
            function, status, sends, media_types, problems, waits_for, if_known, if_none,
            is_idempotent,
        )  # fmt: skip

        @wraps(function)
        def view(*args: Any, **kwargs: Any) -> T | Response:
            request = pending_request.get()
            if request is None:
                return adapter.call(*args, **kwargs)
            pending_request.set(None)
            return adapter.respond(request, kwargs)

        view.endpoint = adapter  # type: ignore[attr-defined]
        return view

    return decorate


def _parse(adapter: TypeAdapter[Any], value: Any, *where: str) -> Any:
    """`value` as the adapter's type. Raises Problem 422 with `where` before each location."""
    try:
        return adapter.validator.validate_python(value)
    except ValidationError as error:
        raise invalid(error, value, *where) from None


def _single(params: Any) -> dict[str, Any]:
    """Query parameters by name. A repeated one keeps its list, which no type here takes."""
    if not params:
        return {}
    return {
        name: values[0] if len(values) == 1 else values
        for name in params
        for values in [params.getlist(name)]
    }


def _json(raw: bytes, headers: Mapping[str, str]) -> Any:
    """The parsed body. Raises Problem 413, 415 or 400 if it cannot be parsed."""
    if len(raw) > MAX_BODY_BYTES:
        raise Problem(PAYLOAD_TOO_LARGE, f"Send at most {MAX_BODY_BYTES:,} bytes.")
    content_type = headers.get("content-type")
    if content_type and raw:
        media_type = content_type.partition(";")[0].strip().lower()
        if media_type not in JSON_TYPES and not media_type.endswith("+json"):
            raise Problem(
                UNSUPPORTED_MEDIA_TYPE,
                f"Send the body as application/json, not {media_type}.",
                {"Accept": JSON},
            )
    try:
        return pydantic_core.from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise Problem(MALFORMED, f"The body cannot be read as JSON: {error}.") from None


def _raw(request: Request) -> bytes:
    try:
        return request.raw_body
    except UnicodeEncodeError:  # API Gateway hands over text; half a surrogate pair is none
        raise Problem(MALFORMED, "The body is not UTF-8.") from None
