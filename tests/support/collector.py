"""A collector of spans, which takes what OpenTelemetry's exporter sends and keeps it."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

KINDS = {Span.SPAN_KIND_SERVER: "SERVER", Span.SPAN_KIND_CLIENT: "CLIENT"}


class Told(NamedTuple):
    """A span that arrived."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str  # "" if it has none
    attributes: dict[str, Any]
    is_error: bool
    seconds: float
    service: str


class Collector:
    """Answers each export as `answer` says, by default at once and with a 200."""

    def __init__(self, answer: Callable[[], int] = lambda: 200) -> None:
        self.bodies: list[bytes] = []
        self._answer = answer
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def raw(self) -> bytes:
        return b"".join(self.bodies)

    @property
    def spans(self) -> list[Told]:
        """All spans, in the order in which they ended."""
        return [
            _told(span, _values(of_process.resource.attributes).get("service.name"))
            for body in list(self.bodies)
            for of_process in ExportTraceServiceRequest.FromString(body).resource_spans
            for of_scope in of_process.scope_spans
            for span in of_scope.spans
        ]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                assert self.headers["Content-Type"] == "application/x-protobuf"
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = collector._answer()
                if status == 200:
                    collector.bodies.append(body)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        return Handler


def _told(span: Any, service: Any) -> Told:
    return Told(
        span.name,
        KINDS[span.kind],
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        _values(span.attributes),
        span.status.code == span.status.STATUS_CODE_ERROR,
        (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        service,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in attributes}
