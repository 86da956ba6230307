"""Delete an app, while others create and fire. Clients and operators share it.

A deletion is a state of the app: halted, with a note (`App.deletion`), then gone. Who asks for it again goes
on with it, in whatever process, so a crash only delays it.

    begin    nothing is left to fire, or it may be cancelled  ->  halted, noted
    finish   quiet  ->  two looks in a row find nothing left (what may be cancelled is)  ->  gone

*Quiet*: more than `ingest.map_age_ms` and `APPS_TRUST_MS`, and `ingest.write_deadline_ms` to spare, from when
this process knew the note to be stored, and had counted it as a change itself: those who follow the changes
(`ringtime_shared.apps.feed`) learn of no other, and whoever noted it may have died before it was counted.
While the process is suspended more time passes, not less. *Left*: a live row above `settled`; `rows_ahead`
finds it. So is a recurring schedule that is paused, unless what is left may be cancelled. A deletion that may
not cancel, and finds something left, is given up: the app is as it was before.

| what happens | what follows |
|---|---|
| killed at any point | the app stays halted until somebody asks again, here or elsewhere |
| a create is acknowledged meanwhile | it is seen: cancelled, or the deletion is given up |
| two processes finish it | each change is conditional on the version; one deletes, the other finds it gone |
| others change the app all the time | after ten changes `finish` gives up its turn; the app stays halted |
| it is given up, and another one begins | the note tells them apart: the quiet time is counted anew |
| the id is registered again | a new app under a new, higher number; ids of the old one are not found |
| a row of the old app is left in the store | no dispatcher sends it: its id has a lower number than the app |

Proof sketch. *No create is acknowledged and lost.* Ingest acknowledges a row only if it was durable less than
`map_age_ms` after a moment at which a reading of the app without a note was proved to be so
(`ringtime_ingest.service.commit`), and no such moment lies after the note was durable and counted. The looks
begin later than that, so they see every row that is ever acknowledged. *No retry slips through two looks.* A
dispatcher stops beginning attempts when it has read the note, or has proved nothing for `APPS_TRUST_MS`,
which is less than the quiet time. What it had in flight then may still become a retry, once: a row filed
before the one it follows is closed. If the first look finds that one closed, the retry was durable before,
and the second look sees it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from ringtime_shared.apps.changes import TRIES, Noted, always_changed, change_app, unnoted
from ringtime_shared.apps.states import APPS_TRUST_MS, begin_deletion, give_up_deletion
from ringtime_shared.buckets import first_slot, last_slot
from ringtime_shared.clock import Clock
from ringtime_shared.errors import Conflict, LiveSchedules, VersionConflict
from ringtime_shared.ids import app_number_of, unpack_id
from ringtime_shared.models.app import App, Instance
from ringtime_shared.models.schedule import Place, Row
from ringtime_shared.schedules.rows_ahead import last_bucket, read_ahead
from ringtime_shared.settings import AppLimits, IngestSettings
from ringtime_shared.stores.protocol import (
    LAST_ID,
    AppFeedStore,
    AppStore,
    DueQuery,
    DueStore,
    IndexEntry,
    MarkStore,
    OperatorStore,
    Position,
    RecurringStore,
    ScheduleStore,
)

_MOST_COUNTED = 1_000  #: schedules that are left; beyond it is "at least"
_ENTRIES_AT_ONCE = 50
_PAGE_ROWS = 100  #: cancelled side by side
_DEFINITIONS = 100  #: read at once


class DeletionStore(
    AppStore, AppFeedStore, ScheduleStore, DueStore, MarkStore, OperatorStore, RecurringStore, Protocol
):
    """What deleting needs of a store."""


class Left(NamedTuple):
    """What an app has that is still to fire."""

    schedules: int  #: at most `_MOST_COUNTED`; 0: nothing
    first_ms: int = 0  #: the minute of the first, UTC ms; 0: they are recurring ones that are paused

    def __str__(self) -> str:
        if not self.first_ms:
            return "recurring schedules that may be resumed, and so something"
        at_least = "at least " if self.schedules == _MOST_COUNTED else ""
        first = datetime.fromtimestamp(self.first_ms / 1_000, UTC).isoformat(timespec="minutes")
        word = "schedule" if self.schedules == 1 else "schedules"
        return f"{at_least}{self.schedules:,} {word}, the first in the minute {first},"


class Deleter:
    """Deletes apps on one store. Every method may also raise StoreUnavailable, OutcomeUnknown."""

    def __init__(
        self,
        store: DeletionStore,
        clock: Clock,
        ingest: IngestSettings,
        limits: AppLimits,
        noted: Noted = unnoted,
    ) -> None:
        """`noted`: notes that a deletion is begun; see `change_app`."""
        self._store = store
        self._noted = noted
        self._clock = clock
        self._quiet_s = (max(ingest.map_age_ms, APPS_TRUST_MS) + ingest.write_deadline_ms) / 1_000
        self._limits = limits
        self._looking = asyncio.Lock()  # a look may take thousands of reads: one at a time

    async def begin(self, app_id: str, *, cancels: bool) -> App:
        """Halt an app and note that it is being deleted; return it so, also if it was before.

        Args:
            cancels: cancel what has not fired; else refuse while there is any.

        Raises NotFound, LiveSchedules, and Conflict while it is being resized.
        """

        async def begin(app: App) -> App:
            if app.deletion is not None and (app.deletion.cancels or not cancels):
                return app
            begun = begin_deletion(app, cancels=cancels, now_ms=self._clock.now_ms())
            if not cancels:
                left = await self.find_left(app)
                if left.schedules:
                    raise _live_schedules(app, left)
            return begun

        return await change_app(self._store, app_id, begin, self._noted)

    async def finish(self, begun: App) -> None:
        """Carry out what is left of the deletion of `begun`; return when the app is gone.

        Takes at least the quiet time. Raises LiveSchedules when it was given up for that, Conflict when
        somebody else gave it up, and VersionConflict when others changed the app ten times meanwhile: it
        stays halted then, for whoever asks again.
        """
        app: App | None = begun
        quiet_for: int | None = None  # the note that has stood for the quiet time
        for _ in range(TRIES):
            if app is None or app.number != begun.number:
                return
            if app.deletion is None:
                raise Conflict(f"the deletion of app {app.app_id} was given up")
            if app.deletion.began_at != quiet_for:
                quiet_for = app.deletion.began_at
                await self._store.announce_app(app.app_id)  # who noted it may have died before that
                await asyncio.sleep(self._quiet_s)
            else:
                with suppress(VersionConflict):
                    await self._clear(app)
                    await self._store.delete_app(app)
                    return
            app = await self._store.fetch_app(app.app_id)
        raise always_changed(begun.app_id)

    async def _clear(self, app: App) -> None:
        """See that nothing is left to fire. Raises LiveSchedules once the deletion is given up, and
        VersionConflict."""
        cancels = app.deletion is not None and app.deletion.cancels
        empty_looks = 0
        while empty_looks < 2:
            async with self._looking:
                left = await (self._cancel_left(app) if cancels else self._find_left(app))
            if left.schedules and not cancels:
                await self._store.replace_app(give_up_deletion(app))
                raise _live_schedules(app, left)
            empty_looks = 0 if left.schedules else empty_looks + 1

    async def find_left(self, app: App) -> Left:
        """Return what the app has that is still to fire."""
        async with self._looking:
            return await self._find_left(app)

    async def _find_left(self, app: App) -> Left:
        count, first_ms = 0, 0
        async with aclosing(self._ahead(app)) as ahead:
            async for entries in ahead:
                counts = await self._store.count_live(entries, _MOST_COUNTED)
                if not count and any(counts):
                    first_ms = first_slot(
                        next(entry.bucket for entry, n in zip(entries, counts, strict=True) if n)
                    )
                count += sum(counts)
                if count >= _MOST_COUNTED:
                    break
        if not count and await self._is_resumable(app):
            return Left(1)
        return Left(min(count, _MOST_COUNTED), first_ms)

    async def _is_resumable(self, app: App) -> bool:
        """Whether the app has recurring schedules that make runs, or may be told to: one that is paused has
        no row."""
        after: UUID | None = None
        while page := await self._store.list_definitions(app.app_id, after, _DEFINITIONS):
            if any(each.is_live and app_number_of(each.recurring_id) == app.number for each in page):
                return True
            after = page[-1].recurring_id
        return False

    async def _cancel_left(self, app: App) -> Left:
        """Cancel whatever is left; return how much it was."""
        count = 0
        async with aclosing(self._ahead(app)) as ahead:
            async for entries in ahead:
                for entry in entries:
                    count += await self._cancel_rows(entry)
        return Left(count)

    async def _ahead(self, app: App) -> AsyncGenerator[list[IndexEntry], None]:
        instances = [Instance(app.app_id, partition) for partition in range(app.polled)]
        now_ms = self._clock.now_ms()
        last = last_bucket(now_ms, self._limits)
        async with aclosing(read_ahead(self._store, app, instances, now_ms=now_ms, last=last)) as parts:
            async for entries in parts:
                for start in range(0, len(entries), _ENTRIES_AT_ONCE):
                    yield entries[start : start + _ENTRIES_AT_ONCE]

    async def _cancel_rows(self, entry: IndexEntry) -> int:
        """Cancel the schedules of a bucket's live rows: their home rows, which count, and these rows, so that
        nobody finds them live."""
        count = 0
        after: Position | None = Position(first_slot(entry.bucket) - 1, LAST_ID)
        while after is not None:
            query = DueQuery(entry.instance, entry.bucket, after, last_slot(entry.bucket), _PAGE_ROWS)
            (page,) = await self._store.fetch_due([query])
            await asyncio.gather(*(self._cancel(row) for row in page.rows))
            count += len(page.rows)
            after = page.next
        return count

    async def _cancel(self, row: Row) -> None:
        schedule_id, now_ms = row.schedule.schedule_id, self._clock.now_ms()
        parts = unpack_id(schedule_id)
        home = Place(row.place.app_id, parts.partition, parts.slot_ms)
        for place in dict.fromkeys((home, row.place)):
            await self._store.put_cancel(place, schedule_id, now_ms)


def _live_schedules(app: App, left: Left) -> LiveSchedules:
    return LiveSchedules(
        f"app {app.app_id} has {left} to fire yet: cancel them, or delete it with cancel_schedules=true"
    )
