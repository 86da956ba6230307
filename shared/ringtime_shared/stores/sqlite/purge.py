"""Retention: rows whose time has passed go, without a scan of the table.

Each entry of `due_index` says when its rows are worth a look: when the first one filed under it expires,
later when the earliest one that was left expires. A look deletes what has expired and is finished.
Dead letters, claims, aliases, the entries of runs, jobs, taps, and entries of the audit log go when they
expire; an index of their own says which.
"""

from __future__ import annotations

from typing import NamedTuple

from ringtime_shared.buckets import first_slot, last_slot
from ringtime_shared.models.tally import DAY_MS
from ringtime_shared.stores.codec.cells import KEPT_MS
from ringtime_shared.stores.protocol import LAST_ID
from ringtime_shared.stores.sqlite.schedules import IS_LIVE, first_kept_bucket
from ringtime_shared.stores.sqlite.session import IndexKey, Session

ROWS_PER_CHUNK = 1_000
ENTRIES_PER_CHUNK = 200
LOOK_AGAIN_MS = 3_600_000  # rows that expired before they were finished wait for their dispatcher

_RANGE = "WHERE app = ? AND partition = ? AND slot_ms BETWEEN ? AND ?"
_FINISHED = (
    f"{_RANGE} AND expires_ms <= ? AND (NOT ({IS_LIVE})"
    " OR slot_ms <= (SELECT settled_ms FROM partition_state WHERE app = ? AND partition = ?)"
    " OR app NOT IN (SELECT number FROM apps))"
)


class Chunk(NamedTuple):
    """What one transaction of a purge did."""

    deleted: int
    is_last: bool


def purge_chunk(session: Session, now_ms: int) -> Chunk:
    """Delete up to a chunk of expired dead letters, then of expired rows that are not live, lie at or under
    `settled`, or are of an app that is gone."""
    _delete_damage(session, now_ms)
    _delete_jobs(session, now_ms)
    _delete_tallies(session, now_ms)
    _delete_audit(session, now_ms)
    _delete_taps(session, now_ms)
    letters = _delete_letters(session, now_ms)
    others = (
        _delete_runs(session, now_ms),
        _delete_claims(session, now_ms),
        _delete_aliases(session, now_ms),
    )
    if ROWS_PER_CHUNK in (letters, *others):
        return Chunk(letters, is_last=False)
    entries: list[IndexKey] = session.connection.execute(
        "SELECT bucket, app, partition FROM due_index INDEXED BY due_index_purge"
        " WHERE purge_ms <= ? AND bucket < ? ORDER BY purge_ms LIMIT ?",
        (now_ms, first_kept_bucket(now_ms), ENTRIES_PER_CHUNK),
    ).fetchall()
    deleted, left = letters, ROWS_PER_CHUNK - letters  # receipts count for what may be done, too
    for entry in entries:
        found = _delete_rows(session, entry, now_ms, left)
        deleted, left = deleted + found, left - found
        left = _close_entry(session, entry, now_ms, left) if left else 0
        if not left:
            return Chunk(deleted, is_last=False)
    return Chunk(deleted, is_last=len(entries) < ENTRIES_PER_CHUNK)


def _delete_damage(session: Session, now_ms: int) -> None:
    session.connection.execute(
        "DELETE FROM damage WHERE (in_table, record) IN"
        " (SELECT in_table, record FROM damage INDEXED BY damage_found WHERE found_ms <= ? LIMIT ?)",
        (now_ms - KEPT_MS, ROWS_PER_CHUNK),
    )


def _delete_jobs(session: Session, now_ms: int) -> None:
    session.connection.execute(
        "DELETE FROM jobs WHERE (app_id, job_id) IN"
        " (SELECT app_id, job_id FROM jobs INDEXED BY jobs_expiry WHERE expires_ms <= ? LIMIT ?)",
        (now_ms, ROWS_PER_CHUNK),
    )


