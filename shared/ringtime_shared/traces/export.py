"""Where spans go: the one place that knows the SDK of OpenTelemetry.

Nothing of OpenTelemetry is imported by a process that makes no spans: its API alone takes 60 ms and 7 MB.
"""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING

from ringtime_shared.errors import StartupError
from ringtime_shared.settings import TracingSettings

if TYPE_CHECKING:
    from ringtime_shared.traces.spans import Spans

_NAME = "ringtime"
_QUEUED = 2_048  #: spans that wait to be sent; more are dropped
_SEND_MS = 5_000  #: what one request may take, and the last one at the end


def open_spans(settings: TracingSettings, service: str, node: str = "") -> Spans | None:
    """Return what makes spans, closed by whoever asked; None: nothing does. Raises StartupError if the SDK is
    not installed.

    Args:
        service: the name of this process's part in the traces.
        node: which of its processes this is.
    """
    if not settings.enabled:
        return None
    from opentelemetry import trace as otel

    from ringtime_shared.traces.spans import Spans

    if not settings.endpoint:
        return Spans(otel.get_tracer(_NAME), settings)
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON
    except ModuleNotFoundError:
        raise StartupError("tracing.enabled needs pip install 'ringtime[otel]'") from None
    about = {"service.name": service} | ({"service.instance.id": node} if node else {})
    provider = TracerProvider(  # what is begun is wanted
        sampler=ALWAYS_ON, resource=Resource.create(about), shutdown_on_exit=False
    )
    exporter = OTLPSpanExporter(settings.endpoint, timeout=_SEND_MS / 1_000)
    provider.add_span_processor(
        BatchSpanProcessor(exporter, max_queue_size=_QUEUED, export_timeout_millis=_SEND_MS)
    )

    def close() -> None:
        closing = Thread(target=provider.shutdown, name="send the last spans", daemon=True)
        closing.start()
        closing.join(_SEND_MS / 1_000)  # a collector that is away keeps nobody from ending

    return Spans(provider.get_tracer(_NAME), settings, close=close)
