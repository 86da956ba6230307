"""Change a one-time schedule that has not been sent: the steps of `ringtime_shared.schedules.changing`.

1. Read the home row and what is in force; refuse what cannot be changed any more.
2. Claim a slot for this change, where no other filing of the schedule is; file it there through the commit
   path, which claims another one if it is overtaken there; look if it is there. Two changes that shared a
   filing would be one key in the store, of which Cassandra keeps the later write, whoever has looked at the
   earlier one meanwhile.
3. Read the home row again: nobody has changed, cancelled or sent it meanwhile.
4. Write the pointer. It is in time if it was durable soon after 3, and long before what was in force is due.
5. Read the home row once more: of two changes at the same moment the later pointer wins, as stores see it.
6. Close what was in force, if that was a change itself: nothing can put it in force again.

A schedule that is changed costs five round trips and a conditional write more than its first filing; others
cost nothing.

| what fails | what the caller gets |
|---|---|
| before 4 | StoreUnavailable: what was in force is, whatever was filed |
| the pointer's answer, or it came late | OutcomeUnknown: one of the two is sent, or in the worst case both |
| 3 or 5 finds another's pointer | VersionConflict: that change holds; this one never will, and is closed |
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, TypeVar
from uuid import UUID

from ringtime_ingest.service.apps import AppMaps
from ringtime_ingest.service.commit import CommitPath, claim_slot
from ringtime_ingest.service.listing import fetch_shown
from ringtime_ingest.service.requests import ScheduleChange
from ringtime_shared.apps.feed import AppReading
from ringtime_shared.apps.states import inactive
from ringtime_shared.buckets import bucket_of
from ringtime_shared.clock import Clock, require_trust
from ringtime_shared.errors import (
    NotChangeable,
    OutcomeUnknown,
    RingtimeError,
    StoreUnavailable,
    VersionConflict,
)
from ringtime_shared.ids import home_slot
from ringtime_shared.models.app import App
from ringtime_shared.models.schedule import Change, Place, Row, RowUpdate, Schedule
from ringtime_shared.partition_choice import PartitionChooser
from ringtime_shared.schedules.cancelling import CANCEL_PROMISE_MS
from ringtime_shared.schedules.changing import WINDOW_MS, as_shown, slot_of_change
from ringtime_shared.stores.protocol import ClaimStore, ScheduleStore

T = TypeVar("T")
_TRIES = 8  #: of places for a filing, before giving up; each is sought in twice the span of the one before
_TOKEN_BITS = 62  #: of an id that no other has: the app's number, the process's nonce, a counter


class ChangeStore(ClaimStore, ScheduleStore, Protocol):
    """What changing needs of a store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeParts:
    """What changing is made of."""

    store: ChangeStore
    apps: AppMaps
    commit: CommitPath
    chooser: PartitionChooser
    clock: Clock
    margin_ms: int
    fetch_home: Callable[[UUID], Awaitable[Row]]  #: raises NotFound
    mint: Callable[[int, int, int], Awaitable[UUID]]  #: an id nobody has, of slot, partition and app number
    apply: Callable[[Schedule, ScheduleChange, App, int], Awaitable[Schedule]]
    """The schedule as it is to be, of how it is, at this instant. Raises InvalidRequest."""


class _Draft(NamedTuple):
    """A change before it is made."""

    home: Row
    old: Row  #: the filing that is to be sent, or was sent last
    schedule: Schedule  #: as it is to be
    reading: AppReading
    now_ms: int


