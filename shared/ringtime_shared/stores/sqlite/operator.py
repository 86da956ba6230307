"""Operations of `OperatorStore`, `ReceiptStore`, `AuditStore` and `DamageStore`."""

from __future__ import annotations

from collections.abc import Sequence

from ringtime_shared.buckets import first_slot, last_slot
from ringtime_shared.models.app import Instance
from ringtime_shared.models.audit import AuditEntry, EntryKey
from ringtime_shared.models.damage import Damage
from ringtime_shared.stores.codec.documents import encode_entry, read_entry
from ringtime_shared.stores.codec.rows import read_term
from ringtime_shared.stores.protocol import RECEIPT_MARGIN_MS, IndexEntry, ReceiptPage, ids_in
from ringtime_shared.stores.sqlite.schedules import IS_LIVE, Record, id_of
from ringtime_shared.stores.sqlite.schema import SCHEMA_VERSION, fetch_version
from ringtime_shared.stores.sqlite.session import Session, execute_bulk

_IN_BUCKET = "WHERE app = ? AND partition = ? AND slot_ms BETWEEN ? AND ?"


def fetch_app_buckets(
    session: Session, app_id: str, first: int, last: int, limit: int | None
) -> list[IndexEntry]:
    found = session.connection.execute(
        "SELECT bucket, partition FROM due_index WHERE bucket BETWEEN ? AND ? AND app = ?"
        " ORDER BY bucket, partition LIMIT ?",
        (first, last, session.number_of(app_id), -1 if limit is None else limit),
    )
    return [IndexEntry(bucket, Instance(app_id, partition)) for bucket, partition in found]


def fetch_first_buckets(
    session: Session, app_ids: Sequence[str], first: int, last: int, limit: int
) -> dict[str, list[IndexEntry]]:
    asked = {session.number_of(app_id): app_id for app_id in app_ids}
    found = session.connection.execute(
        "SELECT bucket, app, partition FROM due_index WHERE bucket BETWEEN ? AND ?"
        " ORDER BY bucket, app, partition",
        (first, last),
    )
    entries: dict[str, list[IndexEntry]] = {}
    for bucket, number, partition in found:
        app_id = asked.get(number)
        if app_id is not None and len(of_app := entries.setdefault(app_id, [])) < limit:
            of_app.append(IndexEntry(bucket, Instance(app_id, partition)))
    return entries


def count_live(session: Session, entries: Sequence[IndexEntry], most: int) -> list[int]:
    return [
        session.connection.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM schedules {_IN_BUCKET} AND {IS_LIVE} LIMIT ?)",
            (*_bounds(session, entry), most),
        ).fetchone()[0]
        for entry in entries
    ]


def fetch_last_slots(session: Session, entries: Sequence[IndexEntry]) -> list[int | None]:
    return [
        session.connection.execute(
            f"SELECT max(slot_ms) FROM schedules {_IN_BUCKET}", _bounds(session, entry)
        ).fetchone()[0]
        for entry in entries
    ]


def fetch_terms(session: Session, instances: Sequence[Instance]) -> dict[Instance, int]:
    found: dict[Instance, int] = {}
    for instance in instances:
        key = (session.number_of(instance.app_id), instance.partition)
        for (term,) in session.connection.execute(
            "SELECT term FROM partition_state WHERE app = ? AND partition = ?", key
        ):
            found[instance] = read_term(term)
    return found


def fetch_receipts(
    session: Session, entry: IndexEntry, after: bytes | None, limit: int, now_ms: int
) -> ReceiptPage:
    app_id, partition = entry.instance
    found = session.connection.execute(
        "SELECT ids, expires_ms FROM receipts WHERE app = ? AND partition = ? AND bucket = ? AND ids > ?"
        " ORDER BY ids LIMIT ?",
        (session.number_of(app_id), partition, entry.bucket, after or b"", limit),
    ).fetchall()
    told = [ids for ids, expires_ms in found if expires_ms - RECEIPT_MARGIN_MS > now_ms]
    return ReceiptPage(
        [each for ids in told for each in ids_in(ids)], found[-1][0] if len(found) == limit else None
    )


def put_audit(session: Session, entry: AuditEntry) -> None:
    session.connection.execute(
        "INSERT INTO audit_log (at_ms, entry_id, entry, app_id, expires_ms) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        (entry.at_ms, entry.entry_id.bytes, encode_entry(entry), entry.app_id, entry.expires_ms),
    )


def fetch_audit(
    session: Session,
    app_id: str,
    from_ms: int,
    upto_ms: int,
    after: EntryKey | None,
    limit: int,
    *,
    is_oldest_first: bool,
) -> list[AuditEntry]:
    of_app = "app_id = ? AND " if app_id else ""
    sign, order = (">", "ASC") if is_oldest_first else ("<", "DESC")
    onwards = "" if after is None else f" AND (at_ms, entry_id) {sign} (?, ?)"
    found = session.fetch(
        f"SELECT at_ms, entry_id, entry FROM audit_log WHERE {of_app}at_ms BETWEEN ? AND ?{onwards}"
        f" ORDER BY at_ms {order}, entry_id {order} LIMIT ?",
        (
            *([app_id] if app_id else []),
            from_ms,
            upto_ms,
            *([] if after is None else [after.at_ms, after.entry_id.bytes]),
            limit,
        ),
    )
    return [read_entry(at_ms, id_of(entry_id), text) for at_ms, entry_id, text in found]


def fetch_schema(session: Session) -> tuple[int, int]:
    return fetch_version(session.connection), SCHEMA_VERSION


def _bounds(session: Session, entry: IndexEntry) -> Record:
    app_id, partition = entry.instance
    return session.number_of(app_id), partition, first_slot(entry.bucket), last_slot(entry.bucket)


_DAMAGE = "in_table, record, app_id, fault, found_ms"


def put_damage(session: Session, notes: Sequence[Damage]) -> None:
    records = [(note.table, note.key, note.app_id, note.fault, note.found_ms) for note in notes]
    template = f"INSERT INTO damage ({_DAMAGE}) {{values}} ON CONFLICT DO NOTHING"
    execute_bulk(session.connection, template, records)


def fetch_damage(session: Session, limit: int) -> list[Damage]:
    return [
        Damage(table=str(table), key=str(key), app_id=str(app_id), fault=str(fault), found_ms=found_ms)
        for table, key, app_id, fault, found_ms in session.fetch(
            f"SELECT {_DAMAGE} FROM damage WHERE typeof(found_ms) = 'integer' ORDER BY found_ms DESC LIMIT ?",
            (limit,),
        )
    ]
