"""Record how deliveries ended, in batches: what is ready while a write is out joins the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.models.schedule import RowUpdate
from ringtime_shared.stores.protocol import ScheduleStore

_RETRY_S = 0.25


@dataclass(frozen=True, slots=True)
class Record:
    """The updates of one delivery. The home row's goes first and alone decides what clients read;
    a move is closed only after it, or a crash in between would lose the outcome."""

    home: RowUpdate
    move: RowUpdate | None
    on_durable: Callable[[], None]


class OutcomeWriter:
    """Retries for ever: a row whose outcome is not durable stays open and holds `settled` back."""

    def __init__(self, store: ScheduleStore, batch_rows: int) -> None:
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
            await self._write([record.home for record in batch])
            moves = [record.move for record in batch if record.move is not None]
            if moves:
                await self._write(moves)
            for record in batch:
                record.on_durable()

    async def _write(self, updates: Sequence[RowUpdate]) -> None:
        while True:
            try:
                await self._store.put_updates(updates)
            except (StoreUnavailable, OutcomeUnknown):
                await asyncio.sleep(_RETRY_S)
            else:
                return

    async def close(self) -> None:
        """Give up what is not written yet; the next owner will fire those rows again."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
