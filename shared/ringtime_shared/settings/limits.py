"""What an app gets when it asks for nothing, and the most it may ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class AppLimits:
    """Defaults and maxima of an app's configuration: `X` stands in where an app sets none, and `max_X`
    bounds what it may set."""

    partitions: Annotated[int, Meta(ge=1, le=65_536)] = 5
    """Partitions of an app that names no number. One serves about 1,000 callbacks a minute."""

    max_partitions: Annotated[int, Meta(ge=1, le=65_536)] = 4_096
    """Most partitions of one app; an id has 16 bits for the partition, so 65,536 is the end."""

    max_apps: Annotated[int, Meta(ge=1, le=1_000_000)] = 20_000
    """Most apps in all. Beyond it nothing is registered; what there is goes on."""

    max_partitions_in_all: Annotated[int, Meta(ge=1, le=10_000_000)] = 100_000
    """Most partitions of all apps together: each costs memory on the node that owns it, and a write a
    minute. Beyond it no app is registered and none gets more; what there is goes on. Pods that register at
    the same moment may pass it by what they register then."""

    max_recurring_schedules: Annotated[int, Meta(ge=1, le=1_000_000)] = 20_000
    """Most recurring schedules of one app, those included that were deleted until the store has forgotten
    their runs. Beyond it none is made; what there is goes on. Pods that create at the same time may pass it
    by what they create within an hour."""

    max_calendars: Annotated[int, Meta(ge=1, le=1_000)] = 100
    """Most exclusion calendars of one app, those included that were deleted within an hour."""

    future_period_days: Annotated[int, Meta(ge=1, le=36_600)] = 30
    """How far ahead a fire time may lie, in days."""

    max_future_period_days: Annotated[int, Meta(ge=1, le=36_600)] = 3_660
    """Most an app may set for `future_period_days`: ten years."""

    retention_days: Annotated[int, Meta(ge=1, le=3_660)] = 10
    """How long a schedule can be read after its fire time, in days; then the store forgets it."""

    max_retention_days: Annotated[int, Meta(ge=1, le=3_660)] = 366
    """Most an app may set for `retention_days`: a year, as every kept row costs disk."""

    payload_bytes: Annotated[int, Meta(ge=1, le=1_048_576)] = 1_024
    """Largest payload, in bytes of UTF-8."""

    max_payload_bytes: Annotated[int, Meta(ge=1, le=1_048_576)] = 32_768
    """Most an app may set for `payload_bytes`; `server.max_body_bytes` and `kafka.max_record_bytes` must have
    room for it. Large payloads fill a bucket before its 10,000 rows do."""

    http_attempts: Annotated[int, Meta(ge=1, le=100)] = 3
    """Attempts of one delivery, the first included."""

    max_http_attempts: Annotated[int, Meta(ge=1, le=100)] = 10
    """Most an app may set for `http_attempts`."""

    http_timeout_ms: Annotated[int, Meta(ge=1, le=600_000)] = 2_000
    """Total deadline of one HTTP attempt, in milliseconds: name lookup, connect, send and answer."""

    max_http_timeout_ms: Annotated[int, Meta(ge=1, le=600_000)] = 60_000
    """Most an app may set for `http_timeout_ms`; a slow destination holds its permit so long."""

    requests_per_second: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    """Requests about one app in a second, over all pods; more are answered 429. None: no limit."""

    max_requests_per_second: Annotated[int, Meta(ge=1, le=1_000_000)] = 1_000_000
    """Most an app may set for `requests_per_second`. Whoever may configure an app may set up to this."""

    creates_per_second: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    """Schedules that one app may create in a second, over all pods; more are answered 429. A batch counts as
    its items. None: no limit."""

    max_creates_per_second: Annotated[int, Meta(ge=1, le=1_000_000)] = 1_000_000
    """Most an app may set for `creates_per_second`."""

    payload_bytes_per_second: Annotated[int, Meta(ge=1, le=1_073_741_824)] | None = None
    """Bytes of payload that one app may create in a second, over all pods; more are answered 429. None: no
    limit."""

    max_payload_bytes_per_second: Annotated[int, Meta(ge=1, le=1_073_741_824)] = 1_073_741_824
    """Most an app may set for `payload_bytes_per_second`."""

    stored_schedules: Annotated[int, Meta(ge=1, le=1_000_000_000_000)] | None = None
    """One-time schedules that one app may have in the store, from their create until they cannot be read any
    more; another create is answered 429. Counted from when there is such a bound, each with the day on which
    it expires. Pods tell each other every 10 s: together they may pass it by what they file in that time, and
    one that dies forgets what it filed since. None: no bound, and nothing is counted."""

    max_stored_schedules: Annotated[int, Meta(ge=1, le=1_000_000_000_000)] = 1_000_000_000_000
    """Most an app may set for `stored_schedules`."""

    key_requests_per_second: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    """Requests with one API key in a second, over all pods, where the key itself has no such limit; more are
    answered 429. None: no limit."""

    key_creates_per_second: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    """Schedules created with one API key in a second, in the same way."""

    at_once_s: Annotated[float, Meta(ge=0.1, le=3_600)] = 10.0
    """How much of these rates may come at once after a rest, in seconds of the rate: 100 a second and 10 s
    are 1,000 at once. Longer forgives clients that come in bursts, and lets others feel them."""

    pods: Annotated[int, Meta(ge=1, le=10_000)] = 1
    """Ingest pods that clients' requests are spread over. Pods do not know of each other: each allows its
    part of every rate, divided by this and by `ingest.workers`, and counts for itself. Fewer pods than said
    allow less than the rate, more pods more."""

    max_lateness_s: Annotated[int, Meta(ge=1, le=316_224_000)] | None = None
    """Callbacks later than this, in seconds, are recorded MISS and not sent. None: always sent, however
    late, because late is better than lost for most callbacks."""
