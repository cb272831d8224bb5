"""The API's page, OpenAPI 3.1, made from the routes and the types that serve."""

from typing import Any


def describe(app: Any) -> dict[str, Any]:
    return {}
