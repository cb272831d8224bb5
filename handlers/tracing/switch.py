"""Whether this process makes spans: if OTEL_EXPORTER_OTLP_ENDPOINT is set.

Else nothing of OpenTelemetry is imported, and a request pays 0.01 µs. A span takes 24 µs of the
request's thread, or 30 if a client's span is its parent, and 20 µs of the thread that sends it. (A
get of a conversation takes 62 µs without.)

A span has no text, title, key, user or path, as the log has none: whoever makes it says what it
has, and of an error it has a word.
"""

import os
from contextvars import ContextVar
from typing import TYPE_CHECKING

from db.settings import ON_LAMBDA, SettingsError, settings, stop

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from .spans import Spans

spans: "Spans | None" = None  # what makes them, or None
# The span of the request that this thread answers.
current: "ContextVar[Span | None]" = ContextVar("current", default=None)


def prepare() -> None:
    """Import what spans need, if they are wanted. If it is missing, one sentence ends the process.

    Lambda begins here. Servers begin in each worker.
    """
    if settings().otel_exporter_otlp_endpoint is None:
        return
    try:
        # Cold start: 100 ms with what `begin` makes, where spans are wanted.
        from .spans import Spans  # noqa: F401
    except ImportError:
        advice = "install deploy/requirements-tracing.txt, on Lambda as a layer, or unset it"
        stop(SettingsError(f"OTEL_EXPORTER_OTLP_ENDPOINT needs OpenTelemetry: {advice}."))
    if os.environ.get(ON_LAMBDA):
        begin()


def begin() -> None:
    """Make spans from now on, if they are wanted."""
    global spans
    if settings().otel_exporter_otlp_endpoint is None or spans is not None:
        return
    # Cold start: 100 ms, as above.
    from .spans import Spans

    spans = Spans()


def end() -> None:
    """Make no more spans, and send those that there are."""
    global spans
    if spans is not None:
        ended, spans = spans, None
        ended.end()
