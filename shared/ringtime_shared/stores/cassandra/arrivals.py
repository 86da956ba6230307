"""Arrivals: written beside the rows they tell of, read by the window of time they were written in.

An arrival rides in the batch of its rows, so it is there when they are, to within the milliseconds in which
one coordinator carries a batch out. Where that took long, owners may have looked before; then the rows are
announced again, behind the caller's back, who waits for its rows and not for their announcement.

A read asks for the windows since `after_ms`, and for one more: the clock of who wrote may be ahead.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import Self

from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.models.app import Instance
from ringtime_shared.models.schedule import Place
from ringtime_shared.parts import HeldParts, group_of, part_of, parts_of
from ringtime_shared.stores.arrivals import (
    KEPT_MS,
    MOST_ANNOUNCEMENTS,
    SLOW_WRITE_MS,
    find_arrivals,
    pack_slots,
    unpack_slots,
)
from ringtime_shared.stores.cassandra.bridge import Record
from ringtime_shared.stores.cassandra.rows import pack_int, pack_long, routing_key
from ringtime_shared.stores.cassandra.session import (
    PARTITIONS_AT_ONCE,
    CqlSession,
    Item,
    Prepared,
    Query,
    make_batches,
    pack_list,
)
from ringtime_shared.stores.protocol import Arrival

WINDOW_MS = 10_000
MOST_OVERDUE = 10_000  #: rows that wait to be announced again; more are found when their minute is sealed
_PER_BATCH = 100

_PUT = "INSERT INTO $arrivals (window, part, written_ms, app_id, partition, slots) VALUES (?, ?, ?, ?, ?, ?)"
_GET = (
    "SELECT written_ms, app_id, partition, slots FROM $arrivals"
    " WHERE window IN ? AND part IN ? AND written_ms > ?"
)


class Arrivals:
    """The table `arrivals` on one session."""

    def __init__(
        self,
        session: CqlSession,
        statements: Sequence[Prepared],
        parts: HeldParts,
        now_ms: Callable[[], int],
    ) -> None:
        """Use `prepare`."""
        self._session = session
        self._put, self._get = statements
        self._parts = parts
        self._now_ms = now_ms
        self._overdue: deque[Place] = deque(maxlen=MOST_OVERDUE)
        self._announcing: asyncio.Task[None] | None = None

    @classmethod
    async def prepare(cls, session: CqlSession, parts: HeldParts, now_ms: Callable[[], int]) -> Self:
        return cls(session, await session.prepare(_PUT, _GET), parts, now_ms)

    def announce(
        self, app_id: str, partition: int, slots: Iterable[int], written_ms: int, count: int
    ) -> tuple[bytes, Query]:
        """Return the statement of an arrival, with its routing key, for the batch of its rows.

        Args:
            count: of parts, under which the rows are indexed.
        """
        part = part_of(group_of(f"{app_id}.{partition}"), count)
        key = (pack_int(written_ms // WINDOW_MS), pack_int(part))
        name = (pack_long(written_ms), app_id.encode(), pack_int(partition), pack_slots(sorted(slots)))
        return routing_key(*key), self._put.in_batch((*key, *name))

    async def fetch(self, after_ms: int, groups: Collection[int] | None) -> list[Arrival]:
        now_ms = self._now_ms()
        after_ms = max(after_ms, now_ms - KEPT_MS)
        windows = range(after_ms // WINDOW_MS, now_ms // WINDOW_MS + 2)
        parts = parts_of(groups, self._parts.counts())
        width = max(1, PARTITIONS_AT_ONCE // max(len(parts), 1))
        statements = [
            self._get.with_raw(
                (_pack(windows[w : w + width]), _pack(parts[p : p + PARTITIONS_AT_ONCE]), after)
            )
            for w in range(0, len(windows), width)
            for p in range(0, len(parts), PARTITIONS_AT_ONCE)
            for after in [pack_long(after_ms)]
        ]
        answers = await self._session.read_all(statements)
        return [
            arrival for records in answers for record in records if (arrival := _read(record)) is not None
        ]

    def announce_again(self, places: Iterable[Place]) -> None:
        """Announce rows whose write was slow, under a fresh stamp, soon and without an error."""
        self._overdue.extend(places)
        if self._announcing is None or self._announcing.done():
            self._announcing = asyncio.create_task(self._announce_overdue(), name="announce again")

    async def _announce_overdue(self) -> None:
        while self._overdue:
            places = [*self._overdue]
            self._overdue.clear()
            for _ in range(MOST_ANNOUNCEMENTS - 1):
                began_ms = self._now_ms()
                with suppress(StoreUnavailable, OutcomeUnknown):
                    await self._write(places, began_ms)
                    if self._now_ms() - began_ms <= SLOW_WRITE_MS:
                        break

    async def _write(self, places: Sequence[Place], now_ms: int) -> None:
        arrivals = find_arrivals(places, now_ms)
        count, *_ = self._parts.counts()
        puts = [self.announce(*arrival.instance, arrival.slots, now_ms, count) for arrival in arrivals]
        await self._session.write(make_batches([Item(*put) for put in puts], self._session, _PER_BATCH))

    async def close(self) -> None:
        """Announce nothing more."""
        if self._announcing is not None:
            self._announcing.cancel()
            await asyncio.wait([self._announcing])


def _pack(numbers: Sequence[int]) -> bytes:
    return pack_list([pack_int(number) for number in numbers])


def _read(record: Record) -> Arrival | None:
    """Return the arrival of a record of `_GET`; None: it is damaged, and its rows wait for their seal."""
    written_ms, app_id, partition, packed = record
    try:
        return Arrival(written_ms, Instance(app_id, partition), unpack_slots(packed))
    except ValueError:
        return None
