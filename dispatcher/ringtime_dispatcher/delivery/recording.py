"""What is written when an attempt has ended, in batches: what is ready while a write is out joins the next.

Order of the writes of one record, each durable before the next is begun:

0. `damage`, the note of a row that cannot be read;
1. `filings`: the same schedule under a later slot, for the next attempt or without one; runs that follow one;
2. a look at `sealed`, if there were filings: nobody may have read finally where they were filed;
3. `letter`, the dead letter; `missed`, runs that are passed over, with their outcomes;
4. `home`, what clients read: the outcome, or where the schedule went;
5. `move`, which closes the filing just tried.

The look keeps the promise of `ringtime_ingest.service.commit`, for the same reason: a write may take so long
that this node or, after it lost the instance, the next owner has sealed past its slot. Where `sealed >= slot`
the filing is made again above it, and nothing points at the earlier one, unless that is a run's home row: its
place is its id's, so it stays and points at the other. Where it is lower, the publish that
covers the slot came after the filing was durable, and so does the final read behind it. Neither clocks nor
leases take part. It costs one read for each batch with filings, nothing where deliveries succeed.

A pointer to a later filing is written only while the lease is sure to hold, looked at again before each try:
a node that was suspended, or cut off from the store, after the filing was durable would else put its filing
in force, over what a client has changed the schedule to meanwhile (`ringtime_shared.schedules.changing`).
What was sent before is ordered by when it was written first, however late it arrives and however often it is
written: a pointer whose answer was lost is written again, and somebody may have read it, and changed the
schedule, in between (`ScheduleStore.put_updates`). So all tries of a record write the same updates, and a
filing that was pointed at is not filed anew. What is left is a process that is suspended, for longer than a
lease, in the fraction of a millisecond between that look and that first time.

Marks that say nothing (unreadable, or ahead of now by more than clocks may differ) are looked at again a
second later, until they do, or until this node has given the instance up: then the filing just tried stays
open, and the next term, which mends the marks, finds it.

| crash after | what the next owner finds |
|---|---|
| 1, 2 | two filings: the later one waits until the outcome of the other is known, and sees itself off |
| 3 | the filing just tried: it is tried again, and its dead letter, of the same key, written again |
| 4 | the home row's outcome, or its pointer; the filing just tried is looked at, and closed |
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ParamSpec, Protocol, TypeVar
from uuid import UUID

from ringtime_dispatcher.delivery.ledger import home_of
from ringtime_shared.callbacks.foreign import is_own_cancel
from ringtime_shared.callbacks.protocol import Reply
from ringtime_shared.clock import Clock
from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.ids import home_slot
from ringtime_shared.models.damage import Damage
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.schedule import LOG_LENGTH, Attempt, Outcome, Row, RowUpdate, Status
from ringtime_shared.schedules.changing import slot_again
from ringtime_shared.settings.rules import CLOCK_SKEW_MS
from ringtime_shared.stores.protocol import (
    DAMAGED_MARKS,
    DamageStore,
    DeadLetterStore,
    Marks,
    MarkStore,
    ScheduleStore,
)

P = ParamSpec("P")
T = TypeVar("T")
FILING_MARGIN_MS = 1_000  #: between now and the slot of a filing: what its write may take, and the read-ahead
ERROR_CHARS = 200
_RETRY_S = 0.25
_OUTCOME_MS = 60_000  #: of a schedule's retention, kept for its outcome to be written
_NONE = Marks(0, 0)  #: of an instance that nobody has owned yet
_UNSURE_S = 1.0  #: until marks that say nothing are looked at again
_log = logging.getLogger(__name__)


class OutcomeStore(ScheduleStore, MarkStore, DeadLetterStore, DamageStore, Protocol):
    """What recording needs of a store."""


@dataclass(slots=True, kw_only=True, eq=False)  # not frozen, which would make it three times as dear
class Record:
    """The writes of one delivery. Nobody changes it."""

    schedule_id: UUID  #: whose delivery it is
    home: RowUpdate | None = None
    move: RowUpdate | None = None
    filings: tuple[Row, ...] = ()
    pointers: tuple[RowUpdate, ...] = ()  #: from home rows that were filed too late to later filings
    missed: tuple[tuple[Row, Outcome], ...] = ()  #: rows that nobody need read
    letter: DeadLetter | None = None
    damage: Damage | None = None
    on_durable: Callable[[], None]
    on_refused: Callable[[], None]  #: no store takes it (a bug), or it is given up: see `is_given_up`
    is_given_up: Callable[[], bool] = lambda: False  #: whether its instance is no longer this node's

    @property
    def goes_on(self) -> bool:
        """Whether the schedule is to be sent as a later filing of it."""
        return bool(self.filings) and self.home is not None and self.home.moved_to is not None

    @property
    def is_pointed_at(self) -> bool:
        """Whether a pointer to a later filing may be in the store."""
        return self.goes_on and self.home is not None and self.home.written > 0

    def with_filings(self, again: Mapping[UUID, Row]) -> Record:
        """Return this record with other filings in place of some, by schedule.

        What points at one of these points at the other then; if nothing does, it is a home row, and will.
        """
        home, move = self.home, self.move
        pointers = [each for each in self.pointers if each.schedule_id not in again]
        for schedule_id, filing in again.items():
            if home is not None and home.schedule_id == schedule_id:
                home = replace(home, moved_to=filing.place)
                move = move and replace(move, moved_to=filing.place)
            else:
                place = home_of(filing.place, schedule_id)
                pointers.append(RowUpdate(place=place, schedule_id=schedule_id, moved_to=filing.place))
        filings = tuple(again.get(each.schedule.schedule_id, each) for each in self.filings)
        return replace(self, home=home, move=move, filings=filings, pointers=tuple(pointers))


async def persist(call: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Repeat a store call until it answers; a node that stops cancels whoever waits here."""
    while True:
        try:
            return await call(*args, **kwargs)
        except (StoreUnavailable, OutcomeUnknown):
            await asyncio.sleep(_RETRY_S)


