"""Operations of `TallyStore`: one partition an app; a count is written over by its holder alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

from ringtime_shared.models.tally import DAY_MS, Tally
from ringtime_shared.stores.cassandra.rows import ttl_s
from ringtime_shared.stores.cassandra.session import CqlSession, Prepared

_PUT = "INSERT INTO $tallies (app_number, day, holder, rows) VALUES (?, ?, ?, ?) USING TTL ?"
_GET = "SELECT day, holder, rows FROM $tallies WHERE app_number = ? AND day >= ?"


class Tallies:
    """`TallyStore` on one session."""

    def __init__(self, session: CqlSession, put: Prepared, get: Prepared, now_ms: Callable[[], int]) -> None:
        """Use `prepare`."""
        self._session = session
        self._put = put
        self._get = get
        self._now_ms = now_ms

    @classmethod
    async def prepare(cls, session: CqlSession, now_ms: Callable[[], int]) -> Self:
        put, get = await session.prepare(_PUT, _GET)
        return cls(session, put, get, now_ms)

    async def put_tallies(self, tallies: Sequence[Tally]) -> None:
        now_ms = self._now_ms()
        ends_ms = (max((each.day + 2) * DAY_MS, now_ms + DAY_MS) for each in tallies)
        await self._session.write(
            [
                self._put.bind(*each, ttl_s(end_ms, now_ms))
                for each, end_ms in zip(tallies, ends_ms, strict=True)
            ]
        )

    async def fetch_tallies(self, app_number: int, from_day: int) -> list[Tally]:
        found = await self._session.read(self._get.bind(app_number, from_day))
        return [Tally(app_number, *record) for record in found]
