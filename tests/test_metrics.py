"""Tests what `/metrics` counts, who may read it, and that it is Prometheus's text."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app import app
from db import api_keys, conversations, messages, trash, user_tokens
from db.engine.database import database
from db.messages import Draft
from db.scope import EVERYTHING

from .support.clients import Answer, Api, InProcess, assert_problem, open_api
from .support.world import PROJECT

Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]


def read(answer: Answer) -> Samples:
    """The values by name and labels, but for the process."""
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found: Samples = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            labels = tuple(sorted(pair for pair in sample.labels.items() if pair[0] != "process"))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def labels(**pairs: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(pairs.items()))


def test_requests_are_counted_by_route_and_status(api: Api):
    before = read(api.get("/metrics"))
    for _ in range(3):
        api.get("/api/v1/conversations")
    api.get("/api/v1/conversations/nonsense")
    after = read(api.get("/metrics"))

    def counted(route: str, status: int) -> float:
        key = labels(method="GET", route=route, status=str(status))
        name = "confab_requests_total"
        return after[name][key] - before.get(name, {}).get(key, 0)

    assert counted("/api/v1/conversations", 200) == 3
    assert counted("/api/v1/conversations/{conversation_id}", 422) == 1
    assert counted("/metrics", 200) == 1


def test_latencies_are_a_histogram(api: Api):
    api.get("/health")
    found = read(api.get("/metrics"))
    buckets = [
        value
        for key, value in found["confab_request_seconds_bucket"].items()
        if dict(key)["route"] == "/health"
    ]
    count = found["confab_request_seconds_count"][labels(route="/health")]
    assert buckets == sorted(buckets)
    assert buckets[-1] == count >= 1
    assert found["confab_request_seconds_sum"][labels(route="/health")] > 0


@pytest.mark.usefixtures("no_chores", "either_store")
def test_the_store_is_measured():
    plain, _ = api_keys.make()
    id = conversations.start(EVERYTHING, PROJECT).id
    messages.append(EVERYTHING, id, [Draft("assistant", "So", "in_progress")])
    gone = conversations.start(EVERYTHING, PROJECT).id
    conversations.remove(EVERYTHING, gone)
    database.close()
    api = Api(InProcess(app), {"X-API-Key": plain})
    before = read(api.get("/metrics"))
    trash.purge(EVERYTHING, gone)
    database.close()
    found = read(api.get("/metrics"))
    assert found["confab_streams"][()] == 1
    assert found["confab_database_bytes"][()] > 4096
    assert found["confab_index_bytes"][()] > 0
    assert found["confab_behind"][()] >= 1
    name = "confab_purged_conversations_total"
    assert found[name][()] == before[name][()] + 1


def test_commits_and_followers_are_counted_where_the_loop_serves(api: Api, port: int):
    plain = api.headers["X-API-Key"]
    with open_api(port) as served:
        served.headers["X-API-Key"] = plain
        before = read(served.get("/metrics"))
        served.post("/api/v1/conversations", {"project_id": PROJECT})
        after = read(served.get("/metrics"))
    name = "confab_commit_requests_count"
    assert after[name][()] >= before[name][()] + 1
    assert after["confab_followers"][()] == 0


def test_only_a_key_of_all_projects_reads_it(api: Api):
    of_project, _ = api_keys.make(PROJECT)
    token, _ = user_tokens.make("alice", None, 60)
    database.close()
    bearer = {"X-API-Key": None, "Authorization": f"Bearer {token}"}
    assert_problem(api.get("/metrics", headers={"X-API-Key": None}), 401, "unauthenticated")
    assert_problem(api.get("/metrics", headers={"X-API-Key": of_project}), 403, "other-project")
    assert_problem(api.get("/metrics", headers=bearer), 403, "key-needed")


def test_an_open_stage_needs_a_key_for_it_too(api: Api, configure):
    configure(require_api_key="false")
    assert_problem(api.get("/metrics", headers={"X-API-Key": None}), 401, "unauthenticated")
