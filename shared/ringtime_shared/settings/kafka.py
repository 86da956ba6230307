"""Callbacks to Kafka topics: the cluster, and which app may write where."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from ringtime_shared.settings.coordination import HostPort

#: `APP=TOPIC`: both may hold `*`, and the topic `{app}`. Letters are those of app ids and of topics.
TopicGrant = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_*-]+=([A-Za-z0-9._*-]|\{app\})+$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """The Kafka cluster that callbacks of type `kafka` go to. Set the same values in every process."""

    bootstrap: tuple[HostPort, ...] = ()
    """Brokers to ask for the rest of the cluster, each `host:port`; empty: the callback type is not
    offered. Name several: one that answers is enough."""

    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How the brokers are spoken to: with TLS (`SSL`), with a login (`SASL`), both or neither."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """How the login is made. `PLAIN` shows the password to whoever reads along: only with TLS."""

    username: str = ""
    """User name at Kafka, for the `SASL` kinds of security."""

    password: str = field(default="", repr=False)
    """Password at Kafka."""

    ca_file: str = ""
    """Certificates that the brokers' own must be signed by, a PEM file; empty: those the machine trusts."""

    cert_file: str = ""
    """Client certificate, a PEM file; goes with `key_file`."""

    key_file: str = ""
    """Key of the client certificate, a PEM file."""

    topics: tuple[TopicGrant, ...] = ("*={app}.*",)
    """Which app may write to which topics, `APP=TOPIC` each; `*` stands for any characters and `{app}`
    for the app's id. By default topics that begin with the app's id and a dot. Topics that begin with
    two underscores are Kafka's own: no entry opens them."""

    deadline_ms: Annotated[int, Meta(ge=100, le=600_000)] = 30_000
    """Time for one attempt from hand-over to acknowledgement, in milliseconds. Long enough for a partition
    to get a new leader, which fails no attempt then; the client library itself waits for ever."""

    max_record_bytes: Annotated[int, Meta(ge=1_024, le=104_857_600)] = 1_048_576
    """Largest record in bytes: payload, key and headers; batches of records grow to half of it. As large as
    brokers take by default: set what yours take. Holds `limits.max_payload_bytes` and 16 KiB more."""

    linger_ms: Annotated[int, Meta(ge=0, le=1_000)] = 0
    """How long a record waits for others to share its request, in milliseconds. Records that come while a
    request is under way share the next one anyway, so under load this gains nothing."""

    compression: Literal["none", "gzip", "lz4", "zstd"] = "none"
    """Compression of what is sent. `lz4` and `zstd` need the package `cramjam`."""

    breaker_open_ms: Annotated[int, Meta(ge=1_000, le=3_600_000)] = 5_000
    """For topics instead of `dispatch.breaker_open_ms`: how long one in trouble is left alone before one
    record is sent to see, in milliseconds. Brokers are your own and take a question every few seconds."""

    park_per_s: Annotated[int, Meta(ge=1, le=10_000)] = 1_000
    """For topics instead of `dispatch.park_per_s`: rows a second that are filed for later for one topic of
    one app, and so the rate at which they come back."""

    max_in_flight: Annotated[int, Meta(ge=1, le=100_000)] = 2_000
    """Records handed over and not acknowledged on one node; more wait. Bounds memory."""

    completeness_topic: Annotated[str, Meta(pattern=r"^([A-Za-z0-9._-]{1,249})?$")] = ""
    """Topic that is told how far everything that was due has its outcome: a record of an app, or of all, when
    that has moved, at most 200 a round of `dispatch.completeness_s`; empty: none. Give it
    `cleanup.policy=compact`, and no app a grant for it."""
