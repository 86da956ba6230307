"""What a process measures, and who may read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """Metrics, each process on a port of its own."""

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    """Address at which Prometheus reads `/metrics`. Beyond this machine not without TLS, of
    `server.cert_file`, and a token or clients' certificates (`server.client_ca_file`), unless
    `access.gateway` is set."""

    port: Annotated[int, Meta(ge=0, le=65_535)] = 0
    """TCP port of `/metrics`; 0: there is none. With `ingest.workers` each has its own, from this one on."""

    token: Annotated[str, Meta(pattern=r"^([!-~]{16,1000})?$")] = field(default="", repr=False)
    """What Prometheus sends as its `authorization`, at this port: 16 characters or more. No API key, so that
    it is let in while the store is away. Empty: nothing is asked for."""

    apps: Annotated[int, Meta(ge=0, le=200)] = 50
    """How many apps have series of their own, the busiest; all others are one. Each costs some 15 series."""

    goscheduler: bool = False
    """Whether goscheduler's names are exported too, for dashboards that were made for it."""

    statsd_host: str = ""
    """Where everything is sent to by UDP as well, in statsd's format with Datadog's tags; needs `[statsd]`.
    Empty: nowhere."""

    statsd_port: Annotated[int, Meta(ge=1, le=65_535)] = 8_125
    """Its UDP port."""

    statsd_every_s: Annotated[float, Meta(ge=1, le=600)] = 10.0
    """Time in seconds between two of these sendings."""
