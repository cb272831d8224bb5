"""One function for each route: what the template says, and that each keeps to its own."""

from collections.abc import Callable

from .clients import Api, assert_problem


def test_a_function_for_one_route_serves_it(api: Api, configure: Callable[..., None]):
    configure(only_route="GET /health")
    assert api.get("/health").status == 200


def test_a_function_for_one_route_refuses_another_routes_event_and_names_both(
    api: Api, configure: Callable[..., None]
):
    configure(only_route="GET /health")
    problem = assert_problem(api.get("/openapi.json"), 421, "misdirected-request")
    assert "GET /health" in problem["detail"]
    assert "GET /openapi.json" in problem["detail"]
