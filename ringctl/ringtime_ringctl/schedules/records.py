"""Schedules and dead letters: looked up by id, and as `--json` and the tables show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import UUID

import orjson

from ringtime_shared.api import dead_letters as api
from ringtime_shared.api.instants import to_iso
from ringtime_shared.api.schedules import schedule_to_json
from ringtime_shared.errors import InvalidRequest, NotFound
from ringtime_shared.ids import IdParts, unpack_id
from ringtime_shared.models.app import App
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.schedule import Place, Row
from ringtime_shared.schedules.changing import as_shown
from ringtime_shared.stores.protocol import AppStore, ScheduleStore


class LookupStore(AppStore, ScheduleStore, Protocol):
    """What a lookup needs of a store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filing:
    """A schedule as it is in the store."""

    parts: IdParts
    app: App
    home: Row  #: as it is shown: with what it was changed to
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
    if home.shown_in is not None:
        is_pending = home.shown_in == home.moved_to
        home = as_shown(home, pending if is_pending else await store.fetch_row(home.shown_in, schedule_id))
    return Filing(parts=parts, app=app, home=home, pending=pending)


def destination_of(row: Row) -> str:
    """Return where a callback goes, as far as its details say: a URL without its query, or a topic."""
    try:
        details = orjson.loads(row.schedule.callback_details)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(details, dict):
        return ""
    target = details.get("url") or details.get("topic") or ""
    return str(target).partition("?")[0]  # a query may hold a key


def row_to_json(row: Row) -> Mapping[str, object]:
    """Return a row as the API's schedule object, and what only operators need.

    Payload and details of callbacks and hooks stay in the store: they may hold secrets.
    """
    schedule, outcome = row.schedule, row.outcome
    view = schedule_to_json(replace(row, schedule=replace(schedule, payload="", callback_details=b"{}")))
    del view["payload"], view["callback"]
    if schedule.sending is not None and schedule.sending.hooks is not None:
        view["hooks"] = sorted(schedule.sending.hooks.given())
    view |= {
        "slot": to_iso(row.place.slot_ms),
        "instance": str(row.place.instance),
        "isHome": row.is_home,
        "callbackType": schedule.callback_type,
        "destination": destination_of(row),
        "payloadBytes": len(schedule.payload.encode()),
        "createdAt": to_iso(schedule.created_ms),
        "expiresAt": to_iso(schedule.expires_ms),
        "replay": row.replay if outcome is None else outcome.replay,
    }
    if outcome is not None:
        view["endedAt"] = to_iso(outcome.ended_ms)
    if row.cancelled_ms is not None:
        view["cancelledAt"] = to_iso(row.cancelled_ms)
    if row.moved_to is not None:
        view["movedTo"] = {"instance": str(row.moved_to.instance), "slot": to_iso(row.moved_to.slot_ms)}
    return view


def letter_to_json(letter: DeadLetter) -> Mapping[str, object]:
    """Return a dead letter as the API shows it, and what only operators need."""
    return api.letter_to_json(letter) | {
        "slot": to_iso(letter.slot_ms),
        "expiresAt": to_iso(letter.expires_ms),
    }
