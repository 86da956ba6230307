"""Operations of `ReceiptStore`: a receipt is its own key, so writing one again changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ringtime_shared.models.schedule import Row
from ringtime_shared.stores.protocol import RECEIPT_IDS, RECEIPT_MARGIN_MS, IndexEntry, ReceiptPage, ids_in
from ringtime_shared.stores.sqlite.session import IndexKey, Session, execute_bulk

_PUT = (
    "INSERT INTO receipts (app, partition, bucket, ids, expires_ms) {values}"
    " ON CONFLICT DO UPDATE SET expires_ms = excluded.expires_ms WHERE excluded.expires_ms > expires_ms"
)
_GET = (
    "SELECT ids, expires_ms FROM receipts WHERE app = ? AND partition = ? AND bucket = ? AND ids > ?"
    " ORDER BY ids LIMIT ?"
)


def put_receipts(session: Session, filed: Mapping[IndexKey, Sequence[Row]]) -> None:
    """Write what was filed, by bucket, app number and partition."""
    execute_bulk(session.connection, _PUT, list(_records(filed)))


def _records(filed: Mapping[IndexKey, Sequence[Row]]) -> Iterator[tuple[int, int, int, bytes, int]]:
    for (bucket, number, partition), rows in filed.items():
        for start in range(0, len(rows), RECEIPT_IDS):
            part = [row.schedule for row in rows[start : start + RECEIPT_IDS]]
            ids = b"".join([schedule.schedule_id.bytes for schedule in part])
            yield number, partition, bucket, ids, min([schedule.expires_ms for schedule in part])


def fetch_receipts(
    session: Session, entry: IndexEntry, after: bytes | None, limit: int, now_ms: int
) -> ReceiptPage:
    app_id, partition = entry.instance
    key = (session.number_of(app_id), partition, entry.bucket, after or b"", limit)
    found = session.connection.execute(_GET, key).fetchall()
    told = [ids for ids, expires_ms in found if expires_ms - RECEIPT_MARGIN_MS > now_ms]
    return ReceiptPage(
        [each for ids in told for each in ids_in(ids)], found[-1][0] if len(found) == limit else None
    )


def delete_receipts(session: Session, entry: IndexKey, now_ms: int | None, limit: int) -> int:
    """Forget receipts of a bucket that have expired, at most so many; None: of all of them. Return how many
    were."""
    bucket, app, partition = entry
    bounds = app, partition, bucket, (1 << 62) if now_ms is None else now_ms
    return session.connection.execute(
        "DELETE FROM receipts WHERE (app, partition, bucket, ids) IN"
        " (SELECT app, partition, bucket, ids FROM receipts"
        " WHERE app = ? AND partition = ? AND bucket = ? AND expires_ms <= ? LIMIT ?)",
        (*bounds, limit),
    ).rowcount