class OutcomeWriter:
    """Retries for ever: a row whose outcome is not durable stays open and holds `settled` back."""

    def __init__(
        self,
        store: OutcomeStore,
        clock: Clock,
        batch_rows: int,
        is_trusted: Callable[[], bool] = lambda: True,
        on_written: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            is_trusted: whether this node's lease is sure to hold now.
            on_written: called after each batch, when less is unwritten than before.
        """
        self._store = store
        self._clock = clock
        self._batch_rows = batch_rows
        self._is_trusted = is_trusted
        self._on_written = on_written
        self._waiting: list[Record] = []
        self._writing = 0  # records of the batch under way
        self._unsure: set[asyncio.TimerHandle] = set()
        self._task: asyncio.Task[None] | None = None

    def put(self, record: Record) -> None:
        """Write `record` soon and call its `on_durable` once it is durable."""
        self._waiting.append(record)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="outcome writer")

    @property
    def unwritten(self) -> int:
        """How many records are not known to be durable."""
        return len(self._waiting) + self._writing

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._batch_rows], self._waiting[self._batch_rows :]
            self._writing = len(batch)
            try:
                written = await self._write(batch)
            except (Exception, asyncio.CancelledError) as error:  # of a record that no store takes
                if is_own_cancel(error):
                    raise
                await self._write_one_by_one(batch)
            else:
                for record in written:
                    _tell(record.on_durable)
            self._writing = 0
            _tell(self._on_written)

    async def _write_one_by_one(self, batch: Sequence[Record]) -> None:
        for record in batch:
            try:
                written = await self._write([record])
            except (Exception, asyncio.CancelledError) as error:  # the next owner fires it again
                if is_own_cancel(error):
                    raise
                of_record = {"schedule_id": record.schedule_id}
                _log.exception("the outcome of %s cannot be written", record.schedule_id, extra=of_record)
                _tell(record.on_refused)
            else:
                for each in written:
                    _tell(each.on_durable)

    async def _write(self, batch: Sequence[Record]) -> Sequence[Record]:
        """Return those of the batch that are durable; the others will be written later."""
        store = self._store
        notes, filings, missed = list[Damage](), list[Row](), list[tuple[Row, Outcome]]()
        for record in batch:
            if record.damage is not None:
                notes.append(record.damage)
            if record.filings:
                filings += record.filings
            if record.missed:
                missed += record.missed
        if notes:
            await persist(store.put_damage, notes)
        if missed:  # before what follows them, which goes on as soon as it is there
            await persist(store.put_rows, [row for row, _ in missed])
            await persist(store.put_updates, [closed(row, outcome) for row, outcome in missed])
        overtaken, unsure = list[Record](), list[Record]()
        if filings:
            await persist(store.put_rows, filings)
            batch, overtaken, unsure = await self._look(batch)
        if letters := [record.letter for record in batch if record.letter is not None]:
            await persist(store.put_dead_letters, letters)
        if filings:
            batch, distrusted = await self._put_homes_in_term(batch)
            unsure += distrusted
        elif homes := _homes_of(batch):
            await persist(store.put_updates, homes)
        if moves := [record.move for record in batch if record.move is not None]:
            await persist(store.put_updates, moves)
        # Not before the rest is durable: where it cannot be, all of the batch is written one by one instead.
        self._waiting += overtaken
        for record in unsure:
            self._wait(record)
        return batch

    async def _put_homes_in_term(self, batch: Sequence[Record]) -> tuple[Sequence[Record], list[Record]]:
        """Write what clients read; return whose is durable, and those that point at a later filing and have
        to wait, because this node may not be the owner any more."""
        distrusted: list[Record] = []
        while True:
            if not self._is_trusted():  # no await between this and the write
                distrusted += [record for record in batch if record.goes_on]
                batch = [record for record in batch if not record.goes_on]
            homes = _homes_of(batch)
            try:
                if homes:
                    await self._store.put_updates(homes)
            except (StoreUnavailable, OutcomeUnknown):
                await asyncio.sleep(_RETRY_S)
            else:
                return batch, distrusted

    async def _look(self, batch: Sequence[Record]) -> tuple[list[Record], list[Record], list[Record]]:
        """Return the records whose filings, if they have any, are sure to be read; those with one that was
        overtaken, with the next filing each; and those with one of which the marks say nothing."""
        instances = sorted({filing.place.instance for record in batch for filing in record.filings})
        marks = await persist(self._store.fetch_marks, instances)
        now_ms = self._clock.now_ms()
        readable, overtaken, unsure = list[Record](), list[Record](), list[Record]()
        for record in batch:
            if record.is_pointed_at:  # after a look that found it readable
                readable.append(record)
                continue
            again, is_unsure = dict[UUID, Row](), False
            for filing in record.filings:
                mark = marks.get(filing.place.instance, _NONE)
                if mark.sealed_ms < filing.place.slot_ms and mark != DAMAGED_MARKS:
                    continue
                if self._is_unsure(mark, now_ms):
                    is_unsure = True
                    break
                slot_ms = max(now_ms + FILING_MARGIN_MS, mark.sealed_ms + 1)
                again[filing.schedule.schedule_id] = _filed_at(filing, slot_ms)
            if is_unsure:
                unsure.append(record)
            elif again:
                overtaken.append(record.with_filings(again))
            else:
                readable.append(record)
        return readable, overtaken, unsure

    def _is_unsure(self, mark: Marks, now_ms: int) -> bool:
        """Whether this mark, or this node's clock, is not to be relied on."""
        is_false = mark == DAMAGED_MARKS or mark.sealed_ms > now_ms + CLOCK_SKEW_MS
        return is_false or self._clock.doubt() is not None

    def _wait(self, record: Record) -> None:
        def look_again() -> None:
            self._unsure.discard(handle)
            if record.is_given_up():
                _tell(record.on_refused)
            else:
                self.put(record)

        handle = asyncio.get_running_loop().call_later(_UNSURE_S, look_again)
        self._unsure.add(handle)

    async def close(self) -> None:
        """Give up what is not written yet; the next owner will fire those rows again."""
        for handle in self._unsure:
            handle.cancel()
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])


