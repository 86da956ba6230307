"""Schedules of another scheduler, filed under ids of ours; theirs go on to mean them, as aliases.

Invariant. However often one is imported, and whoever dies in between, there is one schedule for its alias,
and what has become of that here (it was sent, cancelled, changed) stays so.

Of a one-time schedule the alias is stored first, with the id that is about to be filed, then the row. Who
imports it again reads the alias, and looks for the row: one that is there is left alone, but for a look
whether a dispatcher is bound to see it; one that is not is filed under the same id. A row is there longer
than its alias, so that none that was forgotten is taken for one that was never filed.

A recurring schedule has the alias for its name, and its id follows from that; so the definition itself says
that it was imported, also when it is deleted by now. It is stored first, then its alias, which lasts.

The id of a one-time schedule follows from its alias, too, as far as its slot is to come. So two imports at
once file one row, unless the app gets another quota just then: operators are to run one at a time.

What is imported may be of an app that is deactivated, and may be past: it is sent at once, when its app is
active. It may not be past for longer than rows are kept: the row of one that was sent may be forgotten then,
and it would be sent again.

| what fails | what the next import of it finds |
|---|---|
| before the alias is stored | nothing: it is filed then |
| between alias and row, or the row is refused | the alias; the row is filed |
| no answer to the row, or between row and its check | the row, which is checked |
| between definition and alias | the definition; the alias is stored |
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import NamedTuple, Protocol, cast
from uuid import UUID

from ringtime_ingest.service.apps import AppMaps
from ringtime_ingest.service.batches import AT_ONCE, Batches, check_count, outcome, parts_of
from ringtime_ingest.service.commit import CommitPath
from ringtime_ingest.service.keyed import Keyed
from ringtime_ingest.service.recurring import Recurring
from ringtime_ingest.service.requests import NewRecurring, NewSchedule
from ringtime_shared.api.imports import ImportEffect
from ringtime_shared.apps.feed import AppReading
from ringtime_shared.apps.states import new_app
from ringtime_shared.auditing import AuditTrail
from ringtime_shared.clock import Clock, require_trust
from ringtime_shared.errors import InvalidRequest, NotFound
from ringtime_shared.ids import COUNTER_BITS, MAX_COUNT, MAX_NONCES, IdParts, Kind, app_number_of, pack_id
from ringtime_shared.models.alias import Alias
from ringtime_shared.models.app import App, AppConfiguration
from ringtime_shared.models.recurring import recurring_id_of
from ringtime_shared.models.schedule import Place, Row
from ringtime_shared.settings import AppLimits
from ringtime_shared.settings.rules import CLOCK_SKEW_MS
from ringtime_shared.stores.protocol import AliasStore, ScheduleStore

_RECURRING_AT_ONCE = 8  #: each is a conditional write, and two rows


@dataclass(frozen=True, slots=True)
class Foreign:
    """A schedule of another scheduler; of a recurring one its name is the alias."""

    alias: UUID
    new: NewSchedule | NewRecurring


class Imported(NamedTuple):
    """What one came to."""

    schedule_id: UUID | None  #: None: of one that would be created
    effect: ImportEffect


class ImportStore(AliasStore, ScheduleStore, Protocol):
    """What imports need of a store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportParts:
    """What `Imports` is made of."""

    store: ImportStore
    apps: AppMaps
    commit: CommitPath
    clock: Clock
    batches: Batches
    keyed: Keyed
    recurring: Recurring
    trail: AuditTrail
    near_ms: int
    limits: AppLimits
    #: returns the details as they will be kept, if a request keeps the rules; raises InvalidRequest
    screen_recurring: Callable[[NewRecurring, App], Awaitable[bytes]]


_Results = list[Imported | Exception | None]


