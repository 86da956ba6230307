"""Record how deliveries ended, in batches: what is ready while a write is out joins the next one.

Order of the writes of one record, each durable before the next is begun:

0. `damage`, the note of a row that cannot be read;
1. `filing`, the same schedule under a later slot: the next attempt, or the place it is parked at;
2. `letter`, the dead letter;
3. `home`, what clients read: the outcome, or where the schedule went;
4. `move`, which closes the filing just tried.

| crash after | what the next owner finds |
|---|---|
| 1 | two filings: the later one waits until the outcome of the other is known, and sees itself off |
| 2 | the filing just tried: it is tried again, and its dead letter, of the same key, written again |
| 3 | the home row's outcome, or its pointer; the filing just tried is looked at, and closed |
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ringtime_shared.callbacks.foreign import is_own_cancel
from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.models.damage import Damage
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.schedule import Row, RowUpdate
from ringtime_shared.stores.protocol import DamageStore, DeadLetterStore, ScheduleStore

T = TypeVar("T")
_RETRY_S = 0.25
_log = logging.getLogger(__name__)


class OutcomeStore(ScheduleStore, DeadLetterStore, DamageStore, Protocol):
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
    on_refused: Callable[[], None]  #: a bug: no store takes it, now or later


async def persist(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a store call until it answers; a node that stops cancels whoever waits here."""
    while True:
        try:
            return await call()
        except (StoreUnavailable, OutcomeUnknown):
            await asyncio.sleep(_RETRY_S)


class OutcomeWriter:
    """Retries for ever: a row whose outcome is not durable stays open and holds `settled` back."""

    def __init__(self, store: OutcomeStore, batch_rows: int) -> None:
        self._store = store
        self._batch_rows = batch_rows
        self._waiting: list[Record] = []
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
                await self._write(batch)
            except (Exception, asyncio.CancelledError) as error:  # of a record that no store takes
                if is_own_cancel(error):
                    raise
                await self._write_one_by_one(batch)
            else:
                for record in batch:
                    _tell(record.on_durable)

    async def _write_one_by_one(self, batch: Sequence[Record]) -> None:
        for record in batch:
            try:
                await self._write([record])
            except (Exception, asyncio.CancelledError) as error:  # the next owner fires it again
                if is_own_cancel(error):
                    raise
                _log.exception("the outcome of %s cannot be written", record.home.schedule_id)
                _tell(record.on_refused)
            else:
                _tell(record.on_durable)

    async def _write(self, batch: Sequence[Record]) -> None:
        store = self._store
        notes = [record.damage for record in batch if record.damage is not None]
        if notes:
            await persist(lambda: store.put_damage(notes))
        filings = [record.filing for record in batch if record.filing is not None]
        if filings:
            await persist(lambda: store.put_rows(filings))
        letters = [record.letter for record in batch if record.letter is not None]
        if letters:
            await persist(lambda: store.put_dead_letters(letters))
        await persist(lambda: store.put_updates([record.home for record in batch]))
        moves = [record.move for record in batch if record.move is not None]
        if moves:
            await persist(lambda: store.put_updates(moves))

    async def close(self) -> None:
        """Give up what is not written yet; the next owner will fire those rows again."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])


def _tell(callback: Callable[[], None]) -> None:
    try:
        callback()
    except Exception:  # noqa: BLE001 - a bug in what follows one record must not keep the others from being told
        _log.exception("what follows the write of an outcome ended in a bug")
