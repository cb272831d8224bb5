"""Tests the template with one function per route, and that each serves only its route."""

from collections.abc import Callable
from typing import Any

import pytest
from chalice.config import Config

from app import app
from deploy.per_function import ConfigError, NotDivisible, divide

from .support.api_gateway import function_of
from .support.clients import Api, assert_problem
from .support.packages import Package, functions_of, integrations

Divide = Callable[..., dict[str, Any]]


@pytest.fixture
def divided(package: Callable[[str], Package]) -> Divide:
    """`divided(chat={…})` divides the packaged template with these `lambda_functions`."""

    def divide_by(**lambda_functions: dict[str, Any]) -> dict[str, Any]:
        config = Config(
            chalice_stage="prod",
            user_provided_params={"chalice_app": app},
            config_from_disk={
                "stages": {"prod": {"lambda_timeout": 30, "lambda_functions": lambda_functions}}
            },
        )
        return divide(package("prod").template("sam.json"), config)

    return divide_by


def test_every_route_has_its_own_function_that_knows_the_route(divided: Divide):
    template = divided()
    functions = functions_of(template)
    served = {
        function_of(integration): f"{method} {path}"
        for (path, method), integration in integrations(template).items()
    }
    told = {
        name: function["Properties"]["Environment"]["Variables"]["ONLY_ROUTE"]
        for name, function in functions.items()
    }
    assert served == told
    assert len(told) == sum(len(methods) for methods in app.routes.values())


def test_every_function_has_its_own_name_and_shares_the_zip(divided: Divide):
    functions = [function["Properties"] for function in functions_of(divided()).values()]
    assert len({str(function["FunctionName"]) for function in functions}) == len(functions)
    assert {function["CodeUri"] for function in functions} == {"./deployment.zip"}


def test_a_routes_settings_are_looked_up_by_its_view_functions_name(divided: Divide):
    template = divided(
        chat={
            "lambda_memory_size": 1024,
            "reserved_concurrency": 5,
            "environment_variables": {"CHAT_TIMEOUT": "20"},
            "tags": {"team": "models"},
        }
    )
    chat = functions_of(template)["Chat"]["Properties"]
    assert chat["MemorySize"] == 1024
    assert chat["Timeout"] == 30
    assert chat["ReservedConcurrentExecutions"] == 5
    assert chat["Environment"]["Variables"]["CHAT_TIMEOUT"] == "20"
    assert chat["Environment"]["Variables"]["REQUIRE_API_KEY"] == "true"
    assert chat["Tags"]["team"] == "models"
    health = functions_of(template)["Health"]["Properties"]
    assert health["MemorySize"] == 512
    assert "CHAT_TIMEOUT" not in health["Environment"]["Variables"]


@pytest.mark.parametrize(
    ("lambda_functions", "sentence"),
    [
        ({"chatt": {}}, "there is no route function chatt."),
        ({"chat": {"memory": 1024}}, "chat cannot set memory."),
    ],
)
def test_a_mistake_in_lambda_functions_is_reported(
    lambda_functions: dict[str, Any], sentence: str, divided: Divide
):
    with pytest.raises(ConfigError, match=sentence):
        divided(**lambda_functions)


def test_a_limit_on_all_instances_together_cannot_be_divided(package: Callable[[str], Package]):
    config = Config(chalice_stage="efs", user_provided_params={"chalice_app": app})
    with pytest.raises(NotDivisible):
        divide(package("efs").template("sam.json"), config)


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
