"""Definitions of recurring schedules, and changes of them as `ringtime_shared.recurring.chain` asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ringtime_shared.ids import IdMint, Kind
from ringtime_shared.models.recurring import Definition, Misfire, recurring_id_of
from ringtime_shared.models.schedule import Row
from ringtime_shared.models.times import Interval, Times, Unit
from ringtime_shared.recurring.run_rows import CHANGE_AHEAD_MS, CHECK_AFTER_MS, check_row, first_row

DAY_MS = 86_400_000


def every(seconds: int, anchor_ms: int = 0, **others: Any) -> Times:
    """Times at whole multiples of so many seconds."""
    return Times(interval=Interval(seconds, Unit.SECONDS, anchor_ms), **others)


def new_definition(now_ms: int, times: Times, **others: Any) -> Definition:
    """The first version of one that is not stored yet, of app number 0."""
    from_ms = now_ms + CHANGE_AHEAD_MS
    fields: dict[str, Any] = {
        "recurring_id": recurring_id_of(0, "nightly"),
        "app_id": "app",
        "name": "nightly",
        "payload": "{}",
        "callback_type": "sim",
        "callback_details": b'{"to":"a"}',
        "partition": 0,
        "starts_after_ms": from_ms,
        "misfire": Misfire.ALL,
        "misfire_most": 100,
    }
    return Definition(
        times=times, created_ms=now_ms, changed_ms=now_ms, from_ms=from_ms, **{**fields, **others}
    )


def checked(
    definition: Definition, mint: IdMint, *, now_ms: int, app_number: int = 0
) -> tuple[Definition, Row]:
    """Return a definition that names its check, and the check."""
    slot_ms = now_ms + CHECK_AFTER_MS
    check_id = mint.mint(
        slot_ms=slot_ms, kind=Kind.RUN, partition=definition.partition, app_number=app_number
    )
    definition = replace(definition, check_id=check_id)
    return definition, check_row(definition, slot_ms=slot_ms, now_ms=now_ms, retention_ms=7 * DAY_MS)


def first_of(definition: Definition, check: Row, now_ms: int) -> Row | None:
    """Return the first run of a version."""
    return first_row(definition, check, now_ms=now_ms, retention_ms=7 * DAY_MS)
