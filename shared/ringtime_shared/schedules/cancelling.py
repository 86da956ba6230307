"""Cancelling: the one change of a schedule that needs no filing, so clients and operators share it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import NamedTuple, Protocol, TypeVar

from ringtime_shared.apps.states import APPS_TRUST_MS
from ringtime_shared.clock import Clock
from ringtime_shared.errors import AlreadyDone, OutcomeUnknown, StoreUnavailable
from ringtime_shared.models.app import App
from ringtime_shared.models.schedule import Row
from ringtime_shared.schedules.changing import WINDOW_MS
from ringtime_shared.settings import AppLimits
from ringtime_shared.stores.protocol import AppStore, ScheduleStore

T = TypeVar("T")
_CLOCK_SKEW_MS = 60_000  #: clocks of two machines differ by less
CANCEL_PROMISE_MS = 1_000  #: a cancel acknowledged longer than this before the slot is sure to hold
_SLOWEST_WRITE_MS = 30_000  #: no write that was sent can become durable later than this


class CancelStore(AppStore, ScheduleStore, Protocol):
    """What cancelling needs of a store."""


class Cancelled(NamedTuple):
    """An accepted cancel."""

    row: Row  #: the home row as it is now
    promised: bool  #: it was durable in time, or nothing can send it; else best effort


async def cancel_home(
    store: CancelStore, clock: Clock, row: Row, limits: AppLimits, read_ms: int | None
) -> Cancelled:
    """Cancel the schedule of a home row; cancelling twice is no error.

    The cancel is promised to hold if it was durable more than a second before the slot of the pending
    filing. A dispatcher reads a home row no earlier than `dispatch.read_ahead_ms` before its slot, and reads
    it again before it sends a later filing. That is by the dispatcher's clock, so the promise takes one that
    is ahead of this process's by less than the second less the read-ahead: 700 ms, if that is the default.
    Clocks that differ by more may be relied on (`clock.max_skew_ms`).

    It is promised as well if the app has been deactivated for so long that no attempt can be under way:
    whoever fires after an activation reads the row anew. While this node's clock is in doubt, "in time" and
    "long" mean nothing, and nothing is promised.

    Somebody may change the schedule to an earlier time meanwhile. That is not sent before a cancel that takes
    less than `WINDOW_MS`; after a longer one the row is read again, and nothing is promised if it was
    changed.

    So a cancel takes one write behind the read. What the write needs to know of the row is when it expires: a
    cancel must outlast it. A row read within `WINDOW_MS` tells; an older one may have been filed again by a
    change, to be kept for longer, and is looked at once more by the store. Where the write itself took so
    long, the read behind it tells, and the cancel is written again. Of two cancels at one moment the later
    may be the one that is kept: both were durable when it was.

    Args:
        row: as it was read.
        read_ms: when that read was begun, on the boot clock; None: a while ago, and nothing is promised.

    Raises AlreadyDone, StoreUnavailable, OutcomeUnknown.
    """
    schedule_id = row.schedule.schedule_id
    if row.outcome is not None:
        raise AlreadyDone(str(schedule_id), row.outcome.status)
    if row.cancelled_ms is None:
        begun_ms, expires_ms = clock.now_ms(), row.schedule.expires_ms
        is_new = read_ms is not None and clock.boot_ms() - read_ms < WINDOW_MS
        await store.put_cancel(row.place, schedule_id, begun_ms, expires_ms if is_new else None)
        row = row.cancelled(begun_ms)
        durable_ms = clock.now_ms()
    else:  # somebody cancelled before; that write may have taken long to become durable
        durable_ms = min(clock.now_ms(), row.cancelled_ms + _SLOWEST_WRITE_MS)
    slot_ms = (row.moved_to or row.place).slot_ms
    if read_ms is None:
        return Cancelled(row, promised=False)
    if clock.boot_ms() - read_ms >= WINDOW_MS:
        after = await _once_cancelled(store.fetch_row(row.place, schedule_id))
        if after is None:
            return Cancelled(row, promised=False)
        if after.schedule.expires_ms > row.schedule.expires_ms:
            await _once_cancelled(_last_longer(store, row, after))
        if after.moved_to != row.moved_to:
            return Cancelled(row, promised=False)
    if clock.doubt() is not None:
        return Cancelled(row, promised=False)
    if durable_ms < slot_ms - CANCEL_PROMISE_MS:
        return Cancelled(row, promised=True)
    # Read after the cancel is durable: an app that is activated later has owners that see it.
    app = await _once_cancelled(store.fetch_app(row.place.app_id))
    return Cancelled(row, promised=app is not None and is_at_rest(app, clock.now_ms(), limits))


def is_at_rest(app: App, now_ms: int, limits: AppLimits) -> bool:
    """Whether the app is deactivated for longer than any attempt lasts that began before."""
    rest_ms = _CLOCK_SKEW_MS + _SLOWEST_WRITE_MS + APPS_TRUST_MS + limits.max_http_timeout_ms
    return app.halted_ms is not None and not app.active and now_ms - app.halted_ms > rest_ms


async def _once_cancelled(call: Awaitable[T | None]) -> T | None:
    """Await what follows the cancel: if it fails, the cancel stands all the same."""
    try:
        return await call
    except (StoreUnavailable, OutcomeUnknown):
        return None


async def _last_longer(store: CancelStore, row: Row, after: Row) -> None:
    """Write the cancel of `row` again, to be kept as long as the row is kept by now."""
    if row.cancelled_ms is not None:
        expires_ms = after.schedule.expires_ms
        await store.put_cancel(row.place, row.schedule.schedule_id, row.cancelled_ms, expires_ms)
