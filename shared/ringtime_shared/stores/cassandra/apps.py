"""Operations of `AppStore`: plain reads; LWTs on the version for changes, which are counted then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any, Self

from ringtime_shared.errors import (
    AppExists,
    Conflict,
    Damaged,
    NotFound,
)
from ringtime_shared.ids import MAX_APPS
from ringtime_shared.models.app import App, Instance
from ringtime_shared.stores.cassandra.app_feed import AppChangeTables
from ringtime_shared.stores.cassandra.bridge import Record
from ringtime_shared.stores.cassandra.gathering import Gathering
from ringtime_shared.stores.cassandra.lwt import change
from ringtime_shared.stores.cassandra.marks import MarkTable
from ringtime_shared.stores.cassandra.meta import MetaTable
from ringtime_shared.stores.cassandra.session import (
    PARTITIONS_AT_ONCE,
    CqlSession,
    Prepared,
    alike,
    pack_list,
)
from ringtime_shared.stores.codec.apps import (
    APP_COLUMNS,
    encode_configuration,
    encode_deletion,
    encode_resize,
    encode_secrets,
    encode_shadow,
    read_app,
)
from ringtime_shared.stores.protocol import AppCounts, FirstMarks, first_marks, version_conflict

Terms = Mapping[Instance, int]  # of those that have marks

REGISTERED_AT_ONCE = 500  # that take their numbers together
READ_AT_ONCE = 500  # records that become apps without letting anybody else run: some 5 ms

_GET_ALL = f"SELECT {APP_COLUMNS} FROM $apps"
_GET_SOME = f"{_GET_ALL} WHERE app_id IN ?"
_COUNT = "SELECT count(*), sum(polled) FROM $apps"
_GET = f"{_GET_ALL} WHERE app_id = ?"
_CREATE = f"INSERT INTO $apps ({APP_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) IF NOT EXISTS"
# A statement of its own, because a null in the other is a tombstone, and every read of all apps meets it.
_CREATE_PLAIN = (
    "INSERT INTO $apps (app_id, number, writable, polled, active, version, created_ms, configuration)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?) IF NOT EXISTS"
)
_PLAIN = 8  # columns that every app has something in; they are the first
_REPLACE = (
    "UPDATE $apps SET number = ?, writable = ?, polled = ?, active = ?, version = ?, created_ms = ?,"
    " configuration = ?, secrets = ?, resize = ?, halted_ms = ?, deletion = ?, shadow = ?"
    " WHERE app_id = ? IF version = ? AND number = ?"
)
_DELETE = "DELETE FROM $apps WHERE app_id = ? IF version = ? AND number = ?"


class Apps:
    """`AppStore` on one session."""

    def __init__(
        self,
        session: CqlSession,
        statements: Sequence[Prepared],
        marks: MarkTable,
        meta: MetaTable,
        changes: AppChangeTables,
        now_ms: Callable[[], int],
    ) -> None:
        """Use `prepare`."""
        self._session = session
        self._changes = changes
        self._get, self._get_some, self._get_all, self._count, *lwts = statements
        self._create, self._create_plain, self._replace, self._delete = lwts
        self._marks = marks
        self._meta = meta
        self._now_ms = now_ms
        self._terms = Gathering(self._fetch_terms, most=REGISTERED_AT_ONCE)
        self._begun = Gathering(self._begin, most=REGISTERED_AT_ONCE)

    @classmethod
    async def prepare(
        cls,
        session: CqlSession,
        marks: MarkTable,
        meta: MetaTable,
        changes: AppChangeTables,
        now_ms: Callable[[], int],
    ) -> Self:
        statements = await session.prepare(
            _GET, _GET_SOME, _GET_ALL, _COUNT, _CREATE, _CREATE_PLAIN, _REPLACE, _DELETE
        )
        return cls(session, statements, marks, meta, changes, now_ms)

    async def create_app(self, app: App) -> App:
        """The number is taken first: who finds the app with the number it took has registered it.

        First marks are written before the app, so an id without marks is no app's, and nobody need look.
        An LWT is all that an app has for itself: those registered at the same moment share the rest.
        """
        first = first_marks(app.app_id, range(app.polled), app.created_ms)
        terms = await self._terms.ask(list(first))
        if terms and await self._fetch_serial(app.app_id) is not None:
            raise AppExists(f"app {app.app_id} is registered already")
        number = await self._begun.ask((first, terms))
        if number >= MAX_APPS:
            raise Conflict(f"all {MAX_APPS} app numbers are given out")
        created = replace(app, number=number)
        stored = await self._change(app.app_id, self._creation_of(created), created, None)
        if stored != created:
            raise AppExists(f"app {app.app_id} is registered already")
        await self._changes.announce(app.app_id)
        return created

    def _creation_of(self, app: App) -> Any:
        values = (app.app_id, *_values(app))
        if any((app.secrets, app.resize, app.halted_ms is not None, app.deletion, app.shadow)):
            return self._create.bind(*values)
        return self._create_plain.bind(*values[:_PLAIN])

    async def fetch_app(self, app_id: str) -> App | None:
        records = await self._session.read(self._get.bind(app_id))
        return _read(records)

    async def fetch_apps(self) -> list[App]:
        records = sorted(await self._session.read(self._get_all.bind()), key=itemgetter(0))
        apps: list[App] = []
        for start in range(0, len(records), READ_AT_ONCE):
            apps += map(read_app, records[start : start + READ_AT_ONCE])
            await asyncio.sleep(0)
        return apps

    async def count_apps(self) -> AppCounts:
        ((apps, partitions),) = await self._session.read(self._count.bind())
        return AppCounts(apps, partitions or 0)

    async def replace_app(self, app: App) -> None:
        now_ms = self._now_ms()
        stored = await self._fetch_serial(app.app_id)
        expected = (app.number, app.version - 1)
        if stored is not None and stored != app and (stored.number, stored.version) == expected:
            gained = range(stored.polled, app.polled)
            await self._marks.put_first_marks(first_marks(app.app_id, gained, now_ms))
            statement = self._replace.bind(*_values(app), app.app_id, app.version - 1, app.number)
            stored = await self._change(app.app_id, statement, app, stored)
        if stored is None:
            raise NotFound("app", app.app_id)
        if stored != app:
            raise version_conflict(stored, app.version - 1)
        await self._changes.announce(app.app_id)  # also what an earlier call changed that had no answer

    async def delete_app(self, app: App) -> None:
        """The dead letters are for the caller to delete, before this."""
        stored = await self._fetch_serial(app.app_id)
        if stored == app:
            statement = self._delete.bind(app.app_id, app.version, app.number)
            stored = await self._change(app.app_id, statement, None, app)
        if stored is not None and stored.number == app.number:
            raise version_conflict(stored, app.version)
        await self._changes.announce(app.app_id)

    async def fetch_some_apps(self, app_ids: Sequence[str]) -> list[App]:
        keys = [app_id.encode() for app_id in set(app_ids)]
        statements = []
        for numbers in alike([(key, None) for key in keys], self._session):
            for start in range(0, len(numbers), PARTITIONS_AT_ONCE):
                some = [keys[n] for n in numbers[start : start + PARTITIONS_AT_ONCE]]
                statements.append(self._get_some.for_many((pack_list(some),), some[0]))
        answers = await self._session.read_all(statements)
        return [read_app(record) for records in answers for record in records]

    async def _fetch_terms(self, asked: Sequence[Sequence[Instance]]) -> Sequence[Terms]:
        found = await self._marks.fetch_terms([each for instances in asked for each in instances])
        return [{each: found[each] for each in instances if each in found} for instances in asked]

    async def _begin(self, apps: Sequence[tuple[FirstMarks, Terms]]) -> Sequence[int]:
        """Take a number for each app, and write its first marks."""
        numbers = await self._meta.take_numbers("app_numbers", len(apps))
        first = {instance: marks for each, _ in apps for instance, marks in each.items()}
        terms = {instance: term for _, each in apps for instance, term in each.items()}
        await self._marks.raise_first_marks(first, terms)
        return numbers

    async def _change(
        self, app_id: str, statement: Any, wanted: App | None, before: App | None
    ) -> App | None:
        """Try the LWT until the app is no more as it was `before`; return it as it is then."""
        return await change(
            self._session,
            statement,
            lambda: self._fetch_serial(app_id),
            wanted=wanted,
            is_before=lambda stored: stored == before,
            what=f"the change of app {app_id}",
        )

    async def _fetch_serial(self, app_id: str) -> App | None:
        records = await self._session.read(self._get.bind(app_id), is_serial=True)
        return _read(records)


def _values(app: App) -> tuple[object, ...]:
    """Return the columns of `APP_COLUMNS` after the first."""
    return (
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
    )


def _read(records: Sequence[Record]) -> App | None:
    """Return the app of an answer. Raises Damaged."""
    app = read_app(records[0]) if records else None
    if app is not None and app.damage:
        raise Damaged("app", app.app_id, app.damage)
    return app
