"""Cancelling: the one change of a schedule that needs no filing, so clients and operators share it."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from ringtime_shared.clock import Clock
from ringtime_shared.errors import AlreadyDone
from ringtime_shared.models.schedule import Row
from ringtime_shared.stores.protocol import ScheduleStore

CANCEL_PROMISE_MS = 1_000  #: a cancel acknowledged longer than this before the slot is sure to hold
_SLOWEST_WRITE_MS = 30_000  #: no write that was sent can become durable later than this


class Cancelled(NamedTuple):
    """An accepted cancel."""

    row: Row  #: the home row as it is now
    promised: bool  #: it was durable in time; else best effort


async def cancel_home(store: ScheduleStore, clock: Clock, row: Row) -> Cancelled:
    """Cancel the schedule of a home row; cancelling twice is no error.

    The cancel is promised to hold if it was durable more than a second before the slot of the pending
    filing: a dispatcher reads no row earlier than that, and checks again before a retry. While this node's
    clock is in doubt, "in time" means nothing, and nothing is promised.

    Raises AlreadyDone, StoreUnavailable, OutcomeUnknown.
    """
    schedule_id = row.schedule.schedule_id
    if row.outcome is not None:
        raise AlreadyDone(str(schedule_id), row.outcome.status)
    if row.cancelled_ms is None:
        begun_ms = clock.now_ms()
        await store.put_cancel(row.place, schedule_id, begun_ms)
        row = replace(row, cancelled_ms=begun_ms)
        durable_ms = clock.now_ms()
    else:  # somebody cancelled before; that write may have taken long to become durable
        durable_ms = min(clock.now_ms(), row.cancelled_ms + _SLOWEST_WRITE_MS)
    slot_ms = (row.moved_to or row.place).slot_ms
    return Cancelled(row, clock.doubt() is None and durable_ms < slot_ms - CANCEL_PROMISE_MS)
