"""Operations of `TapStore`."""

from __future__ import annotations

from uuid import UUID

from ringtime_shared.buckets import bucket_of
from ringtime_shared.models.shadow import Tap
from ringtime_shared.stores.codec.documents import encode_tap, read_tap
from ringtime_shared.stores.protocol import TapKey
from ringtime_shared.stores.sqlite.session import Session

_GET = (
    "SELECT schedule_id, tap_id, tap FROM taps WHERE app_id = ? AND bucket = ?"
    " AND (schedule_id, tap_id) > (?, ?) ORDER BY schedule_id, tap_id LIMIT ?"
)


def put_tap(session: Session, tap: Tap) -> None:
    session.connection.execute(
        "REPLACE INTO taps (app_id, bucket, schedule_id, tap_id, expires_ms, tap) VALUES (?, ?, ?, ?, ?, ?)",
        (
            tap.app_id,
            bucket_of(tap.fire_ms),
            tap.schedule_id.bytes,
            tap.tap_id.bytes,
            tap.expires_ms,
            encode_tap(tap),
        ),
    )


def fetch_taps(session: Session, app_id: str, bucket: int, after: TapKey | None, limit: int) -> list[Tap]:
    began = (b"", b"") if after is None else (after.schedule_id.bytes, after.tap_id.bytes)
    return [
        read_tap(app_id, UUID(bytes=schedule_id), UUID(bytes=tap_id), text)
        for schedule_id, tap_id, text in session.fetch(_GET, (app_id, bucket, *began, limit))
    ]
