"""Operations of `AuditStore`: partitions of ten minutes, and beside them which of these there are.

An entry lies under its app's id and under "", where all are. Changes may come many a second, from clients, or
none for months: so a partition is short, and the slices of a day tell which ones to read. Nothing here is on
the way of a create or callback. Versions before wrote to `audit_log`, a partition a day, and may still.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

from ringtime_shared.models.audit import AuditEntry, EntryKey
from ringtime_shared.stores.cassandra.rows import ttl_s
from ringtime_shared.stores.cassandra.session import CqlSession, Prepared
from ringtime_shared.stores.codec.documents import encode_entry, read_entry
from ringtime_shared.stores.protocol import LAST_ID

DAY_MS = 86_400_000
SLICE_MS = 600_000
DAYS_AT_ONCE = 32  #: read side by side; most days have no entry
_SLICES_AT_ONCE = 16
_SAME_MS = 100  #: entries of one millisecond that one partition of `audit_log` may have

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
        ttl = max(ttl_s(entry.expires_ms, self._now_ms()), 1) if entry.expires_ms else 0
        slice_, day, text = entry.at_ms // SLICE_MS, entry.at_ms // DAY_MS, encode_entry(entry)
        statements = []
        for app_id in dict.fromkeys(("", entry.app_id)):
            statements.append(self._put.bind(app_id, slice_, entry.at_ms, entry.entry_id, text, ttl))
            statements.append(self._put_slice.bind(app_id, day, slice_, ttl and ttl + DAY_MS // 1_000))
        await self._session.write(statements)

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
