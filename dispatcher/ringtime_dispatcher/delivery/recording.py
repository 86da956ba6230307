"""Record how deliveries ended, in batches: what is ready while a write is out joins the next one.

Order of the writes of one record, each durable before the next is begun:

0. `damage`, the note of a row that cannot be read;
1. `filing`, the same schedule under a later slot: the next attempt, or the place it is parked at;
2. a look at `sealed`, if there was a filing: nobody may have read finally where it was filed;
3. `letter`, the dead letter;
4. `home`, what clients read: the outcome, or where the schedule went;
5. `move`, which closes the filing just tried.

The look keeps the promise of `ringtime_ingest.commit`, for the same reason: a write may take so long that
this node or, after it lost the instance, the next owner has sealed past its slot. Where `sealed >= slot` the
filing is made again above it, and nothing points at the earlier one. Where it is lower, the publish that
covers the slot came after the filing was durable, and so does the final read behind it. Neither clocks nor
leases take part. It costs one read for each batch with filings, nothing where deliveries succeed.

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
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from ringtime_shared.callbacks.foreign import is_own_cancel
from ringtime_shared.clock import Clock
from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.models.damage import Damage
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.schedule import Row, RowUpdate
from ringtime_shared.settings.rules import CLOCK_SKEW_MS
from ringtime_shared.stores.protocol import (
    DAMAGED_MARKS,
    DamageStore,
    DeadLetterStore,
    Marks,
    MarkStore,
    ScheduleStore,
)

T = TypeVar("T")
FILING_MARGIN_MS = 1_000  #: between now and the slot of a filing: what its write may take, and the read-ahead
_RETRY_S = 0.25
_NONE = Marks(0, 0)  #: of an instance that nobody has owned yet
_UNSURE_S = 1.0  #: until marks that say nothing are looked at again
_log = logging.getLogger(__name__)


class OutcomeStore(ScheduleStore, MarkStore, DeadLetterStore, DamageStore, Protocol):
    """What recording needs of a store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The writes of one delivery."""

    home: RowUpdate
    move: RowUpdate | None = None
    filing: Row | None = None
    letter: DeadLetter | None = None
    damage: Damage | None = None
    on_durable: Callable[[], None]
    on_refused: Callable[[], None]  #: no store takes it (a bug), or it is given up: see `is_given_up`
    is_given_up: Callable[[], bool] = lambda: False  #: whether its instance is no longer this node's

    def with_filing(self, filing: Row) -> Record:
        """Return this record with another filing, which is pointed at in place of the former one."""
        home = replace(self.home, moved_to=filing.place)
        move = self.move and replace(self.move, moved_to=filing.place)
        return replace(self, filing=filing, home=home, move=move)


async def persist(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a store call until it answers; a node that stops cancels whoever waits here."""
    while True:
        try:
            return await call()
        except (StoreUnavailable, OutcomeUnknown):
            await asyncio.sleep(_RETRY_S)


class OutcomeWriter:
    """Retries for ever: a row whose outcome is not durable stays open and holds `settled` back."""

    def __init__(self, store: OutcomeStore, clock: Clock, batch_rows: int) -> None:
        self._store = store
        self._clock = clock
        self._batch_rows = batch_rows
        self._waiting: list[Record] = []
        self._unsure: set[asyncio.TimerHandle] = set()
        self._task: asyncio.Task[None] | None = None

    def put(self, record: Record) -> None:
        """Write `record` soon and call its `on_durable` once it is durable."""
        self._waiting.append(record)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="outcome writer")

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._batch_rows], self._waiting[self._batch_rows :]
            try:
                written = await self._write(batch)
            except (Exception, asyncio.CancelledError) as error:  # of a record that no store takes
                if is_own_cancel(error):
                    raise
                await self._write_one_by_one(batch)
            else:
                for record in written:
                    _tell(record.on_durable)

    async def _write_one_by_one(self, batch: Sequence[Record]) -> None:
        for record in batch:
            try:
                written = await self._write([record])
            except (Exception, asyncio.CancelledError) as error:  # the next owner fires it again
                if is_own_cancel(error):
                    raise
                _log.exception("the outcome of %s cannot be written", record.home.schedule_id)
                _tell(record.on_refused)
            else:
                for each in written:
                    _tell(each.on_durable)

    async def _write(self, batch: Sequence[Record]) -> Sequence[Record]:
        """Return those of the batch that are durable; the others will be written later."""
        store = self._store
        notes = [record.damage for record in batch if record.damage is not None]
        if notes:
            await persist(lambda: store.put_damage(notes))
        filings = [record.filing for record in batch if record.filing is not None]
        if filings:
            await persist(lambda: store.put_rows(filings))
            batch = await self._keep_readable(batch)
        letters = [record.letter for record in batch if record.letter is not None]
        if letters:
            await persist(lambda: store.put_dead_letters(letters))
        if batch:
            await persist(lambda: store.put_updates([record.home for record in batch]))
        moves = [record.move for record in batch if record.move is not None]
        if moves:
            await persist(lambda: store.put_updates(moves))
        return batch

    async def _keep_readable(self, batch: Sequence[Record]) -> Sequence[Record]:
        """Return the records whose filing, if they have one, is sure to be read; file the others again."""
        instances = sorted({record.filing.place.instance for record in batch if record.filing is not None})
        marks = await persist(lambda: self._store.fetch_marks(instances))
        now_ms = self._clock.now_ms()
        readable = []
        for record in batch:
            filing = record.filing
            mark = marks.get(filing.place.instance, _NONE) if filing is not None else _NONE
            if filing is None or (mark.sealed_ms < filing.place.slot_ms and mark != DAMAGED_MARKS):
                readable.append(record)
            elif self._is_unsure(mark, now_ms):
                self._wait(record)
            else:
                slot_ms = max(now_ms + FILING_MARGIN_MS, mark.sealed_ms + 1)
                place = filing.place._replace(slot_ms=slot_ms)
                self._waiting.append(record.with_filing(replace(filing, place=place)))
        return readable

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


def _tell(callback: Callable[[], None]) -> None:
    try:
        callback()
    except Exception:  # noqa: BLE001 - a bug in what follows one record must not keep the others from being told
        _log.exception("what follows the write of an outcome ended in a bug")
