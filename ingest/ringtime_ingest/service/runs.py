"""The runs of a recurring schedule: those that were filed, as they are to be shown, and those to come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol
from uuid import UUID

from ringtime_ingest.service.apps import AppMaps
from ringtime_ingest.service.calendars import Calendars
from ringtime_ingest.service.listing import fetch_shown
from ringtime_ingest.service.tokens import decode_token, encode_token
from ringtime_shared.api.recurring import LIST_SIZE, MAX_LIST_SIZE, WHEN
from ringtime_shared.clock import Clock
from ringtime_shared.errors import InvalidRequest
from ringtime_shared.models.app import App
from ringtime_shared.models.recurring import Definition, DefinitionState, Origin, Overlap
from ringtime_shared.models.schedule import Place, Row
from ringtime_shared.models.times import Omitted, Run, Times
from ringtime_shared.recurring.run_rows import next_run
from ringtime_shared.recurring.runs import preview
from ringtime_shared.schedules.chain_repair import count_planned
from ringtime_shared.settings import AppLimits
from ringtime_shared.stores.protocol import (
    DefinitionKey,
    Position,
    RecurringStore,
    RunEntry,
    ScheduleStore,
)

DAY_MS = 86_400_000
_WEEK_MS = 7 * DAY_MS
_ROWS_AT_ONCE = 50
_LATEST = 10  #: entries looked through for one that has not ended


class RecurringRows(RecurringStore, ScheduleStore, Protocol):
    """What recurring schedules need of a store."""


class RunPage(NamedTuple):
    """Runs of a definition by nominal time. As with `DefinitionPage`."""

    rows: Sequence[Row]
    token: str


class Runs:
    """The runs of all recurring schedules; nothing is written here."""

    def __init__(
        self, store: RecurringRows, apps: AppMaps, calendars: Calendars, clock: Clock, limits: AppLimits
    ) -> None:
        self._store = store
        self._apps = apps
        self._calendars = calendars
        self._clock = clock
        self._limits = limits

    async def fetch_page(
        self, definition: Definition, when: str = "", size: int = LIST_SIZE, token: str = ""
    ) -> RunPage:
        """Return a page of the runs that were filed, newest first.

        Args:
            when: `past`: those that are due; `future`: the others, the next one first; "": all.

        Raises InvalidRequest.
        """
        if when not in WHEN:
            raise InvalidRequest.of("when", "must be past or future, or left out for both")
        check_size(size)
        key, now_ms = DefinitionKey(definition.app_id, definition.recurring_id), self._clock.now_ms()
        app = (await self._apps.get(definition.app_id)).app
        first_ms = max(definition.created_ms, now_ms - self.retention_ms(app)) - _WEEK_MS
        last_ms = max(now_ms, self._last_planned(definition, now_ms))
        newest_first = when != "future"
        if when == "past":
            last_ms = now_ms
        elif when == "future":
            first_ms = now_ms + 1
        seen: Position | None = None
        if token:
            seen = read_token(definition.key, token)
            first_ms, last_ms = (
                (first_ms, min(last_ms, seen.slot_ms))
                if newest_first
                else (max(first_ms, seen.slot_ms), last_ms)
            )
        entries = await self._entries(key, first_ms, last_ms, size + 1, newest_first, seen)
        rows = await fetch_shown(self._store, await self._rows(definition, entries[:size]))
        if len(entries) <= size:
            return RunPage(rows, "")
        return RunPage(rows, encode_token(definition.key, Position(*entries[size - 1])))

    async def read_entries(
        self, definition: Definition, first_ms: int, last_ms: int
    ) -> AsyncIterator[list[RunEntry]]:
        """Yield the entries of runs in this range of nominal times, both ends included, a page at a time."""
        key = DefinitionKey(definition.app_id, definition.recurring_id)
        seen: Position | None = None
        while page := await self._entries(
            key, first_ms if seen is None else seen.slot_ms, last_ms, MAX_LIST_SIZE, False, seen
        ):
            yield page
            seen = Position(*page[-1])

    async def _entries(
        self,
        key: DefinitionKey,
        first_ms: int,
        last_ms: int,
        limit: int,
        newest_first: bool,
        seen: Position | None,
    ) -> list[RunEntry]:
        """Return entries beyond the one that was seen last, which shares its nominal time with few others."""
        asked = limit
        while True:
            found = await self._store.fetch_runs(key, first_ms, last_ms, asked, newest_first=newest_first)
            left = [
                each
                for each in found
                if seen is None or (each < (*seen,) if newest_first else each > (*seen,))
            ]
            if len(left) >= limit or len(found) < asked:
                return left[:limit]
            asked *= 2

    async def _rows(self, definition: Definition, entries: Sequence[RunEntry]) -> list[Row]:
        """Return the home rows of entries, as they are to be shown; those that are gone are left out."""
        rows: list[Row] = []
        for start in range(0, len(entries), _ROWS_AT_ONCE):
            part = entries[start : start + _ROWS_AT_ONCE]
            rows += [
                shown_by(row, definition)
                for row in await asyncio.gather(*(self._fetch_home(definition.app_id, each) for each in part))
                if row is not None
            ]
        return rows

    async def _fetch_home(self, app_id: str, entry: RunEntry) -> Row | None:
        return await self._store.fetch_row(Place.of_home(app_id, entry.schedule_id), entry.schedule_id)

    async def shown(self, row: Row) -> Row:
        """Return the home row of a run as clients are to see it: as cancelled, if its definition says that it
        will not be sent."""
        if row.outcome is not None or row.schedule.run is None:
            return row
        key = DefinitionKey(row.place.app_id, row.schedule.run.recurring_id)
        definition = (await self._store.fetch_definitions([key])).get(key)
        return row if definition is None or definition.damage else shown_by(row, definition)

    async def preview(self, definition: Definition, count: int) -> list[Run | Omitted]:
        """Return the next runs of a recurring schedule, and what the clocks leave out between them. Of one
        that is paused, those that there would be if it was resumed now."""
        now_ms = self._clock.now_ms()
        if definition.state in (DefinitionState.ENDED, DefinitionState.DELETED):
            return []
        after_ms = max(now_ms, definition.starts_after_ms)
        ordinal = await self.count_planned(definition, after_ms)
        found = preview(
            definition.times,
            count,
            after_ms,
            ordinal,
            key=definition.key,
            exclusions=definition.exclusions,
        )
        return [
            each for each in found if isinstance(each, Omitted) or each.nominal_ms not in definition.skipped
        ]

    async def preview_times(self, app_id: str, times: Times, count: int) -> list[Run | Omitted]:
        """The same of times that are not stored. Raises InvalidRequest for calendars that the app has not."""
        exclusions = await self._calendars.resolve(app_id, times.calendars)
        return preview(times, count, self._clock.now_ms(), exclusions=exclusions)

    def outlook(self, definition: Definition) -> tuple[int, Run | None]:
        """Return what time it is, and the next run of a definition that makes any, without its number."""
        return self._clock.now_ms(), self._upcoming(definition)

    def _upcoming(self, definition: Definition) -> Run | None:
        if definition.state is not DefinitionState.ACTIVE:
            return None
        after_ms = max(self._clock.now_ms(), definition.starts_after_ms)
        while True:
            planned = next_run(definition.current, definition.recurring_id, after_ms, 0)
            if planned is None or planned.nominal_ms not in definition.skipped:
                return planned
            after_ms = planned.nominal_ms

    async def count_planned(self, definition: Definition, upto_ms: int) -> int:
        """Return how many planned runs a definition has had up to a nominal time."""
        return await count_planned(self._store, definition, upto_ms, self._clock.now_ms())

    async def find_running(self, definition: Definition, now_ms: int) -> UUID | None:
        """Return the latest run that has no outcome, if overlaps are looked at."""
        if definition.overlap is Overlap.ALLOW:
            return None
        key = DefinitionKey(definition.app_id, definition.recurring_id)
        entries = await self._store.fetch_runs(key, now_ms - _WEEK_MS, now_ms, _LATEST, newest_first=True)
        rows = await asyncio.gather(*(self._fetch_home(definition.app_id, each) for each in entries))
        live = (row for row in rows if row is not None and row.outcome is None)
        return next((row.schedule.schedule_id for row in live if row.cancelled_ms is None), None)

    @staticmethod
    def _last_planned(definition: Definition, now_ms: int) -> int:
        """Return up to which nominal time runs may be filed."""
        after_ms = max(now_ms, definition.starts_after_ms)
        planned = next_run(definition.current, definition.recurring_id, after_ms, 0)
        return after_ms if planned is None else planned.nominal_ms

    def retention_ms(self, app: App) -> int:
        """Return for how long after its slot a row of an app is kept."""
        return (app.configuration.retention_days or self._limits.retention_days) * DAY_MS


def shown_by(row: Row, definition: Definition) -> Row:
    """Return a row as cancelled, if it has no outcome and its definition says that it will not be sent."""
    run = row.schedule.run
    if run is None or run.origin is not Origin.PLAN or row.outcome is not None:
        return row
    due_ms = row.place.slot_ms if row.moved_to is None else 0  # one that was filed again may be let go by now
    is_over = any(
        run.nominal_ms > span.from_ms or span.stops(due_ms) for span in definition.later_than(run.version)
    )
    if run.nominal_ms in definition.skipped or is_over:
        return replace(row, cancelled_ms=definition.changed_ms)
    return row


def check_size(size: int) -> None:
    if not 1 <= size <= MAX_LIST_SIZE:
        raise InvalidRequest.of("size", f"must be from 1 to {MAX_LIST_SIZE}")


def read_token(key: str, token: str) -> Position:
    try:
        return decode_token(key, token)
    except ValueError as error:
        raise InvalidRequest.of("continuation_token", str(error)) from None
