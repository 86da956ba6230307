"""One-time schedules under names of the client's own: a name stands for one pending schedule of an app.

A name is a claim, as an idempotency key is (see `keyed`), but one that is free again as soon as its
schedule has ended or was cancelled. A put of a name that is free files a new schedule; of one whose
schedule is pending it leaves that schedule as it is if it asks for the same, and changes it under its id if
not (see `changes`).

Invariant. When `put` returns a schedule, the name stands for it, and no other schedule that was put under
the name is pending, but for one that can no more be cancelled in time.

Proof sketch. A claim is replaced by a compare-and-set only, and only where its schedule has ended, was
cancelled, or is not there. The last is the one in doubt: whoever made that claim may be slow, and file its
schedule later. Therefore who files a new schedule reads the claim once more afterwards, and takes its
schedule back if the claim is another's; and who has replaced a claim without a row looks for that row once
more. If the slow one's row was durable before the claim was replaced, the second look finds it; if not, the
slow one's own read, which follows its write, finds the claim replaced. No clock takes part.

| what fails | what becomes of the name |
|---|---|
| a put dies between claim and row | IN_FLIGHT for some seconds, then it is free |
| the store refuses the row, and says that nothing was written | it is free |
| the same put comes again after that | it files the row that was claimed, as with a key |
| a put's reply is dropped | the same put finds its schedule |
| two puts that differ come at once | one stands, or is changed; the other is told IN_FLIGHT or CONFLICT |
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple
from uuid import UUID

import orjson

from ringtime_ingest.service.apps import AppMaps
from ringtime_ingest.service.changes import Changes
from ringtime_ingest.service.commit import CommitPath
from ringtime_ingest.service.creations import Creations, now_s
from ringtime_ingest.service.keyed import TRIES, Draft, Keyed, KeyedStore, as_first_asked, digest_of
from ringtime_ingest.service.requests import Cancellation, NewSchedule, ScheduleChange
from ringtime_ingest.service.stored import Stored
from ringtime_shared.api.schedules import PutEffect
from ringtime_shared.apps.feed import AppReading
from ringtime_shared.callbacks.foreign import describe
from ringtime_shared.errors import (
    AlreadyDone,
    Conflict,
    InFlight,
    InvalidRequest,
    NotChangeable,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    RingtimeError,
)
from ringtime_shared.ids import app_number_of
from ringtime_shared.models.claim import Claim, ClaimKey, ClaimKind
from ringtime_shared.models.schedule import Row, Schedule
from ringtime_shared.models.sending import Sending
from ringtime_shared.settings.rules import CLOCK_SKEW_MS

FIELD = "name"


class Put(NamedTuple):
    """What a put came to."""

    row: Row  #: the home row, as it is now
    is_new: bool  #: this put, or one that was broken off, filed it


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedParts:
    """What `Named` is made of."""

    store: KeyedStore
    apps: AppMaps
    commit: CommitPath
    keyed: Keyed
    draft: Draft
    stored: Stored
    changes: Changes
    cancel: Callable[[UUID], Awaitable[Cancellation]]
    creations: Creations


class Plan(NamedTuple):
    """What a put would come to."""

    row: Row  #: as it would be; of one that would be created, with an id that no schedule has
    effect: PutEffect


class Named:
    """The named schedules of one process."""

    def __init__(self, parts: NamedParts) -> None:
        self._parts = parts
        self._store = parts.store
        self._keyed = parts.keyed

    async def put(self, new: NewSchedule) -> Put:
        """File a schedule under its name, or make the one that is pending there what is asked for.

        Raises InFlight: a put of this name is under way; Conflict: another came in between; as
        `IngestService.create_schedule`, and where one is pending as `Changes.change`.
        """
        key, begun_s = ClaimKey(new.app_id, ClaimKind.NAME, new.name), now_s()
        try:
            row, reading = await self._parts.draft(new)
        except InvalidRequest as refusal:
            return Put(await self._repeat(new, key, refusal), is_new=False)
        is_counted = await self._admit(key, row, reading)
        try:
            put = await self._claim(new, key, row, reading)
        except (InFlight, NotChangeable, InvalidRequest):
            if is_counted:
                self._parts.stored.take_back(reading.app, row.schedule.expires_ms)
            raise
        if is_counted and not put.is_new:
            self._parts.stored.take_back(reading.app, row.schedule.expires_ms)
        if put.is_new:
            self._parts.creations.note(new.app_id, begun_s)
        return put

    async def _admit(self, key: ClaimKey, row: Row, reading: AppReading) -> bool:
        """Count a schedule that may be filed; False: none will be, and there was no room for it. Raises
        RateLimited."""
        try:
            await self._parts.stored.admit(reading.app, [row.schedule.expires_ms])
        except RateLimited:
            stored = await self._store.fetch_claim(key)
            first = None if stored is None else await self._keyed.first_row(stored)
            if stored is None or first is None or self._is_free(stored, first, reading):
                raise
            return False
        return True

    async def _claim(self, new: NewSchedule, key: ClaimKey, row: Row, reading: AppReading) -> Put:
        """File the row, or make what the name stands for what is asked for."""
        claim = Claim(
            key=key,
            schedule_id=row.schedule.schedule_id,
            digest=digest_of(new),
            claimed_ms=row.schedule.created_ms,
            busy_until_ms=row.schedule.created_ms + self._keyed.busy_ms,
            expires_ms=row.schedule.expires_ms - CLOCK_SKEW_MS,
        )
        before: Claim | None = None
        for _ in range(TRIES):
            stored = await self._store.replace_claim(claim, before)
            if stored == claim:
                return Put(await self._file(claim, row, reading, before), is_new=True)
            first = await self._keyed.first_row(stored)
            is_free = self._is_free(stored, first, reading)
            if first is None and not is_free:
                if self._keyed.is_busy(stored):
                    raise InFlight("a put of this name is under way; try again in a moment", FIELD)
                if stored.digest == claim.digest:
                    again = as_first_asked(row, new, stored)
                    return Put(await self._file(stored, again, reading, None), is_new=True)
            if first is None or is_free:
                before = stored
                continue
            if not _is_same(await self._pending(first), row.schedule, new, stored.digest == claim.digest):
                changed = await self._parts.changes.change(stored.schedule_id, _change_of(new))
                await self.keep(changed, claim.digest)
                return Put(changed, is_new=False)
            return Put(await self._keyed.confirm(first, reading), is_new=False)
        raise InFlight("others put this name all the time; try again in a moment", FIELD)

    async def plan(self, new: NewSchedule) -> Plan:
        """Return what a put would do just now, and do nothing. Raises as `put`, of what can be known."""
        key = ClaimKey(new.app_id, ClaimKind.NAME, new.name)
        try:
            row, reading = await self._parts.draft(new)
        except InvalidRequest as refusal:
            return Plan(await self._repeat(new, key, refusal), PutEffect.NONE)
        if await self._admit(key, row, reading):
            self._parts.stored.take_back(reading.app, row.schedule.expires_ms)
        stored, digest = await self._store.fetch_claim(key), digest_of(new)
        if stored is None or app_number_of(stored.schedule_id) != reading.app.number:
            return Plan(row, PutEffect.CREATE)
        first = await self._keyed.first_row(stored)
        if first is None and self._keyed.is_busy(stored):
            raise InFlight("a put of this name is under way; try again in a moment", FIELD)
        if first is None or self._is_free(stored, first, reading):
            is_again = first is not None and stored.digest == digest
            return Plan(row, PutEffect.CREATE_AGAIN if is_again else PutEffect.CREATE)
        if _is_same(await self._pending(first), row.schedule, new, stored.digest == digest):
            return Plan(first, PutEffect.NONE)
        return Plan(await self._parts.changes.plan(stored.schedule_id, _change_of(new)), PutEffect.CHANGE)

    def _is_free(self, stored: Claim, first: Row | None, reading: AppReading) -> bool:
        """Whether a name stands for nothing that is pending, given what its claim stands for; False: or it is
        not known."""
        return self._keyed.is_over(stored, reading.app) or (first is not None and not _is_pending(first))

    async def fetch(self, app_id: str, name: str) -> UUID:
        """Return the id of the schedule that a name stands for, or stood for last. Raises NotFound."""
        app = (await self._parts.apps.get(app_id)).app
        claim = await self._store.fetch_claim(ClaimKey(app_id, ClaimKind.NAME, name))
        if claim is None or app_number_of(claim.schedule_id) != app.number:
            raise NotFound("named schedule", name)
        return claim.schedule_id

    async def keep(self, row: Row, digest: str = "") -> None:
        """Let a name stand for its schedule as long as that can be read, once it was changed.

        Args:
            digest: of what was asked for, if a put did it.

        Raises OutcomeUnknown: it is changed, but another may be put under its name too early.
        """
        schedule = row.schedule
        key = ClaimKey(schedule.app_id, ClaimKind.NAME, schedule.name)
        try:
            stored = await self._store.fetch_claim(key)
            if stored is None or stored.schedule_id != schedule.schedule_id:
                return
            expires_ms = max(stored.expires_ms, schedule.expires_ms - CLOCK_SKEW_MS)
            kept = replace(stored, expires_ms=expires_ms, digest=digest or stored.digest)
            if kept != stored:
                await self._store.replace_claim(kept, stored)
        except RingtimeError as error:
            raise OutcomeUnknown(f"the schedule is changed: {describe(error)}") from error

    async def _repeat(self, new: NewSchedule, key: ClaimKey, refusal: InvalidRequest) -> Row:
        """Return the schedule of a put that would be refused now, because its time is past by now."""
        stored = None
        if new.delay_ms is None and all(each.field == "scheduleTime" for each in refusal.violations):
            stored = await self._store.fetch_claim(key)
        if stored is not None and stored.digest == digest_of(new):
            reading, first = await self._parts.apps.get(key.app_id), await self._keyed.first_row(stored)
            is_there = first is not None and first.cancelled_ms is None
            if first is not None and is_there and not self._keyed.is_over(stored, reading.app):
                return await self._keyed.confirm(first, reading)
        raise refusal

    async def _pending(self, home: Row) -> Row:
        """Return the filing that is to be sent: a later one, if it was changed."""
        if home.moved_to is None:
            return home
        return await self._store.fetch_row(home.moved_to, home.schedule.schedule_id) or home

    async def _file(self, claim: Claim, row: Row, reading: AppReading, before: Claim | None) -> Row:
        """File the schedule of a claim; see to it that it is the only one of its name."""
        filed = await self._keyed.file_claimed(claim, row, reading)
        try:
            if before is not None:
                late = await self._keyed.first_row(before)
                if late is not None and _is_pending(late):
                    await self._take_back(before.schedule_id)
            stored = await self._store.fetch_claim(claim.key)
        except RingtimeError as error:
            raise OutcomeUnknown(f"the schedule exists: {describe(error)}") from error
        if stored is None or stored.schedule_id == claim.schedule_id:
            return filed
        await self._take_back(claim.schedule_id)
        raise Conflict("somebody else put this name at the same moment", FIELD)

    async def _take_back(self, schedule_id: UUID) -> None:
        with suppress(AlreadyDone):
            await self._parts.cancel(schedule_id)


def _change_of(new: NewSchedule) -> ScheduleChange:
    """Return what makes any schedule the one that is asked for."""
    sending = new.sending or Sending()
    return ScheduleChange(
        fire_ms=new.fire_ms,
        delay_ms=new.delay_ms,
        payload=new.payload,
        is_base64=sending.is_base64,
        timeout_ms=sending.timeout_ms,
        priority=sending.priority,
        hooks=sending.hooks,
        callback_type=new.callback_type,
        callback_details=new.callback_details,
        retry=new.retry,
        labels=new.labels,
        is_whole=True,
    )


def _is_pending(row: Row) -> bool:
    return row.outcome is None and row.cancelled_ms is None


def _is_same(pending: Row, drafted: Schedule, new: NewSchedule, is_same_request: bool) -> bool:
    """Whether a put asks for what is pending; a delay counts from when it was first asked for, by the put
    that made the schedule or by one that changed it."""
    stored = pending.schedule
    if new.delay_ms is not None:
        begun_ms = {stored.created_ms, stored.created_ms if pending.change is None else pending.change.at_ms}
        if not is_same_request or stored.fire_ms - new.delay_ms not in begun_ms:
            return False
    elif drafted.fire_ms != stored.fire_ms:
        return False
    if orjson.loads(stored.callback_details) != orjson.loads(drafted.callback_details):
        return False
    return stored == replace(
        drafted,
        schedule_id=stored.schedule_id,
        fire_ms=stored.fire_ms,
        callback_details=stored.callback_details,
        created_ms=stored.created_ms,
        expires_ms=stored.expires_ms,
        trace=stored.trace,
    )