class Imports:
    """The imports of one process."""

    def __init__(self, parts: ImportParts) -> None:
        self._parts = parts
        self._store = parts.store

    async def create(
        self, asked: Sequence[Foreign | Exception], *, is_plan: bool = False
    ) -> list[Imported | Exception]:
        """Import schedules; return for each, in order, what it came to, or why it cannot be.

        Args:
            asked: 1 to 1,000; an error stands for what could not even be read, and is its own result.
            is_plan: file nothing. Apps that are not registered are taken for ones with the largest limits.

        Raises InvalidRequest for their number, and StoreUnavailable (ClockInDoubt among it).
        """
        check_count("schedules", asked)
        require_trust(self._parts.clock)
        results: _Results = [None if isinstance(each, Foreign) else each for each in asked]
        foreign = dict[int, Foreign]()
        seen = set[UUID]()
        for n, each in enumerate(asked):
            if isinstance(each, Foreign):
                if each.alias in seen:
                    results[n] = InvalidRequest.of("scheduleId", "given twice")
                    continue
                seen.add(each.alias)
                foreign[n] = each
        known = await self._store.fetch_aliases([each.alias for each in foreign.values()])
        once = {n: each for n, each in foreign.items() if isinstance(each.new, NewSchedule)}
        rest = [(n, each) for n, each in foreign.items() if n not in once]
        noted = {"schedules": len(once), "recurring": len(rest)}
        if is_plan:
            await self._import(once, rest, known, results, is_plan=True)
        else:
            async with self._parts.trail.change("", "imports", None, noted):
                await self._import(once, rest, known, results, is_plan=False)
        return [cast("Imported | Exception", each) for each in results]

    async def _import(
        self,
        once: Mapping[int, Foreign],
        rest: Sequence[tuple[int, Foreign]],
        known: Mapping[UUID, UUID],
        results: _Results,
        *,
        is_plan: bool,
    ) -> None:
        if once:
            await self._file(once, known, results, is_plan=is_plan)
        for some in parts_of(rest, _RECURRING_AT_ONCE):
            came_to = await asyncio.gather(
                *(outcome(self._put(each, known.get(each.alias), is_plan=is_plan)) for _, each in some)
            )
            for (n, _), result in zip(some, came_to, strict=True):
                results[n] = result

    async def _file(
        self,
        once: Mapping[int, Foreign],
        known: Mapping[UUID, UUID],
        results: _Results,
        *,
        is_plan: bool,
    ) -> None:
        """Import one-time schedules."""
        news = {n: cast(NewSchedule, each.new) for n, each in once.items()}
        readings = await self._parts.batches.read_apps(
            {new.app_id for new in news.values()}, may_be_inactive=True
        )
        if is_plan:
            readings = {
                app_id: self._stand_in(app_id) if isinstance(reading, NotFound) else reading
                for app_id, reading in readings.items()
            }
        given = {
            n: schedule_id
            for n, new in news.items()
            if (schedule_id := known.get(once[n].alias)) is not None
            and isinstance(reading := readings[new.app_id], AppReading)
            and app_number_of(schedule_id) == reading.app.number
        }
        await self._look(news, given, readings, results, is_plan=is_plan)
        left = [(n, new) for n, new in news.items() if results[n] is None]
        drafts = await self._parts.batches.judge(left, readings, results, may_be_past=True)
        if is_plan:
            for draft in drafts:
                results[draft.number] = Imported(None, ImportEffect.WOULD_BE_CREATED)
            return
        now_ms = self._parts.clock.now_ms()
        filed: list[tuple[Row, AppReading]] = []
        for part in parts_of(drafts, AT_ONCE):
            rows = await self._parts.batches.make_rows(part, now_ms)
            for draft, row in zip(part, rows, strict=True):
                alias = once[draft.number].alias
                schedule_id = given.get(draft.number) or imported_id(alias, draft.reading, row.place.slot_ms)
                filed.append((_under(schedule_id, row), draft.reading))
            await asyncio.sleep(0)
        refused = await self._parts.batches.find_full(filed)
        for draft in drafts:
            results[draft.number] = refused.get(draft.new.app_id)
        kept = [
            (draft, each)
            for draft, each in zip(drafts, filed, strict=True)
            if draft.new.app_id not in refused
        ]
        if not kept:
            return
        await self._store.put_aliases(
            [
                Alias(
                    once[draft.number].alias,
                    row.schedule.schedule_id,
                    row.schedule.expires_ms - CLOCK_SKEW_MS,
                )
                for draft, (row, _) in kept
            ]
        )
        came_to = await self._parts.commit.file_many([each for _, each in kept])
        for (draft, _), result in zip(kept, came_to, strict=True):
            results[draft.number] = (
                result
                if isinstance(result, Exception)
                else Imported(result.schedule.schedule_id, ImportEffect.CREATED)
            )

    async def _look(
        self,
        news: Mapping[int, NewSchedule],
        given: Mapping[int, UUID],
        readings: Mapping[str, AppReading | Exception],
        results: _Results,
        *,
        is_plan: bool,
    ) -> None:
        """See which of those that were imported before have their row."""

        async def look(n: int, schedule_id: UUID) -> Imported | None:
            row = await self._store.fetch_row(Place.of_home(news[n].app_id, schedule_id), schedule_id)
            if row is None:
                return None
            near_ms = self._parts.clock.now_ms() + self._parts.near_ms
            if not is_plan and row.is_live and row.place.slot_ms < near_ms:
                await self._parts.keyed.confirm(row, cast(AppReading, readings[news[n].app_id]))
            return Imported(schedule_id, ImportEffect.THERE)

        for some in parts_of(list(given.items()), AT_ONCE):
            for (n, _), found in zip(
                some, await asyncio.gather(*(outcome(look(*each)) for each in some)), strict=True
            ):
                results[n] = found

    def _stand_in(self, app_id: str) -> AppReading:
        """Return what a plan goes by of an app that is not registered yet: one that may have all there is."""
        limits = self._parts.limits
        most = AppConfiguration(
            payload_bytes=limits.max_payload_bytes, future_period_days=limits.max_future_period_days
        )
        now_ms = self._parts.clock.now_ms()
        app = new_app(app_id, partitions=1, active=True, configuration=most, now_ms=now_ms)
        return AppReading(app, self._parts.clock.boot_ms())

    async def _put(self, foreign: Foreign, known: UUID | None, *, is_plan: bool) -> Imported:
        """Import a recurring schedule."""
        new = cast(NewRecurring, foreign.new)
        try:
            app = (await self._parts.apps.get(new.app_id)).app
        except NotFound:
            if not is_plan:
                raise
            await self._parts.screen_recurring(new, self._stand_in(new.app_id).app)
            return Imported(None, ImportEffect.WOULD_BE_CREATED)
        recurring_id = recurring_id_of(app.number, new.name)
        there = Imported(recurring_id, ImportEffect.THERE)
        if known == recurring_id:
            return there
        try:
            await self._parts.recurring.fetch_by_id(recurring_id)
        except NotFound:
            await self._parts.recurring.put(new, 0, is_plan=is_plan, may_be_inactive=True)
            if is_plan:
                return Imported(None, ImportEffect.WOULD_BE_CREATED)
            there = Imported(recurring_id, ImportEffect.CREATED)
        if not is_plan:
            await self._store.put_aliases([Alias(foreign.alias, recurring_id, None)])
        return there


def imported_id(alias: UUID, reading: AppReading, slot_ms: int) -> UUID:
    """Return the id of the schedule that is to be filed at a slot for an alias."""
    rest = int.from_bytes(sha256(b"imported\0" + alias.bytes).digest(), "big")
    return pack_id(
        IdParts(
            slot_ms=slot_ms,
            kind=Kind.ONE_TIME,
            partition=(rest >> 64) % reading.app.writable,
            app_number=reading.app.number,
            nonce=rest >> COUNTER_BITS & MAX_NONCES - 1,
            counter=rest & MAX_COUNT - 1,
        )
    )


def _under(schedule_id: UUID, row: Row) -> Row:
    """Return a home row under another id, filed where that says."""
    place, schedule = Place.of_home(row.place.app_id, schedule_id), row.schedule
    kept_ms = schedule.expires_ms - row.place.slot_ms
    return Row(
        schedule=replace(schedule, schedule_id=schedule_id, expires_ms=place.slot_ms + kept_ms), place=place
    )
