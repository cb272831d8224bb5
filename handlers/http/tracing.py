"""A request's span, by OpenTelemetry's conventions for HTTP servers.

A path has ids and keys, and a query has words. So the span has the route's pattern instead of them.
"""

from typing import TYPE_CHECKING

from chalice.app import Request

from ..tracing import switch

if TYPE_CHECKING:
    from opentelemetry.trace import Span

UNTRACED = "/health"  # it is asked every few seconds, and would be most of the spans


def begin_span(request: Request, request_id: str) -> "Span | None":
    """The span of a request, in its client's span if it tells of one. None if it has none."""
    spans = switch.spans
    if spans is None or request.path == UNTRACED:
        return None
    headers = request.headers
    span = spans.of_request(
        f"{request.method} {request.path}",
        {
            "http.request.method": request.method,
            "http.route": request.path,
            # A proxy says how it was asked. Our own servers have no TLS.
            "url.scheme": "https" if headers.get("x-forwarded-proto") == "https" else "http",
            "confab.request_id": request_id,
        },
        headers,
    )
    switch.current.set(span)
    return span


def end_span(span: "Span", status: int) -> None:
    """End the span of a request, which was answered with that status."""
    if (spans := switch.spans) is None:  # the server has ended
        return
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        spans.fail(span, str(status))
    span.end()
    spans.end_request()
