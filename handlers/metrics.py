"""Metrics: what a process has done, in Prometheus's text format."""

import os
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from chalice.app import Blueprint

from db import statistics
from db.counters import PURGED, counted

from .http import metrics
from .http.caller import Operator
from .http.endpoint import ANY, SCAN, Reply, endpoint
from .http.metrics import Histogram

routes = Blueprint(__name__)

TEXT = "text/plain; version=0.0.4; charset=utf-8"


@routes.route("/metrics", methods=["GET"], content_types=ANY)
@endpoint(media_types=(TEXT,), waits_for=SCAN)
def tell_metrics(caller: Operator) -> Reply[str]:
    """What this process has done since it began, and the size of the store, for Prometheus.

    It needs a key for all projects. Several workers have each their own figures, told apart by the
    label `process`: an answer has those of one of them.
    """
    # Cold start: 31 ms, and most processes are never asked.
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector())
    return Reply(generate_latest(registry).decode())


class _Collector:
    """Makes families of metrics of what was counted."""

    def collect(self) -> Iterator[Any]:
        # Cold start: 31 ms, as above.
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        process = str(os.getpid())
        labels = ["process", "method", "route", "status"]
        requests = CounterMetricFamily("confab_requests", "Requests.", labels=labels)
        for (method, route, status), count in list(metrics.requests.items()):
            requests.add_metric([process, method, route, str(status)], count)
        yield requests
        latency = HistogramMetricFamily(
            "confab_request_seconds",
            "What requests took, with their wait for news.",
            labels=["process", "route"],
        )
        for route, histogram in list(metrics.latencies.items()):
            latency.add_metric([process, route], _buckets(histogram), histogram.sum)
        yield latency
        group = HistogramMetricFamily(
            "confab_commit_requests", "Requests in a commit, on SQLite.", labels=["process"]
        )
        group.add_metric([process], _buckets(metrics.commits), metrics.commits.sum)
        yield group
        purged = CounterMetricFamily(
            "confab_purged_conversations", "Conversations purged.", labels=["process"]
        )
        purged.add_metric([process], counted[PURGED])
        yield purged
        for name, value in metrics.gauges.items():
            gauge = GaugeMetricFamily(f"confab_{name}", "Requests that wait.", labels=["process"])
            gauge.add_metric([process], value())
            yield gauge
        figures = statistics.figures()
        for name, about in (
            ("database_bytes", "The size of the store."),
            ("index_bytes", "The size of the search index, a part of it."),
            ("behind", "Conversations that the search index does not have as they are."),
            ("streams", "Messages that are being written."),
        ):
            yield GaugeMetricFamily(f"confab_{name}", about, value=getattr(figures, name))


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """The counts up to each bound, as Prometheus has them."""
    bounds = [*map(str, histogram.bounds), "+Inf"]
    return [*zip(bounds, accumulate(histogram.counts), strict=True)]
