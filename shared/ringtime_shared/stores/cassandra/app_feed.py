"""Operations of `AppFeedStore`, but for the read of apps: the count of changes, and the log that names them.

Changes made at the same moment are told and counted together. They are told first, so that whoever sees the
count finds the names. A count that got no answer is counted again, which costs those who follow a read of all
apps. If there is no answer at all, the change is made and perhaps not counted, and its maker learns that its
outcome is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.stores.cassandra.gathering import Gathering
from ringtime_shared.stores.cassandra.rows import pack_int, pack_long
from ringtime_shared.stores.cassandra.session import CqlSession, Item, Prepared, make_batches
from ringtime_shared.stores.protocol import AppChange

MINUTE_MS = 60_000
KEPT_MINUTES = 10  # the table's TTL
AHEAD_MS = 5_000  # a writer's clock may be this far ahead of ours
TOLD_AT_ONCE = 500

_PUT = "INSERT INTO $app_changes (minute, changed_ms, app_id) VALUES (?, ?, ?)"
_GET = "SELECT changed_ms, app_id FROM $app_changes WHERE minute = ? AND changed_ms > ?"
_RAISE = "UPDATE $app_change_counts SET changes = changes + ? WHERE name = 'apps'"
_COUNT = "SELECT changes FROM $app_change_counts WHERE name = 'apps'"


class AppChangeTables:
    """The count and the log, on one session."""

    def __init__(
        self, session: CqlSession, statements: Sequence[Prepared], now_ms: Callable[[], int]
    ) -> None:
        """Use `prepare`."""
        self._session = session
        self._put, self._get, self._raise, self._count = statements
        self._now_ms = now_ms
        self._told = Gathering(self._tell, most=TOLD_AT_ONCE)

    @classmethod
    async def prepare(cls, session: CqlSession, now_ms: Callable[[], int]) -> Self:
        return cls(session, await session.prepare(_PUT, _GET, _RAISE, _COUNT), now_ms)

    async def announce(self, app_id: str) -> None:
        """Tell and count a change that is durable. Raises OutcomeUnknown: perhaps it was not counted."""
        try:
            await self._told.ask(app_id)
        except StoreUnavailable as error:
            raise OutcomeUnknown(f"app {app_id} is changed, but not everybody knows yet: {error}") from error

    async def count(self) -> int:
        records = await self._session.read(self._count.bind())
        return int(records[0][0] or 0) if records else 0

    async def fetch(self, after_ms: int) -> list[AppChange]:
        last = (self._now_ms() + AHEAD_MS) // MINUTE_MS
        first = max(after_ms // MINUTE_MS, last - KEPT_MINUTES)
        answers = await self._session.read_all(
            [self._get.bind(minute, after_ms) for minute in range(first, last + 1)]
        )
        return [AppChange(*record) for records in answers for record in records]

    async def _tell(self, app_ids: Sequence[str]) -> Sequence[None]:
        now_ms = self._now_ms()
        minute = pack_int(now_ms // MINUTE_MS)
        changes = [AppChange(now_ms, app_id) for app_id in dict.fromkeys(app_ids)]
        names = [
            Item(minute, self._put.in_batch((minute, pack_long(now_ms), change.app_id.encode())))
            for change in changes
        ]
        await self._session.write(make_batches(names, self._session, TOLD_AT_ONCE))
        await self._session.write([self._raise.bind(sum(change.weight for change in changes))])
        return [None] * len(app_ids)
