"""Spans of creates and of callbacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingSettings:
    """Spans of creates and of callbacks, by OpenTelemetry; see [traces.md](traces.md). Set the same values
    for every process. Without any, a `traceparent` that comes with a create goes on with its callbacks."""

    enabled: bool = False
    """Whether spans are made. It takes `pip install 'ringtime[otel]'`, unless `tracing.endpoint` is empty."""

    endpoint: Annotated[str, Meta(pattern=r"^(https?://[!-~]+)?$", max_length=1_000)] = (
        "http://localhost:4318/v1/traces"
    )
    """Where spans are sent by OTLP over HTTP; a key for it goes into `OTEL_EXPORTER_OTLP_HEADERS`. Empty: to
    the tracer provider that the program around the library has set up, and to nowhere without one."""

    share: Annotated[float, Meta(ge=0, le=1)] = 0.01
    """Which share of the creates without a `traceparent`, and of the runs of recurring schedules, has spans.
    Others have them if their `traceparent` says that it is sampled."""

    max_per_second: Annotated[int, Meta(ge=1, le=100_000)] = 200
    """How many spans a process makes in a second at most, whatever clients ask for. What is over goes
    without."""
