"""Operations of `RecurringStore`; `schedules.put_rows` files the entries of runs."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from ringtime_shared.errors import Damaged
from ringtime_shared.models.recurring import Definition
from ringtime_shared.recurring.calendars import names_of, with_calendars
from ringtime_shared.stores.codec.recurring import encode_definition, read_definition
from ringtime_shared.stores.protocol import DefinitionKey, RunEntry, definition_conflict, drop_conflict
from ringtime_shared.stores.sqlite.calendars import fetch_some
from ringtime_shared.stores.sqlite.schedules import ID_BYTES, id_of
from ringtime_shared.stores.sqlite.session import Session

_COLUMNS = "revision, definition, payload"
_GET = f"SELECT {_COLUMNS} FROM definitions WHERE app = ? AND recurring_id = ?"
_DROP = "DELETE FROM definitions WHERE app = ? AND recurring_id = ?"
_LIST = (
    f"SELECT recurring_id, {_COLUMNS} FROM definitions WHERE app = ? AND recurring_id > ?"
    " ORDER BY recurring_id LIMIT ?"
)
_GET_RUNS = (
    "SELECT nominal_ms, schedule_id FROM runs"
    " WHERE app = ? AND recurring_id = ? AND nominal_ms BETWEEN ? AND ?"
)


def fetch_definition(session: Session, key: DefinitionKey) -> Definition | None:
    definition = _fetch(session, key)
    if definition is not None and definition.damage:
        raise Damaged("recurring schedule", str(key.recurring_id), definition.damage)
    return definition


def fetch_definitions(session: Session, keys: Sequence[DefinitionKey]) -> dict[DefinitionKey, Definition]:
    found = ((key, _fetch(session, key)) for key in dict.fromkeys(keys))
    return {key: definition for key, definition in found if definition is not None}


def _fetch(session: Session, key: DefinitionKey) -> Definition | None:
    app_id, recurring_id = key
    for record in session.fetch(_GET, (session.number_of(app_id), recurring_id.bytes)):
        return _complete(session, app_id, [read_definition(app_id, recurring_id, *record)])[0]
    return None


def _complete(session: Session, app_id: str, definitions: list[Definition]) -> list[Definition]:
    """Return definitions with what their calendars say."""
    if not (names := names_of(definitions)):
        return definitions
    calendars = fetch_some(session, app_id, names)
    return [with_calendars(each, calendars) for each in definitions]


def replace_definition(session: Session, definition: Definition) -> None:
    stored = _fetch(session, DefinitionKey(definition.app_id, definition.recurring_id))
    if stored == definition:
        return
    if (0 if stored is None else stored.revision) != definition.revision - 1:
        raise definition_conflict(stored, definition)
    session.connection.execute(
        f"REPLACE INTO definitions (app, recurring_id, {_COLUMNS}) VALUES (?, ?, ?, ?, ?)",
        (
            session.give_number(definition.app_id),
            definition.recurring_id.bytes,
            definition.revision,
            encode_definition(definition),
            definition.payload,
        ),
    )


def drop_definition(session: Session, definition: Definition) -> None:
    stored = _fetch(session, DefinitionKey(definition.app_id, definition.recurring_id))
    if stored is None:
        return
    if stored.revision != definition.revision:
        raise drop_conflict(stored, definition)
    session.connection.execute(_DROP, (session.number_of(definition.app_id), definition.recurring_id.bytes))


def list_definitions(session: Session, app_id: str, after: UUID | None, limit: int) -> list[Definition]:
    start = b"" if after is None else after.bytes
    found = session.fetch(_LIST, (session.number_of(app_id), start, limit))
    read = [read_definition(app_id, id_of(recurring_id), *record) for recurring_id, *record in found]
    return _complete(session, app_id, read)


def fetch_runs(
    session: Session,
    key: DefinitionKey,
    from_ms: int,
    upto_ms: int,
    limit: int,
    *,
    newest_first: bool,
) -> list[RunEntry]:
    way = "DESC" if newest_first else "ASC"
    found = session.fetch(
        f"{_GET_RUNS} ORDER BY nominal_ms {way}, schedule_id {way} LIMIT ?",
        (session.number_of(key.app_id), key.recurring_id.bytes, from_ms, upto_ms, limit),
    )
    return [
        RunEntry(nominal_ms, id_of(schedule_id))
        for nominal_ms, schedule_id in found
        if isinstance(schedule_id, bytes) and len(schedule_id) == ID_BYTES
    ]
