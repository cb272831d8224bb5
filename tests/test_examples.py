"""Tests that the examples of the OpenAPI document are what the routes answer."""

import json

import pytest

from handlers.http.openapi import EXAMPLES

from .support.examples import record
from .support.world import ROUTES, name_of

STORED = json.loads(EXAMPLES.read_text())


@pytest.fixture(scope="module")
def recorded() -> dict:
    return record()


@pytest.mark.parametrize("name", [name_of(route) for route in ROUTES])
def test_an_example_is_what_the_route_answers(recorded: dict, name: str):
    assert recorded[name] == STORED[name], "Run: make readme"


def test_every_operation_has_an_example_and_no_other():
    assert STORED.keys() == {name_of(route) for route in ROUTES}
