"""Recurring schedules and calendars. The payload has a column of its own, since JSON may be no longer than it
may be."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta
from msgspec.json import Decoder

from ringtime_shared.models.calendar import Calendar
from ringtime_shared.models.recurring import NO_EXCLUSIONS, Definition, DefinitionState
from ringtime_shared.models.times import Exclusions, Times
from ringtime_shared.stores.codec.cells import (
    Columns,
    Count,
    Json,
    Millis,
    Shape,
    encode,
    encode_slim,
    fault_of,
    read_json,
)

_decode_definition = Decoder(Definition).decode


def encode_definition(definition: Definition) -> str:
    """Return a JSON object without the payload."""
    earlier = tuple(replace(span, exclusions=NO_EXCLUSIONS) for span in definition.earlier)
    stored = replace(definition, payload="", exclusions=NO_EXCLUSIONS, earlier=earlier)
    return encode_slim(stored).decode()


def read_definition(
    app_id: str, recurring_id: UUID, revision: object, text: object, payload: object
) -> Definition:
    """Read key and columns of a definition; of one that is damaged, its key and its `damage`."""
    try:
        if not isinstance(text, str) or not isinstance(payload, str):
            raise ValueError("definition and payload: must be text")
        definition = read_json("definition", _decode_definition, text)
        if (definition.app_id, definition.recurring_id, definition.revision) != (
            app_id,
            recurring_id,
            revision,
        ):
            raise ValueError("definition: it is that of another key or revision")
        object.__setattr__(definition, "payload", payload)  # of our own yet; a copy takes as long as the rest
        return definition
    except ValueError as error:
        known = revision if isinstance(revision, int) else 0
        return _damaged_definition(app_id, recurring_id, known, fault_of(error))


class _CalendarColumns(Columns):
    revision: Count
    changed_ms: Millis
    is_deleted: bool | Annotated[int, Meta(ge=0, le=1)]
    calendar: Json


_CALENDAR = Shape(_CalendarColumns)
_decode_exclusions = Decoder(Exclusions).decode


def encode_calendar(calendar: Calendar) -> tuple[int, int, bool, str]:
    """Return the columns `revision`, `changed_ms`, `is_deleted` and `calendar`, which is a JSON object."""
    said = calendar.exclusions
    text = encode({"dates": sorted(said.dates), "spans": said.spans}).decode()
    return calendar.revision, calendar.changed_ms, calendar.is_deleted, text


def read_calendar(
    app_id: str, name: str, revision: Any, changed_ms: Any, is_deleted: Any, text: Any
) -> Calendar:
    """Read key and columns of a calendar; of one that is damaged, its key and its `damage`."""
    known = revision if isinstance(revision, int) else 0
    try:
        _CALENDAR.check((revision, changed_ms, is_deleted, text))
        return Calendar(
            app_id=app_id,
            name=name,
            revision=known,
            changed_ms=changed_ms,
            exclusions=read_json("calendar", _decode_exclusions, text),
            is_deleted=bool(is_deleted),
        )
    except ValueError as error:
        return Calendar(
            app_id=app_id,
            name=name,
            revision=known,
            changed_ms=0,
            exclusions=NO_EXCLUSIONS,
            damage=fault_of(error),
        )


def _damaged_definition(app_id: str, recurring_id: UUID, revision: int, fault: str) -> Definition:
    """Return what can be said of a definition that cannot be read."""
    return Definition(
        recurring_id=recurring_id,
        app_id=app_id,
        name="",
        revision=revision,
        version=0,
        times=Times(),
        payload="",
        callback_type="",
        callback_details=b"{}",
        created_ms=0,
        changed_ms=0,
        partition=0,
        from_ms=0,
        starts_after_ms=0,
        state=DefinitionState.ENDED,
        damage=fault,
    )