def _delete_tallies(session: Session, now_ms: int) -> None:
    session.connection.execute(
        "DELETE FROM tallies WHERE (app, day, holder) IN"
        " (SELECT app, day, holder FROM tallies INDEXED BY tallies_day WHERE day < ? LIMIT ?)",
        (now_ms // DAY_MS - 1, ROWS_PER_CHUNK),
    )


def _delete_audit(session: Session, now_ms: int) -> None:
    session.connection.execute(
        "DELETE FROM audit_log WHERE (at_ms, entry_id) IN"
        " (SELECT at_ms, entry_id FROM audit_log INDEXED BY audit_log_expiry"
        " WHERE expires_ms > 0 AND expires_ms <= ? LIMIT ?)",
        (now_ms, ROWS_PER_CHUNK),
    )


def _delete_taps(session: Session, now_ms: int) -> None:
    session.connection.execute(
        "DELETE FROM taps WHERE (app_id, bucket, schedule_id, tap_id) IN"
        " (SELECT app_id, bucket, schedule_id, tap_id FROM taps INDEXED BY taps_expiry"
        " WHERE expires_ms <= ? LIMIT ?)",
        (now_ms, ROWS_PER_CHUNK),
    )


def _delete_letters(session: Session, now_ms: int) -> int:
    return session.connection.execute(
        "DELETE FROM dead_letters WHERE (app, slot_ms, schedule_id) IN"
        " (SELECT app, slot_ms, schedule_id FROM dead_letters INDEXED BY dead_letters_expiry"
        " WHERE expires_ms <= ? LIMIT ?)",
        (now_ms, ROWS_PER_CHUNK),
    ).rowcount


def _delete_runs(session: Session, now_ms: int) -> int:
    return session.connection.execute(
        "DELETE FROM runs WHERE (app, recurring_id, nominal_ms, schedule_id) IN"
        " (SELECT app, recurring_id, nominal_ms, schedule_id FROM runs INDEXED BY runs_expiry"
        " WHERE expires_ms <= ? LIMIT ?)",
        (now_ms, ROWS_PER_CHUNK),
    ).rowcount


def _delete_claims(session: Session, now_ms: int) -> int:
    return session.connection.execute(
        "DELETE FROM claims WHERE (app, kind, claimed) IN"
        " (SELECT app, kind, claimed FROM claims INDEXED BY claims_expiry WHERE expires_ms <= ? LIMIT ?)",
        (now_ms, ROWS_PER_CHUNK),
    ).rowcount


def _delete_aliases(session: Session, now_ms: int) -> int:
    return session.connection.execute(
        "DELETE FROM aliases WHERE alias IN"
        " (SELECT alias FROM aliases INDEXED BY aliases_expiry"
        " WHERE expires_ms IS NOT NULL AND expires_ms <= ? LIMIT ?)",
        (now_ms, ROWS_PER_CHUNK),
    ).rowcount


def _delete_rows(session: Session, entry: IndexKey, now_ms: int, limit: int) -> int:
    bucket, app, partition = entry
    bounds = (app, partition, first_slot(bucket), last_slot(bucket), now_ms, app, partition)
    cut = session.connection.execute(
        f"SELECT slot_ms, schedule_id FROM schedules {_FINISHED}"
        " ORDER BY slot_ms, schedule_id LIMIT 1 OFFSET ?",
        (*bounds, limit - 1),
    ).fetchone()
    upto = cut or (last_slot(bucket), LAST_ID.bytes)
    return session.connection.execute(
        f"DELETE FROM schedules {_FINISHED} AND (slot_ms, schedule_id) <= (?, ?)", (*bounds, *upto)
    ).rowcount


def _close_entry(session: Session, entry: IndexKey, now_ms: int, limit: int) -> int:
    """Drop the index entry if no row is left under it, else note when to look again. Return how many receipts
    more might have been deleted; 0: it stays as it was, for another look."""
    bucket, app, partition = entry
    (earliest_ms,) = session.connection.execute(
        f"SELECT min(expires_ms) FROM schedules {_RANGE}",
        (app, partition, first_slot(bucket), last_slot(bucket)),
    ).fetchone()
    left = limit - _delete_receipts(session, entry, None if earliest_ms is None else now_ms, limit)
    if not left:
        return 0
    if earliest_ms is None:
        session.connection.execute(
            "DELETE FROM due_index WHERE bucket = ? AND app = ? AND partition = ?", entry
        )
        session.connection.execute("DELETE FROM moved WHERE bucket = ? AND app = ? AND partition = ?", entry)
        session.forget_indexed([entry])
    else:
        look_ms = earliest_ms if earliest_ms > now_ms else now_ms + LOOK_AGAIN_MS
        session.connection.execute(
            "UPDATE due_index SET purge_ms = ? WHERE bucket = ? AND app = ? AND partition = ?",
            (look_ms, *entry),
        )
    return left


def _delete_receipts(session: Session, entry: IndexKey, now_ms: int | None, limit: int) -> int:
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
