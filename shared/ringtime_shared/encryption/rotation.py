"""Everything that is stored, under the primary key: what is encrypted under another one, and what is not yet.

One pass looks at each app, its recurring schedules, and its rows from when it was created to the last that
may be filed. It writes nothing but other texts of the same meaning, each on the condition that what it read
is still there, so it may run beside everything else, twice at once, and be killed anywhere: the next
pass finds what is left, and passes over what is done.

Why one pass proves nothing about the old key. A process that was not restarted with the new ring goes on
encrypting under the old key, and a dispatcher files a retry with what it read before the pass. The proof is a
pass that finds nothing, begun `QUIET_MS` after the last that found something, with the new primary on every
pod.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol
from uuid import UUID

from ringtime_shared.apps.changes import change_app
from ringtime_shared.buckets import bucket_of, first_slot, last_slot
from ringtime_shared.clock import Clock
from ringtime_shared.encryption.keyring import KeyRing
from ringtime_shared.encryption.records import (
    keys_of,
    keys_of_app,
    reencrypt_app,
    reencrypt_definition,
    reencrypt_row,
)
from ringtime_shared.errors import NotFound, SecretUnreadable, VersionConflict
from ringtime_shared.models.app import App
from ringtime_shared.models.recurring import Definition
from ringtime_shared.models.schedule import Row
from ringtime_shared.schedules.rows_ahead import last_bucket
from ringtime_shared.settings import AppLimits
from ringtime_shared.stores.protocol import (
    LAST_ID,
    AppStore,
    ContentStore,
    DueQuery,
    IndexEntry,
    OperatorStore,
    Position,
    RecurringStore,
    ScheduleStore,
)

QUIET_MS = 300_000  #: longer than a dispatcher holds a row that it has read
PAGE = 200  #: rows that are read together
MOST_FAULTS = 100  #: that are told of one app; all are counted
_DEFINITIONS = 100
_BUCKETS_AT_ONCE = 32 * 1_440
_DAY_MS = 86_400_000


class RotationStore(AppStore, RecurringStore, ScheduleStore, OperatorStore, ContentStore, Protocol):
    """What a rotation needs of a store: the driver itself, which encrypts and decrypts nothing."""


@dataclass(slots=True)
class Found:
    """What a pass found in one app, or in all of them."""

    looked: int = 0  #: records
    keys: Counter[str] = field(
        default_factory=Counter
    )  #: records by the keys they were under; "": plain text
    changed: int = 0  #: records that are under the primary key now, and were not
    beaten: int = 0  #: records that somebody changed meanwhile: left to the next pass
    unreadable: int = 0  #: records that cannot be decrypted with this ring
    faults: list[str] = field(default_factory=list)  #: of these, which and why

    def add(self, other: Found) -> None:
        """Add what was found elsewhere."""
        self.looked += other.looked
        self.keys += other.keys
        self.changed += other.changed
        self.beaten += other.beaten
        self.unreadable += other.unreadable
        self.faults = (self.faults + other.faults)[:MOST_FAULTS]

    def note_unreadable(self, what: str, error: SecretUnreadable) -> None:
        self.unreadable += 1
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(f"{what}: {error}")


class Rotation:
    """One pass over apps.

    Args:
        is_applied: else it only counts.
    """

    def __init__(
        self, store: RotationStore, ring: KeyRing, clock: Clock, limits: AppLimits, *, is_applied: bool
    ) -> None:
        self._store = store
        self._ring = ring
        self._clock = clock
        self._limits = limits
        self._is_applied = is_applied

    async def of_app(self, app: App) -> AsyncGenerator[Found, None]:
        """Yield what is found in one app, a page at a time. Raises StoreUnavailable, OutcomeUnknown; whatever
        was yielded is done."""
        if app.damage:
            return
        yield await self._app(app)
        is_private = bool(app.configuration.encrypt_payloads)
        after: UUID | None = None
        while page := await self._store.list_definitions(app.app_id, after, _DEFINITIONS):
            yield await self._definitions(page, is_private=is_private)
            after = page[-1].recurring_id
        async for rows in self._rows(app):
            yield await self._change_rows(rows, is_private=is_private)

    async def _app(self, app: App) -> Found:
        found = Found(1, Counter(set(keys_of_app(app))))

        async def reencrypted(stored: App) -> App:
            encrypted = reencrypt_app(self._ring, stored)
            return stored if encrypted is stored else replace(encrypted, version=stored.version + 1)

        try:
            if reencrypt_app(self._ring, app) is not app:
                if self._is_applied:
                    await change_app(self._store, app.app_id, reencrypted)
                found.changed += 1
        except SecretUnreadable as error:
            found.note_unreadable(f"app {app.app_id}", error)
        except (VersionConflict, NotFound):
            found.beaten += 1
        return found

    async def _definitions(self, page: Iterable[Definition], *, is_private: bool) -> Found:
        found = Found()
        for definition in page:
            if definition.damage:
                continue
            found.looked += 1
            found.keys.update(set(keys_of(definition)))
            try:
                encrypted = reencrypt_definition(self._ring, definition, is_private=is_private)
                if encrypted is not definition:
                    if self._is_applied:
                        await self._store.replace_definition(
                            replace(encrypted, revision=encrypted.revision + 1)
                        )
                    found.changed += 1
            except SecretUnreadable as error:
                found.note_unreadable(f"recurring schedule {definition.name}", error)
            except VersionConflict:
                found.beaten += 1
        return found

    async def _change_rows(self, rows: Iterable[Row], *, is_private: bool) -> Found:
        found = Found()
        for row in rows:
            found.looked += 1
            found.keys.update(set(keys_of(row.schedule)))
            try:
                encrypted = reencrypt_row(self._ring, row, is_private=is_private)
            except SecretUnreadable as error:
                found.note_unreadable(f"schedule {row.schedule.schedule_id}", error)
                continue
            if encrypted is row:
                continue
            if not self._is_applied or await self._store.replace_contents(row, encrypted):
                found.changed += 1
            else:
                found.beaten += 1
        return found

    async def _rows(self, app: App) -> AsyncGenerator[list[Row], None]:
        now_ms = self._clock.now_ms()
        # Not from the longest retention on: a schedule that is changed to a later time keeps its home row.
        first = bucket_of(app.created_ms - _DAY_MS)
        last = last_bucket(now_ms, self._limits)
        for begin in range(first, last + 1, _BUCKETS_AT_ONCE):
            upto = min(begin + _BUCKETS_AT_ONCE - 1, last)
            for entry in await self._store.fetch_app_buckets(app.app_id, begin, upto):
                async for rows in self._bucket(entry):
                    yield rows

    async def _bucket(self, entry: IndexEntry) -> AsyncGenerator[list[Row], None]:
        after: Position | None = Position(first_slot(entry.bucket) - 1, LAST_ID)
        while after is not None:
            query = DueQuery(entry.instance, entry.bucket, after, last_slot(entry.bucket), PAGE)
            (page,) = await self._store.fetch_rows([query])
            if page.rows:
                yield list(page.rows)
            after = page.next
