"""Operations of `AppStore`. Each raises its errors before it writes, as `session.Worker` asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ringtime_shared.errors import AppExists, Damaged, NotFound
from ringtime_shared.models.app import App
from ringtime_shared.stores.codec.apps import (
    APP_COLUMNS,
    encode_configuration,
    encode_deletion,
    encode_resize,
    encode_secrets,
    encode_shadow,
    read_app,
)
from ringtime_shared.stores.protocol import (
    AppChange,
    AppCounts,
    FirstMarks,
    first_marks,
    version_conflict,
)
from ringtime_shared.stores.sqlite.session import Session, execute_bulk

CHANGES_KEPT = 1_000
APPS_PER_READ = 500

_PUT_FIRST_MARKS = """
INSERT INTO partition_state (app, partition, term, sealed_ms, settled_ms) {values} ON CONFLICT DO NOTHING
"""
_RAISE_FIRST_MARKS = """
INSERT INTO partition_state (app, partition, term, sealed_ms, settled_ms) {values} ON CONFLICT DO UPDATE SET
    sealed_ms = max(sealed_ms, excluded.sealed_ms), settled_ms = max(settled_ms, excluded.settled_ms)
"""


def create_app(session: Session, app: App, now_ms: int) -> App:
    if fetch_app(session, app.app_id) is not None:
        raise AppExists(f"app {app.app_id} is registered already")
    stored = replace(app, number=session.give_number(app.app_id))
    _put_app(session, stored)
    first = first_marks(app.app_id, range(app.polled), app.created_ms)
    # Of a new number there are marks only if a dispatcher wrote some late, for a deleted app of this id.
    execute_bulk(session.connection, _RAISE_FIRST_MARKS, _to_records(stored, first))
    announce_app(session, app.app_id, now_ms)
    return stored


def fetch_app(session: Session, app_id: str) -> App | None:
    for record in session.fetch(f"SELECT {APP_COLUMNS} FROM apps WHERE app_id = ?", (app_id,)):
        app = read_app(record)
        if app.damage:
            raise Damaged("app", app_id, app.damage)
        return app
    return None


def fetch_apps(session: Session) -> list[App]:
    return [read_app(record) for record in session.fetch(f"SELECT {APP_COLUMNS} FROM apps ORDER BY app_id")]


def count_apps(session: Session) -> AppCounts:
    found = session.connection.execute("SELECT count(*), coalesce(sum(polled), 0) FROM apps")
    return AppCounts(*found.fetchone())


def replace_app(session: Session, app: App, now_ms: int) -> None:
    stored = fetch_app(session, app.app_id)
    if stored is None:
        raise NotFound("app", app.app_id)
    if stored == app:
        announce_app(session, app.app_id, now_ms)
        return
    if (stored.number, stored.version) != (app.number, app.version - 1):
        raise version_conflict(stored, app.version - 1)
    gained = range(stored.polled, app.polled)
    first = first_marks(app.app_id, gained, now_ms)
    execute_bulk(session.connection, _PUT_FIRST_MARKS, _to_records(stored, first))
    _put_app(session, app)
    announce_app(session, app.app_id, now_ms)


def delete_app(session: Session, app: App, now_ms: int) -> None:
    """Letters and rows of a number that is nobody's any more go when they expire; see `purge`."""
    stored = fetch_app(session, app.app_id)
    if stored is not None and stored.number == app.number:
        if stored.version != app.version:
            raise version_conflict(stored, app.version)
        session.connection.execute("DELETE FROM apps WHERE app_id = ?", (app.app_id,))
        session.connection.execute("DELETE FROM partition_state WHERE app = ?", (app.number,))
        session.connection.execute("DELETE FROM definitions WHERE app = ?", (app.number,))
        session.connection.execute("DELETE FROM calendars WHERE app = ?", (app.number,))
        session.retire_number(app.app_id, app.number)
    announce_app(session, app.app_id, now_ms)


def count_app_changes(session: Session) -> int:
    ((count,),) = session.fetch("SELECT coalesce(max(number), 0) FROM app_changes")
    return int(count)


def fetch_app_changes(session: Session, after_ms: int) -> list[AppChange]:
    found = session.fetch("SELECT changed_ms, app_id FROM app_changes WHERE changed_ms > ?", (after_ms,))
    return [AppChange(*record) for record in found]


def fetch_some_apps(session: Session, app_ids: Sequence[str]) -> list[App]:
    asked = sorted(set(app_ids))
    found: list[App] = []
    for start in range(0, len(asked), APPS_PER_READ):
        part = asked[start : start + APPS_PER_READ]
        places = ", ".join("?" * len(part))
        records = session.fetch(f"SELECT {APP_COLUMNS} FROM apps WHERE app_id IN ({places})", part)
        found += map(read_app, records)
    return found


def announce_app(session: Session, app_id: str, now_ms: int) -> None:
    change = AppChange(now_ms, app_id)
    session.connection.execute(
        "INSERT INTO app_changes (number, changed_ms, app_id)"
        " SELECT coalesce(max(number), 0) + ?, ?, ? FROM app_changes",
        (change.weight, *change),
    )
    session.connection.execute(
        "DELETE FROM app_changes"
        " WHERE number <= (SELECT number FROM app_changes ORDER BY number DESC LIMIT 1 OFFSET ?)",
        (CHANGES_KEPT,),
    )


def _put_app(session: Session, app: App) -> None:
    session.connection.execute(
        f"REPLACE INTO apps ({APP_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
            app.halted_ms,
            encode_deletion(app.deletion),
            encode_shadow(app.shadow),
        ),
    )


def _to_records(app: App, marks: FirstMarks) -> list[tuple[int, int, int, int, int]]:
    return [(app.number, partition, 0, *first) for (_, partition), first in marks.items()]
