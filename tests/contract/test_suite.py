"""Tests that every target runs all contract tests."""

from collections import Counter

import pytest

from .conftest import TARGETS


def test_every_target_runs_the_whole_suite(request: pytest.FixtureRequest):
    folder = request.path.parent
    tests = Counter(
        item.callspec.params["target"]
        for item in request.session.items
        if item.path.parent == folder and item is not request.node
    )
    assert list(tests) == TARGETS
    assert len(set(tests.values())) == 1
