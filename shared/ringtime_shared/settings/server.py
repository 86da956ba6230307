"""The HTTP server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How clients reach the API, and how much of it they may use at once."""

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    """Address to listen on. This machine only, unless said otherwise: see `access.keys` before you open it
    to a network."""

    port: Annotated[int, Meta(ge=0, le=65_535)] = 8080
    """TCP port to listen on; 0 takes a free one. The variable `PORT` sets it too, and wins over
    `RINGTIME_SERVER_PORT`."""

    cert_file: str = ""
    """Certificate of this server, followed by those between it and its root, a PEM file; goes with
    `key_file`. Empty: plain HTTP. Both are read again when they change: connections made after that have the
    new certificate. The HTTP server of a dispatcher, for health checks, has it too."""

    key_file: str = ""
    """Key of the certificate, a PEM file without a password."""

    client_ca_file: str = ""
    """Certificates that a client's own must be signed by, a PEM file; empty: clients need none. Also whoever
    asks for `/health` needs one then."""

    hosts: tuple[str, ...] = ()
    """Names that clients may use for this service in `Host`, without port, beside `localhost` and the
    address they reach it at; also whose web pages may call it. Where it listens on a loopback address other
    names are refused, so that no web page reaches it by a name of its own; elsewhere only if names are set
    here. Behind a gateway name the `Host` that the gateway sends, and the public name of its pages if they
    call the API."""

    max_connections: Annotated[int, Meta(ge=10, le=100_000)] = 4_096
    """Connections open at once, but no more than the clients' share of the file descriptors that the process
    may open, 448 of 1,024. For one more the one is closed that has gone longest without a whole request."""

    max_head_bytes: Annotated[int, Meta(ge=1_024, le=1_048_576)] = 32_768
    """Largest request line and headers together, in bytes; more is answered 431."""

    max_body_bytes: Annotated[int, Meta(ge=65_536, le=8_388_608)] = 262_144
    """Largest request body, in bytes; a larger one is refused while it is read. Holds six times
    `limits.max_payload_bytes`, as JSON may write each byte of a payload as six, and 65,536 for the rest."""

    max_batch_bytes: Annotated[int, Meta(ge=65_536, le=67_108_864)] = 4_194_304
    """Largest body of a batch of creates, in bytes: 1,000 of 4 KiB. Each of them has `max_body_bytes`, too.
    Never less than `max_body_bytes`, nor more than `max_reading_bytes`."""

    max_reading_bytes: Annotated[int, Meta(ge=65_536, le=1_073_741_824)] = 33_554_432
    """Bytes of requests in memory at once while they arrive, over all connections. Holds `max_body_bytes`.
    For more, the connections are closed that have gone longest without a whole request, with a 503. Bounds
    what slow senders of large bodies cost."""

    max_json_depth: Annotated[int, Meta(ge=4, le=200)] = 32
    """Deepest nesting of objects and lists in a request body. A create is four deep; deep nesting costs a
    parser far more than its bytes."""

    head_deadline_s: Annotated[float, Meta(ge=0.1, le=300)] = 10.0
    """Time in seconds for request line and headers to arrive, from their first byte; before that, with
    `cert_file`, for the TLS handshake."""

    read_deadline_s: Annotated[float, Meta(ge=0.1, le=300)] = 10.0
    """Time in seconds for a whole request body to arrive, so that slow senders hold no connection."""

    write_deadline_s: Annotated[float, Meta(ge=0.1, le=300)] = 30.0
    """Time in seconds for a client to read its answer, so that those who do not hold no memory."""

    idle_deadline_s: Annotated[float, Meta(ge=0.1, le=3_600)] = 75.0
    """Time in seconds that a connection may stay open between two requests, or before the first."""

    max_concurrency: Annotated[int, Meta(ge=1, le=100_000)] = 1_000
    """Requests in progress at once; one more is answered 503. Keeps the wait of those inside bounded. A
    batch of creates counts as one for each 4 KiB of its body, one of cancels as the 50 that it does at once;
    batches have half of these places, one of them at most a quarter."""

    max_key_concurrency: Annotated[int, Meta(ge=1, le=100_000)] = 500
    """Requests in progress at once with one API key; one more is answered 429. Less than `max_concurrency`,
    so that the client of one key leaves places for others."""

    security_contacts: tuple[Annotated[str, Meta(pattern=r"^(mailto:|https://|tel:)[!-~]{1,500}$")], ...] = ()
    """Whom to tell of a weakness of this service, the best first, as `mailto:security@example.org` or
    `https://...`: told to anybody by `/.well-known/security.txt` (RFC 9116). Empty: nobody is told."""

    security_expires: Annotated[str, Meta(pattern=r"^([0-9]{4}-[0-9]{2}-[0-9]{2})?$")] = ""
    """The day on which the contacts are no longer to be relied upon, as `2027-06-30`, best within a year.
    Needed with contacts."""

    drain_s: Annotated[float, Meta(ge=0, le=600)] = 25.0
    """Time in seconds for requests in progress to end after SIGTERM. Under the 30 s most supervisors
    leave before SIGKILL."""

    created_http_status: Literal[200, 201] = 200
    """HTTP status of a successful create. The API that clients were written for answers 200 with 201 in
    the body; 201 is what HTTP asks for."""

    @property
    def scheme(self) -> str:
        """Return what URLs of this server begin with."""
        return "https" if self.cert_file else "http"

    @property
    def most_batch_bytes(self) -> int:
        """Return the largest body of a batch of creates."""
        return max(min(self.max_batch_bytes, self.max_reading_bytes), self.max_body_bytes)
