"""Operations of `AuditStore`: partitions of ten minutes, and beside them which of these there are.

An entry lies under its app's id and under "", where all are. Changes may come many a second, from clients, or
none for months: so a partition is short, and the slices of a day tell which ones to read. Nothing here is on
the way of a create or callback. Versions before wrote to `audit_log`, a partition a day, and may still.

Entries of the same moment are written together, as when many apps are registered: one by one, four statements
each, they would cost more than the registrations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

from ringtime_shared.models.audit import AuditEntry, EntryKey
from ringtime_shared.stores.cassandra.gathering import Gathering
from ringtime_shared.stores.cassandra.rows import pack_int, pack_long, routing_key, ttl_s
from ringtime_shared.stores.cassandra.session import CqlSession, Item, Prepared, make_batches
from ringtime_shared.stores.codec.documents import encode_entry, read_entry
from ringtime_shared.stores.protocol import LAST_ID

DAY_MS = 86_400_000
SLICE_MS = 600_000
DAYS_AT_ONCE = 32  #: read side by side; most days have no entry
_SLICES_AT_ONCE = 16
_SAME_MS = 100  #: entries of one millisecond that one partition of `audit_log` may have
_TOGETHER = 500  #: entries that are written at once
_PER_BATCH = 100
_SLICES_KNOWN = 10_000
_FOR_EVER = 1 << 62

_ENTRY = "SELECT at_ms, entry_id, entry FROM"
_PUT = "INSERT INTO $audit_entries (app_id, slice, at_ms, entry_id, entry) VALUES (?, ?, ?, ?, ?) USING TTL ?"
_PUT_SLICE = "INSERT INTO $audit_slices (app_id, day, slice) VALUES (?, ?, ?) USING TTL ?"
_GET_SLICES = "SELECT slice FROM $audit_slices WHERE app_id = ? AND day = ? AND slice >= ? AND slice <= ?"
_GET = (
    f"{_ENTRY} $audit_entries WHERE app_id = ? AND slice = ?"
    " AND (at_ms, entry_id) > (?, ?) AND (at_ms, entry_id) < (?, ?)"
)
_OLDEST_FIRST = " ORDER BY at_ms ASC, entry_id ASC LIMIT ?"
_GET_EARLIER = f"{_ENTRY} $audit_log WHERE day = ? AND at_ms >= ? AND at_ms <= ?"


class _Reading(NamedTuple):
    """What is asked for: entries between two keys, neither included."""

    app_id: str
    low: EntryKey
    high: EntryKey
    limit: int
    is_oldest_first: bool


class AuditTables:
    """`AuditStore` on one session."""

    def __init__(
        self, session: CqlSession, statements: Sequence[Prepared], now_ms: Callable[[], int]
    ) -> None:
        """Use `prepare`."""
        self._session = session
        self._now_ms = now_ms
        self._put, self._put_slice, self._get_slices, *of_entries = statements
        self._get, self._get_up, self._get_earlier, self._get_earlier_up = of_entries
        self._puts = Gathering(self._write, most=_TOGETHER)
        self._known: dict[tuple[str, int], int] = {}  # slices that are told of: entries up to when they last

    @classmethod
    async def prepare(cls, session: CqlSession, now_ms: Callable[[], int]) -> Self:
        statements = await session.prepare(
            _PUT,
            _PUT_SLICE,
            _GET_SLICES,
            f"{_GET} LIMIT ?",
            f"{_GET}{_OLDEST_FIRST}",
            f"{_GET_EARLIER} LIMIT ?",
            f"{_GET_EARLIER} ORDER BY at_ms ASC LIMIT ?",
        )
        return cls(session, statements, now_ms)

    async def put_audit(self, entry: AuditEntry) -> None:
        await self._puts.ask(entry)

    async def _write(self, entries: Sequence[AuditEntry]) -> Sequence[None]:
        now_ms = self._now_ms()
        items: list[Item] = []
        slices: dict[tuple[str, int], int] = {}
        for entry in entries:
            slice_, expires_ms = entry.at_ms // SLICE_MS, entry.expires_ms or _FOR_EVER
            key = (pack_long(entry.at_ms), entry.entry_id.bytes)
            rest = (*key, encode_entry(entry).encode(), _ttl(entry.expires_ms, now_ms))
            for app_id in dict.fromkeys(("", entry.app_id)):
                partition = (app_id.encode(), pack_int(slice_))
                items.append(Item(routing_key(*partition), self._put.in_batch((*partition, *rest))))
                place = (app_id, slice_)
                if self._known.get(place, 0) < expires_ms:
                    slices[place] = max(slices.get(place, 0), expires_ms)
        for (app_id, slice_), expires_ms in slices.items():
            last_ms = 0 if expires_ms == _FOR_EVER else expires_ms + DAY_MS
            partition = (app_id.encode(), pack_int(slice_ * SLICE_MS // DAY_MS))
            values = (*partition, pack_int(slice_), _ttl(last_ms, now_ms))
            items.append(Item(routing_key(*partition), self._put_slice.in_batch(values)))
        await self._session.write(make_batches(items, self._session, _PER_BATCH))
        if len(self._known) + len(slices) > _SLICES_KNOWN:
            self._known.clear()
        self._known.update(slices)
        return [None] * len(entries)

    async def fetch_audit(
        self,
        from_ms: int,
        upto_ms: int,
        limit: int,
        *,
        app_id: str = "",
        after: EntryKey | None = None,
        is_oldest_first: bool = False,
    ) -> list[AuditEntry]:
        low, high = EntryKey(from_ms - 1, LAST_ID), EntryKey(upto_ms, LAST_ID)
        if after is not None and is_oldest_first:
            low = max(low, after)
        elif after is not None:
            high = min(high, after)
        read = _Reading(app_id, low, high, limit, is_oldest_first)
        days = range((low.at_ms + (low.entry_id == LAST_ID)) // DAY_MS, high.at_ms // DAY_MS + 1)
        found: list[AuditEntry] = []
        for start in range(0, len(days), DAYS_AT_ONCE):
            some = days[start : start + DAYS_AT_ONCE]
            if not is_oldest_first:
                some = days[::-1][start : start + DAYS_AT_ONCE]
            found += await self._fetch_days(read, some)
            if len(found) >= limit:
                break
        return found[:limit]

    async def _fetch_days(self, read: _Reading, days: Sequence[int]) -> list[AuditEntry]:
        """Return the first of these days, at least `limit` if there are so many, in order."""
        first, last = read.low.at_ms // SLICE_MS, read.high.at_ms // SLICE_MS
        asked = [self._get_slices.bind(read.app_id, day, first, last) for day in days]
        if not read.app_id:
            earlier = self._get_earlier_up if read.is_oldest_first else self._get_earlier
            bounds = (read.low.at_ms, read.high.at_ms, read.limit + _SAME_MS)
            asked += [earlier.bind(day, *bounds) for day in days]
        answers = await self._session.read_all(asked)
        slices = sorted(slice_ for records in answers[: len(days)] for (slice_,) in records)
        found = [read_entry(*record) for records in answers[len(days) :] for record in records]
        found = [entry for entry in found if read.low < entry.key < read.high]
        if not read.is_oldest_first:
            slices.reverse()
        count = 0
        for start in range(0, len(slices), _SLICES_AT_ONCE):
            if count >= read.limit:
                break
            some = slices[start : start + _SLICES_AT_ONCE]
            for records in await self._session.read_all([self._of_slice(read, each) for each in some]):
                found += [read_entry(*record) for record in records]
                count += len(records)
        found.sort(key=lambda entry: entry.key, reverse=not read.is_oldest_first)
        return found

    def _of_slice(self, read: _Reading, slice_: int) -> Any:
        statement = self._get_up if read.is_oldest_first else self._get
        return statement.bind(read.app_id, slice_, *read.low, *read.high, read.limit)


def _ttl(expires_ms: int, now_ms: int) -> bytes:
    """Return the TTL of what expires then; 0: never."""
    return pack_int(ttl_s(max(expires_ms, now_ms + 1_000), now_ms) if expires_ms else 0)
