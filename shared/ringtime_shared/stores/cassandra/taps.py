"""Operations of `TapStore`: one partition an app and minute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from ringtime_shared.buckets import bucket_of
from ringtime_shared.models.shadow import Tap
from ringtime_shared.stores.cassandra.rows import ttl_s
from ringtime_shared.stores.cassandra.session import CqlSession, Prepared
from ringtime_shared.stores.codec.documents import encode_tap, read_tap
from ringtime_shared.stores.protocol import TapKey

_PUT = "INSERT INTO $taps (app_id, bucket, schedule_id, tap_id, tap) VALUES (?, ?, ?, ?, ?) USING TTL ?"
_GET = "SELECT schedule_id, tap_id, tap FROM $taps WHERE app_id = ? AND bucket = ?"
_FIRST = f"{_GET} LIMIT ?"
_NEXT = f"{_GET} AND (schedule_id, tap_id) > (?, ?) LIMIT ?"


class Taps:
    """`TapStore` on one session."""

    def __init__(
        self, session: CqlSession, put: Prepared, first: Prepared, after: Prepared, now_ms: Callable[[], int]
    ) -> None:
        """Use `prepare`."""
        self._session = session
        self._put = put
        self._first = first
        self._next = after
        self._now_ms = now_ms

    @classmethod
    async def prepare(cls, session: CqlSession, now_ms: Callable[[], int]) -> Self:
        put, first, after = await session.prepare(_PUT, _FIRST, _NEXT)
        return cls(session, put, first, after, now_ms)

    async def put_tap(self, tap: Tap) -> None:
        now_ms = self._now_ms()
        key = (tap.app_id, bucket_of(tap.fire_ms), tap.schedule_id, tap.tap_id)
        left_s = max(ttl_s(tap.expires_ms, now_ms), 1)
        await self._session.write([self._put.bind(*key, encode_tap(tap), left_s)])

    async def fetch_taps(self, app_id: str, bucket: int, after: TapKey | None, limit: int) -> list[Tap]:
        if after is None:
            asked = self._first.bind(app_id, bucket, limit)
        else:
            asked = self._next.bind(app_id, bucket, *after, limit)
        return [read_tap(app_id, *record) for record in await self._session.read(asked)]