def _homes_of(batch: Sequence[Record]) -> list[RowUpdate]:
    homes = list[RowUpdate]()
    for record in batch:
        if record.home is not None:
            homes.append(record.home)
        if record.pointers:
            homes += record.pointers
    return homes


def _tell(callback: Callable[[], None]) -> None:
    try:
        callback()
    except Exception:  # noqa: BLE001 - a bug in what follows one record must not keep the others from being told
        _log.exception("what follows the write of an outcome ended in a bug")


def age_ms(row: Row, now_ms: int) -> int:
    """Return how long ago the delivery was due. The age of a replay does not count: somebody asked for it."""
    return 0 if row.replay else now_ms - _due_ms(row)


def _due_ms(row: Row) -> int:
    """Return when the delivery was due first."""
    begun_ms = home_slot(row.schedule.schedule_id) if row.change is None else row.change.at_ms
    return max(row.schedule.fire_ms, begun_ms)


def last_slot_ms(row: Row, max_age_ms: int) -> int:
    """Return the last slot that the delivery may be filed under: just before the row is forgotten, or
    sooner where the policy says so."""
    schedule = row.schedule
    last_ms = max(schedule.expires_ms - _OUTCOME_MS, schedule.fire_ms)
    return last_ms if row.replay else min(last_ms, _due_ms(row) + max_age_ms)


