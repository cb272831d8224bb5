"""What makes spans and sends them: OpenTelemetry's SDK. Only `switch` imports this module.

OpenTelemetry's idea of the current span is not used. It belongs to a thread, and a request may end
on another one.
"""

import os
import threading
import time
from collections.abc import Mapping, MutableMapping

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from db.settings import ON_LAMBDA

Attributes = Mapping[str, str | int]

END_SECONDS = 3.0  # at most, that a server waits at its end until the collector has all spans
# On Lambda a request waits until the collector has its spans, at most this long. If one has waited
# for more than SLOW_SECONDS, the next ones do not wait for a while.
LAMBDA_SECONDS = 1.0
SLOW_SECONDS = 0.25
PAUSE_SECONDS = 60.0

NO_CONTEXT = Context()
W3C = TraceContextTextMapPropagator()


class Spans:
    """Makes the spans of a process, and sends them. The SDK reads the variables OTEL_…"""

    def __init__(self, processor: SpanProcessor | None = None) -> None:
        """By default a thread sends batches. So a process that forks makes this afterwards."""
        self._is_on_lambda = bool(os.environ.get(ON_LAMBDA))
        self._flush_from = 0.0
        resource = Resource.create()
        if str(resource.attributes["service.name"]).startswith("unknown_service"):
            resource = resource.merge(Resource({"service.name": "confab"}))
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor or self._batches())
        self._tracer = self._provider.get_tracer("confab")

    def _batches(self) -> BatchSpanProcessor:
        is_given = os.environ.get("OTEL_EXPORTER_OTLP_TIMEOUT")
        seconds = LAMBDA_SECONDS if self._is_on_lambda and not is_given else None
        return BatchSpanProcessor(OTLPSpanExporter(timeout=seconds))

    def of_request(self, name: str, has: Attributes, headers: Mapping[str, str]) -> Span:
        """A server's span, in its client's if the request's headers tell of one."""
        parent = W3C.extract(headers, NO_CONTEXT) if "traceparent" in headers else NO_CONTEXT
        return self._tracer.start_span(name, parent, SpanKind.SERVER, has)

    def of_call(
        self, name: str, has: Attributes, parent: Span | None, headers: MutableMapping[str, str]
    ) -> Span:
        """The span of a request that we send, which its headers will tell."""
        span = self._tracer.start_span(name, _in(parent), SpanKind.CLIENT, has)
        W3C.inject(headers, _in(span))
        return span

    @staticmethod
    def fail(span: Span, error_type: str) -> None:
        span.set_attribute("error.type", error_type)
        span.set_status(StatusCode.ERROR)

    def end_request(self) -> None:
        """Send what there is, on Lambda: threads may be frozen from now on."""
        began = time.monotonic()
        if not self._is_on_lambda or began < self._flush_from:
            return
        self._provider.force_flush()
        ended = time.monotonic()
        if ended > began + SLOW_SECONDS:
            self._flush_from = ended + PAUSE_SECONDS

    def end(self) -> None:
        """Send what there is. A collector that is away does not hold up the end."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(END_SECONDS)


def _in(parent: Span | None) -> Context:
    return NO_CONTEXT if parent is None else set_span_in_context(parent, NO_CONTEXT)