class Changes:
    """Changes schedules of all apps."""

    def __init__(self, parts: ChangeParts) -> None:
        self._parts = parts
        self._store = parts.store
        self._clock = parts.clock

    async def change(self, schedule_id: UUID, asked: ScheduleChange) -> Row:
        """Change a schedule; return its home row as it is shown. What was to be sent before is not sent.

        Raises NotFound, NotChangeable, InvalidRequest, AppInactive, VersionConflict, StoreUnavailable
        (ClockInDoubt among it), OutcomeUnknown.
        """
        home, old, schedule, reading, now_ms = await self._draft(schedule_id, asked)
        new = await self._file(home, old, schedule, reading, now_ms)
        await _without_effect(self._prolong(home, schedule.expires_ms))
        await self._point(home, old, new)
        return as_shown(replace(home, moved_to=new.place), new)

    async def plan(self, schedule_id: UUID, asked: ScheduleChange) -> Row:
        """Return what `change` would, and change nothing. Raises as that, of what can be known before."""
        home, _, schedule, _, now_ms = await self._draft(schedule_id, asked)
        return as_shown(home, Row(schedule=schedule, place=home.place, change=Change(now_ms, 0)))

    async def _draft(self, schedule_id: UUID, asked: ScheduleChange) -> _Draft:
        parts = self._parts
        home = await parts.fetch_home(schedule_id)
        reading = await parts.apps.get(home.place.app_id)
        if not reading.app.active:
            raise inactive(reading.app)
        require_trust(self._clock)
        old = await self._in_force(home)
        now_ms = self._clock.now_ms()
        self._check_changeable(home, old, now_ms)
        schedule = await parts.apply(old.schedule, asked, reading.app, now_ms)
        return _Draft(home, old, schedule, reading, now_ms)

    async def _prolong(self, home: Row, expires_ms: int) -> None:
        """Keep a home row for longer, if it would be forgotten before."""
        if home.schedule.expires_ms < expires_ms:
            longer = replace(home.schedule, expires_ms=expires_ms)
            await self._store.put_rows([Row(schedule=longer, place=home.place)])

    async def _in_force(self, home: Row) -> Row:
        """Return the filing that is to be sent, or was sent last."""
        if home.moved_to is None:
            return home
        return await self._store.fetch_row(home.moved_to, home.schedule.schedule_id) or home

    def _check_changeable(self, home: Row, old: Row, now_ms: int) -> None:
        """Raise NotChangeable for what is over, is being sent, or is another's to change."""
        schedule_id, why = str(home.schedule.schedule_id), ""
        if home.outcome is not None or home.cancelled_ms is not None:
            why = "it is over"
        elif home.schedule.run is not None:
            why = "it is a run: its recurring schedule can be changed"
        elif home.schedule.hook_of is not None:
            why = "it is a hook, which says how a schedule ended"
        elif old.attempts:
            why = "an attempt was made"
        elif old.place.slot_ms - now_ms <= CANCEL_PROMISE_MS:
            why = "it is due within a second, or was"
        if why:
            raise NotChangeable(schedule_id, home.status, why)

    async def _file(self, home: Row, old: Row, schedule: Schedule, reading: AppReading, now_ms: int) -> Row:
        """File the changed schedule; return its filing as it is found in the store."""
        parts, app, schedule_id = self._parts, reading.app, schedule.schedule_id
        at_ms = max(schedule.fire_ms, now_ms + parts.margin_ms)
        partition = parts.chooser.choose(app.number, bucket_of(at_ms), app.writable)
        token = (await parts.mint(at_ms, partition, app.number)).int & ((1 << _TOKEN_BITS) - 1)
        change = Change(now_ms, token)
        taken, span = {home_slot(schedule_id), home.place.slot_ms, old.place.slot_ms}, 1
        for _ in range(_TRIES):
            slot_ms = slot_of_change(at_ms + 2 * (token % span))
            while slot_ms in taken:
                slot_ms += 2
            taken.add(slot_ms)
            span *= 4
            place = Place(app.app_id, partition, slot_ms)
            filing = Row(schedule=schedule, place=place, change=change)
            if not await _without_effect(claim_slot(self._store, filing)):
                continue
            filed = await _without_effect(parts.commit.file(filing, reading))
            stored = await self._store.fetch_row(filed.moved_to or filed.place, schedule_id)
            if stored is not None and stored.change == change and stored.is_live:
                return stored
        raise StoreUnavailable(f"schedule {schedule_id} has too many changes to about the same time")

    async def _point(self, home: Row, old: Row, new: Row) -> None:
        """Put a changed filing in force."""
        schedule_id, clock = home.schedule.schedule_id, self._clock
        begun_ms = clock.boot_ms()
        now = await self._parts.fetch_home(schedule_id)
        if now.moved_to != home.moved_to:
            raise await self._overtaken(new, now)
        self._check_changeable(now, old, clock.now_ms())
        require_trust(clock)
        pointer = RowUpdate(place=home.place, schedule_id=schedule_id, moved_to=new.place)
        await self._store.put_updates([pointer])
        is_soon = clock.boot_ms() - begun_ms < WINDOW_MS
        is_early = clock.now_ms() < old.place.slot_ms - CANCEL_PROMISE_MS
        if not is_soon or not is_early or clock.doubt() is not None:
            raise OutcomeUnknown(f"the change of {schedule_id} may have come too late")
        after = await _once_changed(self._store.fetch_row(home.place, schedule_id))
        if after is not None and after.moved_to != new.place:
            (shown,) = await _once_changed(fetch_shown(self._store, [after]))
            if shown.change != new.change:  # else it has gone on already: an attempt failed, or it was parked
                if clock.boot_ms() - begun_ms >= WINDOW_MS:  # it may have been in force for long enough
                    raise OutcomeUnknown(f"the change of {schedule_id} was in force for a while, if at all")
                raise await self._overtaken(new, after)
        if after is not None:  # another change, at the same moment, may have filed it for less long
            await _once_changed(self._prolong(after, new.schedule.expires_ms))
        if old.change is not None:
            over = RowUpdate(place=old.place, schedule_id=schedule_id, moved_to=new.place)
            await _once_changed(self._store.put_updates([over]))

    async def _overtaken(self, new: Row, home: Row) -> VersionConflict:
        """Close the filing of a change that will never be in force, for it would be looked at until the
        schedule is over; return what its client is told."""
        schedule_id = new.schedule.schedule_id
        over = RowUpdate(place=new.place, schedule_id=schedule_id, moved_to=home.moved_to or home.place)
        with suppress(RingtimeError):  # then a dispatcher sees it off
            await self._store.put_updates([over])
        return VersionConflict(f"schedule {schedule_id} was changed by others at the same time", "scheduleId")


async def _without_effect(call: Awaitable[T]) -> T:
    """Await a write before the pointer: done or not, nothing is changed by it."""
    try:
        return await call
    except OutcomeUnknown as error:
        raise StoreUnavailable(f"nothing was changed: {error}") from error


async def _once_changed(call: Awaitable[T]) -> T:
    """Await a call that follows the pointer: its failure leaves the outcome unknown."""
    try:
        return await call
    except StoreUnavailable as error:
        raise OutcomeUnknown(f"the schedule may have been changed: {error}") from error