def closing(row: Row, home: Row, now_ms: int) -> RowUpdate:
    """Return what closes a filing that is not wanted. Its outcome has no attempt: none was made of it, which
    tells it from a second delivery (`ringtime_shared.schedules.fires`)."""
    outcome = home.outcome
    if outcome is None and home.cancelled_ms is None and home.moved_to is not None:
        return RowUpdate(place=row.place, schedule_id=row.schedule.schedule_id, moved_to=home.moved_to)
    ended = outcome or Outcome(status=Status.DELETED, ended_ms=now_ms)
    ended = replace(ended, log=(), attempts=0, fired_ms=None, took_ms=None)
    return RowUpdate(place=row.place, schedule_id=row.schedule.schedule_id, outcome=ended)


def closed(row: Row, outcome: Outcome) -> RowUpdate:
    """Return what ends a filing in this way."""
    return RowUpdate(place=row.place, schedule_id=row.schedule.schedule_id, outcome=outcome)


def next_filing(row: Row, slot_ms: int, attempt: Attempt | None = None) -> Row:
    """Return the same schedule filed under a later slot: after a failed attempt, or without one."""
    again = _filed_at(row, slot_ms)
    if attempt is None:
        return again
    return replace(again, attempts=row.attempts + 1, log=(*row.log, attempt)[-LOG_LENGTH:])


def _filed_at(row: Row, at_ms: int) -> Row:
    slot_ms = slot_again(row.schedule.schedule_id, at_ms)
    return replace(row, place=row.place._replace(slot_ms=slot_ms))


def attempt_of(reply: Reply, *, at_ms: int, took_ms: int) -> Attempt:
    """Return a failed attempt as it is remembered."""
    return Attempt(at_ms=at_ms, took_ms=took_ms, code=reply.code, error=storable(reply.error))


def outcome_of(row: Row, reply: Reply, *, at_ms: int, took_ms: int) -> Outcome:
    """Return how the delivery ended with this attempt."""
    return Outcome(
        status=Status.SUCCESS if reply.ok else Status.FAILURE,
        ended_ms=at_ms + took_ms,
        fired_ms=at_ms,
        attempts=row.attempts + 1,
        code=reply.code,
        error=storable(reply.error),
        took_ms=took_ms,
        replay=row.replay,
        log=row.log,
        changed_in=None if row.change is None else row.place,
    )


def unsent(row: Row, status: Status, error: str, now_ms: int) -> Outcome:
    """Return how a delivery ended without a last attempt."""
    return Outcome(
        status=status,
        ended_ms=now_ms,
        attempts=row.attempts,
        error=error,
        replay=row.replay,
        log=row.log,
        changed_in=None if row.change is None else row.place,
    )


def dead_letter_of(row: Row, outcome: Outcome) -> DeadLetter:
    """Return what is kept of a delivery that was given up."""
    schedule = row.schedule
    return DeadLetter(
        app_id=schedule.app_id,
        schedule_id=schedule.schedule_id,
        slot_ms=row.place.slot_ms,
        fire_ms=schedule.fire_ms,
        failed_ms=outcome.ended_ms,
        attempts=outcome.attempts,
        code=outcome.code,
        error=outcome.error,
        callback_type=schedule.callback_type,
        replay=outcome.replay,
        expires_ms=schedule.expires_ms,
    )


def storable(text: str) -> str:
    """Cut `text`, and replace halves of surrogate pairs: no store takes them, nor the rest of their batch."""
    return text[:ERROR_CHARS].encode(errors="replace").decode()
