"""The service itself: is it well, and what does it serve."""

from dataclasses import dataclass
from typing import Any, Literal

from chalice.app import Blueprint

from db import schema
from db.database import database

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
    return Health(status="ok", database=database.obj.engine, schema=schema.version(database.obj))


@routes.route("/openapi.json", methods=["GET"], content_types=ANY)
@endpoint()
def openapi() -> dict[str, Any]:
    """This API as OpenAPI 3.1, made from the routes that serve it."""
    # Most processes are never asked for it, and each would pay for its import at a cold start.
    from .http.openapi import describe

    return describe(routes.current_app)
