"""The console and the reference, on every target."""

import pytest

from tests.support.clients import Api
from tests.support.pages import files_of


@pytest.mark.parametrize("name", ["console", "docs"])
def test_a_page_comes_with_all_its_files(api: Api, name: str):
    page = api.get(f"/{name}", headers={"X-API-Key": None})
    assert page.headers["content-type"] == "text/html"
    assert page.headers["content-security-policy"].startswith("default-src 'self'; ")
    files = files_of(page)
    assert len(files) >= 5
    for file in files:
        answer = api.get(f"/{file}", headers={"X-API-Key": None})
        assert answer.status == 200
        assert answer.headers["cache-control"].endswith("immutable")
