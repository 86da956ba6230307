"""The commit path: from a valid create to an acknowledged one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestSettings:
    """How creates are placed, batched and checked. Set the same values in every process."""

    commit_margin_ms: Annotated[int, Meta(ge=50, le=10_000)] = 600
    """Least distance from now to the slot a row is filed under, in milliseconds. What takes
    longer to write may be late by as much and a tick; must be more than `dispatch.read_ahead_ms`."""

    write_deadline_ms: Annotated[int, Meta(ge=100, le=60_000)] = 5_000
    """Time in milliseconds for one flush to be written, tries included; after that the client is told
    that the outcome is unknown."""

    flush_rows: Annotated[int, Meta(ge=1, le=10_000)] = 500
    """Most rows in one flush. Larger ones save little and make the last row wait."""

    commit_lanes: Annotated[int, Meta(ge=1, le=64)] = 2
    """Flushes under way at once. One lane makes the largest groups; more help a store that is far away.
    Single creates begin another where a whole flush of them waits, or where the last one has been out for
    50 ms. In one process there is always one."""

    near_ms: Annotated[int, Meta(ge=60_000, le=3_600_000)] = 90_000
    """Rows whose slot is nearer than this, in milliseconds, are checked against `sealed` after the write.
    At least a minute, by which clocks may differ, and `write_deadline_ms` together."""

    map_age_ms: Annotated[int, Meta(ge=500, le=600_000)] = 10_000
    """Oldest map of an app's partitions, in milliseconds, that a create may be acknowledged on. A resize
    waits longer than this before it releases a partition."""

    chunk_rows: Annotated[int, Meta(ge=1, le=10_000)] = 100
    """Rows of one bucket filed in one partition before the next partition is taken. Fewer spread a
    small bucket wider; more wake fewer poller instances."""

    max_pending: Annotated[int, Meta(ge=1, le=1_000_000)] = 20_000
    """Creates that wait for a flush; one more is answered 503. Bounds memory when the store is slow."""

    idempotency_hours: Annotated[int, Meta(ge=1, le=168)] = 24
    """How long an idempotency key stands for the schedule that was created with it, in hours; no longer than
    the schedule can be read."""

    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    """Processes of one `ringtime-ingest` that share its port; one uses one core. Each has connections to
    Cassandra and metrics of its own, and all limits of `server` and `ingest` hold for each of them. May
    differ from pod to pod."""
