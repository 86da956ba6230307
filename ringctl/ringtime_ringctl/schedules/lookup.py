"""Schedules by id: the id says where its home row is filed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from ringtime_shared.errors import InvalidRequest, NotFound
from ringtime_shared.ids import IdParts, unpack_id
from ringtime_shared.models.app import App
from ringtime_shared.models.schedule import Place, Row
from ringtime_shared.stores.protocol import AppStore, ScheduleStore


class LookupStore(AppStore, ScheduleStore, Protocol):
    """What a lookup needs of a store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filing:
    """A schedule as it is in the store."""

    parts: IdParts
    app: App
    home: Row
    pending: Row | None  #: the filing that is to fire, if it is not the home row itself


def parse_id(text: str) -> UUID:
    """Read a schedule id. Raises InvalidRequest."""
    try:
        schedule_id = UUID(text)
        unpack_id(schedule_id)
    except ValueError:
        raise InvalidRequest.of("ID", f"{text[:60]!r} is not a schedule id") from None
    return schedule_id


async def fetch_filing(store: LookupStore, schedule_id: UUID) -> Filing:
    """Return the rows of a schedule. Raises NotFound, StoreUnavailable."""
    parts = unpack_id(schedule_id)
    app = next((app for app in await store.fetch_apps() if app.number == parts.app_number), None)
    if app is None:
        raise NotFound("schedule", f"{schedule_id}: no app has number {parts.app_number}")
    home = await store.fetch_row(Place(app.app_id, parts.partition, parts.slot_ms), schedule_id)
    if home is None:
        raise NotFound(
            "schedule",
            f"{schedule_id} at its place in {app.app_id}.{parts.partition}: never acknowledged, or the store"
            " has forgotten it",
        )
    pending = None
    if home.moved_to is not None:
        pending = await store.fetch_row(home.moved_to, schedule_id)
    return Filing(parts=parts, app=app, home=home, pending=pending)
