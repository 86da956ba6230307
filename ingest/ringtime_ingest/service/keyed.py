"""Creates with an idempotency key: however often one is sent, and to whichever pod, it makes one schedule.

A key is a claim in the store (`ClaimStore`): the first create writes it, with the id of the schedule that
it is about to file; every later one reads it there. An id says where its home row lies, and a row that is
filed twice is there once. So whoever comes later, because a reply was dropped or a pod died, does not ask
whether the first came to its end: it files the same row under the same id, by the same commit path, and
answers.

Invariants. (1) A key stands for one id at a time: a claim is replaced only by a compare-and-set on what was
read, and only when its schedule was cancelled, its app is another one of the same id, or its time is over.
(2) When `create` returns, the row of that id is filed and seen, as of a create without a key: also a replay
went through the commit path. A row that is there is not enough: the first may have died between its write
and its check, and then nobody may ever read the row.

Proof sketch. Two creates of one key that both return an id of their own would both have replaced the same
claim, or the first id's was over. Both filings of one id have equal contents: they have the digest of what
was asked for in common, and what the server adds (the slot, the times of create and fire) is counted from
what the claim says. If the first one's filing was sent already, the second files it at most once more,
under a later slot: a dispatcher looks at the outcome of the first before it sends that. No clock takes part
but for "in flight" and "its time is over".

In flight is a claim younger than `ingest.write_deadline_ms` whose row is not there: its create is most
likely being written, and its answer is worth the wait. The bound is one of courtesy: nothing breaks if the
first is slower.

| what fails | what a create with this key is answered next |
|---|---|
| the create breaks a rule | the same: no claim was made |
| no answer to the claim | as if the first had died: next line |
| the store refuses the row, and says that nothing was written | it is filed |
| the first dies between claim and row | IN_FLIGHT for some seconds, then it is filed |
| the first dies between the row's write and its check | it is filed again, under a later slot if need be |
| the reply is dropped | the same schedule, as it is by then |
| the first is suspended, and goes on when another has filed the row | nothing: it files what is there |
| so long that the row was sent meanwhile | a filing that is found sent; sent again if the sender died |
| it is changed while a repeat of its create is under way | the change: see `_look_again` |
| the same, and its partition goes at that moment | in the worst case what was asked for first |
| its time has passed when the create comes again | the same schedule: a key is older than the rules |
| the pods' clocks differ by s | IN_FLIGHT lasts longer, or shorter, by s |

A create with a key costs a conditional write beside its own: four round trips of Cassandra's replicas. One
without a key costs what it did.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from typing import Protocol

import orjson

from ringtime_ingest.service.apps import AppMaps
from ringtime_ingest.service.commit import CommitPath, Overtaken, once_filed
from ringtime_ingest.service.creations import Creations, now_s
from ringtime_ingest.service.listing import fetch_shown
from ringtime_ingest.service.requests import Kept, NewSchedule
from ringtime_ingest.service.stored import Stored
from ringtime_shared.api.ids import check_key
from ringtime_shared.apps.feed import AppReading
from ringtime_shared.clock import Clock
from ringtime_shared.errors import (
    AppInactive,
    InFlight,
    InvalidRequest,
    KeyReused,
    RateLimited,
    RingtimeError,
    StoreUnavailable,
)
from ringtime_shared.ids import app_number_of
from ringtime_shared.models.app import App
from ringtime_shared.models.claim import Claim, ClaimKey, ClaimKind
from ringtime_shared.models.schedule import Place, Row, RowUpdate, Status
from ringtime_shared.schedules.changing import as_shown
from ringtime_shared.settings import IngestSettings
from ringtime_shared.settings.rules import CLOCK_SKEW_MS
from ringtime_shared.stores.codec.cells import encode_slim
from ringtime_shared.stores.protocol import ClaimStore, ScheduleStore

TRIES = 5  #: each lost one is a claim of somebody else's
_HOUR_MS = 3_600_000
Draft = Callable[[NewSchedule], Awaitable[tuple[Row, AppReading]]]
"""Returns the home row of a create that keeps every rule, not filed yet. Raises as `create_schedule`."""


class KeyedStore(ClaimStore, ScheduleStore, Protocol):
    """What creates with keys need of a store."""


class Keyed:
    """The creates with keys of one process."""

    def __init__(
        self,
        store: KeyedStore,
        apps: AppMaps,
        commit: CommitPath,
        clock: Clock,
        settings: IngestSettings,
        draft: Draft,
        stored: Stored,
        creations: Creations,
    ) -> None:
        self._creations = creations
        self._store = store
        self._apps = apps
        self._commit = commit
        self._clock = clock
        self._keep_ms = settings.idempotency_hours * _HOUR_MS
        self.busy_ms = settings.write_deadline_ms
        self._draft = draft
        self._stored = stored

    async def create(self, new: NewSchedule) -> Kept:
        """File a schedule unless its key stands for one that was asked for in the same way.

        Raises KeyReused: it stands for another; InFlight: the first create with it is under way; and as
        `create_schedule`.
        """
        key, begun_s = ClaimKey(new.app_id, ClaimKind.KEY, new.idempotency_key), now_s()
        try:
            row, reading = await self._draft(new)
            await self._stored.admit(reading.app, [row.schedule.expires_ms])
        except (InvalidRequest, AppInactive, RateLimited) as refusal:
            return await self._repeat(new, key, refusal)
        try:
            kept = await self._claim(new, key, row, reading)
        except (KeyReused, InFlight):
            self._stored.take_back(reading.app, row.schedule.expires_ms)
            raise
        if kept.is_replay:
            self._stored.take_back(reading.app, row.schedule.expires_ms)
        else:
            self._creations.note(new.app_id, begun_s)
        return kept

    async def _claim(self, new: NewSchedule, key: ClaimKey, row: Row, reading: AppReading) -> Kept:
        """File the row unless the key stands for another one."""
        schedule = row.schedule
        claim = Claim(
            key=key,
            schedule_id=schedule.schedule_id,
            digest=digest_of(new),
            claimed_ms=schedule.created_ms,
            busy_until_ms=schedule.created_ms + self.busy_ms,
            expires_ms=min(schedule.created_ms + self._keep_ms, schedule.expires_ms - CLOCK_SKEW_MS),
        )
        before: Claim | None = None
        for _ in range(TRIES):
            stored = await self._store.replace_claim(claim, before)
            if stored == claim:
                row = await self.file_claimed(claim, row, reading)
                return Kept(row, is_replay=False, expires_ms=claim.expires_ms)
            first = await self.first_row(stored)
            if self.is_over(stored, reading.app) or _is_deleted(first):
                before = stored
                continue
            if stored.digest != claim.digest:
                raise KeyReused
            if first is not None:
                first = await self.confirm(first, reading)
            elif self.is_busy(stored):
                raise InFlight
            else:
                first = await self._file(as_first_asked(row, new, stored), reading)
            return Kept(first, is_replay=True, expires_ms=stored.expires_ms)
        raise InFlight("others take this key all the time; try again in a moment")

    async def _repeat(self, new: NewSchedule, key: ClaimKey, refusal: Exception) -> Kept:
        """Answer a create that would be refused now, if it was not when it first came."""
        stored = None if check_key(key.text) else await self._store.fetch_claim(key)
        if stored is not None and stored.digest == _digest_if_any(new):
            reading, first = await self._apps.get(key.app_id), await self.first_row(stored)
            if first is not None and not self.is_over(stored, reading.app) and not _is_deleted(first):
                row = await self.confirm(first, reading)
                return Kept(row, is_replay=True, expires_ms=stored.expires_ms)
        raise refusal

    async def first_row(self, claim: Claim) -> Row | None:
        """Return the home row of a claim's schedule, if it was filed."""
        place = Place.of_home(claim.key.app_id, claim.schedule_id)
        return await self._store.fetch_row(place, claim.schedule_id)

    def is_over(self, claim: Claim, app: App) -> bool:
        """Whether a claim stands for nothing any more, whatever became of its schedule."""
        is_past = claim.expires_ms <= self._clock.now_ms()
        return is_past or app_number_of(claim.schedule_id) != app.number

    def is_busy(self, claim: Claim) -> bool:
        """Whether the schedule of a claim, which is not there, is most likely being written."""
        return self._clock.now_ms() < claim.busy_until_ms

    async def file_claimed(self, claim: Claim, row: Row, reading: AppReading) -> Row:
        """File the row of a claim that was made just now; if nothing was filed, let others do it at once.

        Raises as `CommitPath.file`.
        """
        try:
            return await self._file(row, reading)
        except StoreUnavailable:
            with suppress(RingtimeError):  # else they wait for a moment
                await self._store.replace_claim(replace(claim, busy_until_ms=0), claim)
            raise

    async def _file(self, row: Row, reading: AppReading) -> Row:
        try:
            return await self._commit.file(row, reading, is_refiled=False)
        except Overtaken:
            return await self._look_again(row, reading)

    async def _look_again(self, row: Row, reading: AppReading) -> Row:
        """Confirm a home row that was overtaken, as it is by now. Whoever else has filed it may have told its
        id, and somebody may have changed it since: what is filed again as it was would be sent instead. Once
        it is overtaken by `sealed` it is due, and cannot be changed any more."""
        home = await once_filed(self._store.fetch_row(row.place, row.schedule.schedule_id))
        return await once_filed(self.confirm(home or row, reading, is_sure=True))

    async def confirm(self, row: Row, reading: AppReading, *, is_sure: bool = False) -> Row:
        """Return a home row of which it is sure that a dispatcher sees it, or has seen it.

        A filing with attempts is a dispatcher's, which made sure of it before it pointed at it.

        Args:
            is_sure: it was read since it was overtaken.
        """
        if row.outcome is not None or row.cancelled_ms is not None:
            (row,) = await fetch_shown(self._store, [row])
            return row
        schedule_id, pending = row.schedule.schedule_id, row
        if row.moved_to is not None:
            pending = await self._store.fetch_row(row.moved_to, schedule_id) or row
            row = replace(as_shown(row, pending), attempts=pending.attempts, log=pending.log)
        if pending.attempts or not pending.is_live:
            return row
        try:
            moved_to = (await self._commit.file(pending, reading, is_refiled=is_sure)).moved_to
        except Overtaken:
            return await self._look_again(row, reading)
        if moved_to is None:
            return row
        if row.moved_to is not None:  # else the commit path has pointed at it
            update = RowUpdate(place=row.place, schedule_id=schedule_id, moved_to=moved_to)
            await self._store.put_updates([update])
        return replace(row, moved_to=moved_to)


