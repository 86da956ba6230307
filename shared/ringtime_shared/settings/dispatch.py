"""The firing side: polling, sealing, memory in use, and the wait between attempts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchSettings:
    """How due rows are found and sent. Set the same values in every process."""

    tick_ms: Annotated[int, Meta(ge=10, le=1_000)] = 200
    """Time between two looks for due rows, in milliseconds. Less than `read_ahead_ms` by about what a look
    takes, or rows that fall due during a look are that late. Where nothing was filed near for 10 s, and
    nothing is due soon, it looks in every other, if two are no longer than two thirds of
    `ingest.commit_margin_ms`."""

    read_ahead_ms: Annotated[int, Meta(ge=10, le=999)] = 300
    """How far past now a tick reads, in milliseconds. Less than `ingest.commit_margin_ms`, or rows are
    read past before they are written; less than 1 s, in which a cancel is promised to be seen."""

    max_tick_ms: Annotated[int, Meta(ge=10, le=10_000)] = 1_000
    """Longest tick, in milliseconds, when polling costs more than `poll_share`. Rows may be this late."""

    poll_share: Annotated[float, Meta(ge=0.01, le=1)] = 0.5
    """Share of the time that a look for due rows may take, waiting for the store included, before the
    pause between two looks stretches."""

    seal_ms: Annotated[int, Meta(ge=100, le=60_000)] = 2_000
    """Time between two rounds of sealing, in milliseconds. A round seals the poller instances whose minute is
    over, and those that hold too much: see `seal_rows`."""

    seal_rows: Annotated[int, Meta(ge=0, le=100_000)] = 1_000
    """Rows that a poller instance may have read and not sealed; one that has more is sealed before its
    minute is over. 0: each that has rows is sealed in each round."""

    seen_rows: Annotated[int, Meta(ge=1_000, le=10_000_000)] = 100_000
    """The same for all poller instances of a node together, 200 bytes each. Those that hold more than an even
    share of it are sealed in the next round."""

    idle_seal_minutes: Annotated[int, Meta(ge=1, le=60)] = 2
    """How often a poller instance without rows is sealed, in minutes, by one write each time. Longer saves
    writes, and has more minutes of the index read again where rows come seldom. A new owner walks through
    twice as many."""

    looks_at_once: Annotated[int, Meta(ge=1, le=10_000)] = 250
    """Looks at what a poller instance has in the coming minute, at most, in one tick. Those that are not
    looked at before it begins are read tick by tick until they are."""

    seal_lag_ms: Annotated[int, Meta(ge=100, le=30_000)] = 2_000
    """How far `sealed` stays behind now, in milliseconds. Shorter finds slow writes sooner, but makes
    ingest file more rows twice."""

    page_rows: Annotated[int, Meta(ge=1, le=5_000)] = 500
    """Rows in one page of a read. Bounds the answer of the store and the memory it takes: with the largest
    payloads (`limits.max_payload_bytes`) a page stays within 64 MiB."""

    max_loaded: Annotated[int, Meta(ge=1, le=1_000_000)] = 5_000
    """Rows in memory at once on one node; what is beyond stays in the store. One app may have as many as
    are free, so a backlog of its own takes half and leaves half."""

    max_in_flight: Annotated[int, Meta(ge=1, le=100_000)] = 500
    """Attempts under way at once on one node, if the process may open as many connections. Of what
    was sent and is not recorded there are as many at most, or twice `outcome_batch` if that is more, and a
    crash has both sent again."""

    app_in_flight: Annotated[int, Meta(ge=1, le=100_000)] = 200
    """Attempts under way at once for one app on one node, unless the app sets fewer. What an app may have for
    destinations that do not answer quickly is also bounded by what others have: two fifths of
    `max_in_flight` where it is alone."""

    destination_in_flight: Annotated[int, Meta(ge=1, le=100_000)] = 100
    """Attempts under way at once to one destination of one app on one node."""

    breaker_failures: Annotated[int, Meta(ge=0, le=10_000)] = 5
    """Failures in a row (no answer, 5xx, 429) after which a destination is left alone for a while and its
    rows are filed again for later without using up attempts. 0: never."""

    breaker_open_ms: Annotated[int, Meta(ge=1_000, le=3_600_000)] = 30_000
    """How long such a destination is left alone before one row is sent to see, in milliseconds."""

    gone_pause_ms: Annotated[int, Meta(ge=0, le=86_400_000)] = 600_000
    """How long an app's URL that answered 410 (gone) is left alone before one row is sent to see, in
    milliseconds. What is due for it meanwhile is filed for later, at `park_per_s`. 0: it is not."""

    park_per_s: Annotated[int, Meta(ge=1, le=10_000)] = 500
    """Rows a second that are filed for later for one destination of one app, and so the rate at which
    they come back when it has healed."""

    slow_after_ms: Annotated[int, Meta(ge=100, le=600_000)] = 5_000
    """When the rows of a destination at its cap wait longer than this in memory, in milliseconds, more of
    them are filed for later instead, so that they do not fill what the app may hold."""

    max_owned: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None
    """Most poller instances that a node owns; others get the rest, and what no node may own fires nothing,
    which the log, `/health/ready` and `ringctl doctor` say. None: what half of the machine's memory, or of
    the container's, holds at 3,000 bytes each: one takes 1,000 without rows."""

    forecast_s: Annotated[int, Meta(ge=1, le=86_400)] = 300
    """Time between two looks, in seconds, for apps that have a minute in the next day which their quota does
    not carry. One node looks, for all; a look costs the store 200,000 rows read at most."""

    ahead_s: Annotated[int, Meta(ge=1, le=3_600)] = 60
    """Time between two looks, in seconds, at how much of all apps is due in the next 15 minutes, for the
    metrics, by which dispatchers can be added before a burst. One node looks, for all, where metrics are
    read, in a twentieth of its time at most; a look counts at most 750 poller instances and minutes."""

    completeness_s: Annotated[int, Meta(ge=1, le=3_600)] = 15
    """Time between two looks, in seconds, at the completeness mark of all apps, for the metrics and for
    `kafka.completeness_topic`. One node looks, for all; a look costs what was due since the last."""

    apps_refresh_ms: Annotated[int, Meta(ge=50, le=60_000)] = 1_000
    """Time between two looks for changes of the registered apps, in milliseconds, or up to three tenths less:
    one goes along with a look for due rows."""

    walk_buckets: Annotated[int, Meta(ge=1, le=1_440)] = 60
    """Minutes of the due index read at once when a new owner catches up."""

    drain_s: Annotated[float, Meta(ge=0, le=600)] = 20.0
    """Time in seconds for attempts in flight to end before a node lets go. What is left over is sent
    again by the next owner."""

    outcome_batch: Annotated[int, Meta(ge=1, le=5_000)] = 200
    """Most outcomes in one write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings:
    """The wait before the next attempt: a random time up to a bound that grows with each failure."""

    first_delay_ms: Annotated[int, Meta(ge=1, le=86_400_000)] = 1_000
    """Bound of the first wait, in milliseconds."""

    factor: Annotated[float, Meta(ge=1, le=100)] = 4.0
    """What the bound is multiplied by after each failure. 4 reaches the hour in seven."""

    max_delay_ms: Annotated[int, Meta(ge=1, le=604_800_000)] = 3_600_000
    """Largest bound, in milliseconds; also the longest `Retry-After` that is followed."""

    max_age_s: Annotated[int, Meta(ge=1, le=31_622_400)] = 86_400
    """A delivery is given up this long after its fire time, in seconds, whatever attempts are left."""

    statuses: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^([345]xx|[345][0-9][0-9])$")], ...], Meta(max_length=50)
    ] = ("3xx", "4xx", "5xx")
    """HTTP statuses worth another attempt. All that are no success, because a deployment or a changed key
    shows as 404 or 401 for a minute; 410 (gone) only where it is named itself."""
