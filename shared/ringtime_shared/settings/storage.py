"""Where schedules are kept: a Cassandra cluster, or a folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class CassandraSettings:
    """The Cassandra cluster. Not used by the one-process product."""

    contact_points: Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1)] = (
        "127.0.0.1",
    )
    """Hosts to ask for the rest of the cluster. Name several: one that answers is enough."""

    port: Annotated[int, Meta(ge=1, le=65_535)] = 9042
    """Port of the native protocol, the same on every host."""

    keyspace: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,47}$")] = "ringtime"
    """Keyspace that holds the tables."""

    local_dc: Annotated[str, Meta(min_length=1)] = "datacenter1"
    """The datacenter this process talks to; quorums are counted in it."""

    replication: str = '{"class": "NetworkTopologyStrategy", "replication_factor": 1}'
    """Replication of the keyspace when it is created, JSON. One copy, for one machine; take 3 wherever
    rows must outlive a machine."""

    consistency: Literal["LOCAL_QUORUM", "QUORUM"] = "LOCAL_QUORUM"
    """Consistency of reads and writes. Nothing weaker is offered: a read must see every acknowledged
    write, or rows are lost."""

    request_timeout_ms: Annotated[int, Meta(ge=50, le=60_000)] = 2_000
    """Time for one answer, in milliseconds. Twice this fits in `ingest.write_deadline_ms`, so a write
    that got no answer is tried once more."""

    io: Literal["loop", "driver"] = "loop"
    """How statements travel: `loop`, on the event loop of the service, several times cheaper; or `driver`,
    through the Cassandra driver's own thread, should the other way ever be in doubt."""

    receipts: bool = True
    """Whether what is filed is told beside its row, by which `ringctl audit-fires` misses a row that is gone.
    Off saves a small write in the row's partition of each create, and rows that are gone from then on are not
    missed."""

    username: str = ""
    """User name at Cassandra; empty: no login."""

    password: str = field(default="", repr=False)
    """Password at Cassandra."""

    ca_file: str = ""
    """Certificates that the servers' own must be signed by, a PEM file; empty: no TLS."""

    cert_file: str = ""
    """Client certificate, a PEM file; goes with `key_file`."""

    key_file: str = ""
    """Key of the client certificate, a PEM file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedSettings:
    """The one-process product."""

    data: str = ""
    """Folder of the SQLite store; empty: rows live in memory and end with the process."""

    loopback_callbacks: bool = True
    """Development mode: callbacks may reach this machine (127.0.0.0/8 and ::1) on any port. Switch it off
    where others than you create schedules."""

    receipts: bool = True
    """Whether what is filed is told beside its row, by which `ringctl audit-fires` misses a row that is gone.
    Off saves a few microseconds of each create, and rows that are gone from then on are not missed."""

    checkpoint_ms: Annotated[int, Meta(ge=100, le=3_600_000)] = 5_000
    """How long a write may rest in SQLite's log alone before it is moved to the database, in milliseconds.
    Two flushes each time; what is in both outlives damage to the log."""

    check_ms: Annotated[int, Meta(ge=0, le=600_000)] = 1_000
    """Time at a start for SQLite's check of the database's pages, in milliseconds; a large database is then
    checked in part, `ringctl doctor` checks all of it. 0: none, also to start on a database whose damage
    you know."""

    reserve_bytes: Annotated[int, Meta(ge=0, le=1 << 40)] = 4_194_304
    """Space kept free for outcomes on a full disk, in bytes; new schedules are refused before it is used.
    0: none, and a start on a full disk fails."""