def _is_deleted(row: Row | None) -> bool:
    return row is not None and row.status is Status.DELETED


def digest_of(new: NewSchedule) -> str:
    """Return what two creates have in common if they ask for the same, however it is written.

    What has its default is left out, so a field that a later version adds changes nothing.
    """
    details = orjson.dumps(new.callback_details, option=orjson.OPT_SORT_KEYS)
    asked = encode_slim(replace(new, idempotency_key="", callback_details={}, trace=None))
    return sha256(asked + details).hexdigest()[:32]


def _digest_if_any(new: NewSchedule) -> str:
    """Return the same; "" of what cannot be written, and so was never created."""
    try:
        return digest_of(new)
    except (TypeError, ValueError):
        return ""


def as_first_asked(row: Row, new: NewSchedule, claim: Claim) -> Row:
    """Return the row that the first create was about to file, from one that was drafted just now."""
    schedule, place = row.schedule, Place.of_home(row.place.app_id, claim.schedule_id)
    kept_ms = schedule.expires_ms - row.place.slot_ms
    fire_ms = schedule.fire_ms if new.delay_ms is None else claim.claimed_ms + new.delay_ms
    first = replace(
        schedule,
        schedule_id=claim.schedule_id,
        fire_ms=fire_ms,
        created_ms=claim.claimed_ms,
        expires_ms=place.slot_ms + kept_ms,
    )
    return Row(schedule=first, place=place)
