"""The service itself: is it well, and what does it serve."""

from dataclasses import dataclass
from typing import Any, Literal

from chalice.app import Blueprint

from db import startup

from .http.endpoint import ANY, endpoint

routes = Blueprint(__name__)


@dataclass(slots=True)
class Health:
    status: Literal["ok"]
    database: str
    schema: str | None


@routes.route("/health", methods=["GET"], content_types=ANY)
@endpoint()
def health() -> Health:
    """Whether the database answers, which engine it is, and its newest migration."""
    found = startup.health()
    return Health(status="ok", database=found.engine, schema=found.schema)


@routes.route("/openapi.json", methods=["GET"], content_types=ANY)
@endpoint()
def openapi() -> dict[str, Any]:
    """This API as OpenAPI 3.1, made from the routes that serve it."""
    # Cold start: 12 ms, and most processes are never asked for it.
    from .http.openapi import describe

    return describe(routes.current_app)
