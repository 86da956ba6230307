"""The HTTP server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How clients reach the API, and how much of it they may use at once."""

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    """Address to listen on. This machine only, because the API knows no users: put a gateway in front
    before you open it to a network."""

    port: Annotated[int, Meta(ge=0, le=65_535)] = 8080
    """TCP port to listen on; 0 takes a free one. The variable `PORT` sets it too, and wins over
    `RINGTIME_SERVER_PORT`."""

    max_body_bytes: Annotated[int, Meta(ge=65_536, le=8_388_608)] = 262_144
    """Largest request body, in bytes; a larger one is refused while it is read. Holds six times
    `limits.max_payload_bytes`, as JSON may write each byte of a payload as six, and 65,536 for the rest."""

    max_reading_bytes: Annotated[int, Meta(ge=65_536, le=1_073_741_824)] = 67_108_864
    """Bytes of request bodies in memory at once while they arrive; a request that would need more is answered
    503. Holds `max_body_bytes`. Bounds what slow senders of large bodies cost."""

    max_json_depth: Annotated[int, Meta(ge=4, le=200)] = 32
    """Deepest nesting of objects and lists in a request body. A create is four deep; deep nesting costs a
    parser far more than its bytes."""

    read_deadline_s: Annotated[float, Meta(ge=0.1, le=300)] = 10.0
    """Time in seconds for a whole request body to arrive, so that slow senders hold no connection."""

    max_concurrency: Annotated[int, Meta(ge=1, le=100_000)] = 1_000
    """Requests in progress at once; one more is answered 503. Keeps the wait of those inside bounded."""

    drain_s: Annotated[float, Meta(ge=0, le=600)] = 25.0
    """Time in seconds for requests in progress to end after SIGTERM. Under the 30 s most supervisors
    leave before SIGKILL."""

    created_http_status: Literal[200, 201] = 200
    """HTTP status of a successful create. The API that clients were written for answers 200 with 201 in
    the body; 201 is what HTTP asks for."""
