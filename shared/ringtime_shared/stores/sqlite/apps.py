"""Operations of `AppStore`. Each raises its errors before it writes, as `engine.Worker` asks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ringtime_shared.errors import AppExists, NotFound, VersionConflict
from ringtime_shared.models.app import App
from ringtime_shared.stores.app_text import (
    decode_configuration,
    decode_resize,
    decode_secrets,
    encode_configuration,
    encode_resize,
    encode_secrets,
)
from ringtime_shared.stores.protocol import AppCounts, FirstMarks, first_marks
from ringtime_shared.stores.sqlite.bulk import execute_bulk
from ringtime_shared.stores.sqlite.session import Session

_COLUMNS = "app_id, number, writable, polled, active, version, created_ms, configuration, secrets, resize"
_PUT_FIRST_MARKS = """
INSERT INTO partition_state (app, partition, term, sealed_ms, settled_ms) {values} ON CONFLICT DO NOTHING
"""


def create_app(session: Session, app: App) -> App:
    if fetch_app(session, app.app_id) is not None:
        raise AppExists(f"app {app.app_id} is registered already")
    stored = replace(app, number=session.give_number(app.app_id))
    _put_app(session, stored)
    _put_first_marks(session, stored, first_marks(app.app_id, range(app.polled), app.created_ms))
    return stored


def fetch_app(session: Session, app_id: str) -> App | None:
    found = session.connection.execute(f"SELECT {_COLUMNS} FROM apps WHERE app_id = ?", (app_id,))
    record = found.fetchone()
    return None if record is None else _to_app(record)


def fetch_apps(session: Session) -> list[App]:
    found = session.connection.execute(f"SELECT {_COLUMNS} FROM apps ORDER BY app_id")
    return [_to_app(record) for record in found]


def count_apps(session: Session) -> AppCounts:
    found = session.connection.execute("SELECT count(*), coalesce(sum(polled), 0) FROM apps")
    return AppCounts(*found.fetchone())


def replace_app(session: Session, app: App, now_ms: int) -> None:
    stored = fetch_app(session, app.app_id)
    if stored is None:
        raise NotFound("app", app.app_id)
    if stored == app:
        return
    if stored.version != app.version - 1:
        raise VersionConflict(f"app {app.app_id} is at version {stored.version}, not {app.version - 1}")
    gained = range(stored.polled, app.polled)
    _put_first_marks(session, stored, first_marks(app.app_id, gained, now_ms))
    _put_app(session, app)


def _put_app(session: Session, app: App) -> None:
    session.connection.execute(
        f"REPLACE INTO apps ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            app.app_id,
            app.number,
            app.writable,
            app.polled,
            app.active,
            app.version,
            app.created_ms,
            encode_configuration(app.configuration),
            encode_secrets(app.secrets),
            encode_resize(app.resize),
        ),
    )


def _to_app(record: tuple[Any, ...]) -> App:
    app_id, number, writable, polled, active, version, created_ms, configuration, secrets, resize = record
    return App(
        app_id=app_id,
        number=number,
        writable=writable,
        polled=polled,
        active=bool(active),
        version=version,
        created_ms=created_ms,
        configuration=decode_configuration(configuration),
        secrets=decode_secrets(secrets),
        resize=decode_resize(resize),
    )


def _put_first_marks(session: Session, app: App, marks: FirstMarks) -> None:
    records = [(app.number, partition, 0, *first) for (_, partition), first in marks.items()]
    execute_bulk(session.connection, _PUT_FIRST_MARKS, records)
