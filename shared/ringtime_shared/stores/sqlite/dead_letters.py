"""Operations of `DeadLetterStore`."""

from __future__ import annotations

from collections.abc import Sequence

from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.stores.codec.documents import encode_letter, read_letter
from ringtime_shared.stores.protocol import Position
from ringtime_shared.stores.sqlite.schedules import id_of
from ringtime_shared.stores.sqlite.session import Session, execute_bulk

_PUT = """
INSERT INTO dead_letters (app, slot_ms, schedule_id, expires_ms, letter) {values}
ON CONFLICT DO UPDATE SET expires_ms = excluded.expires_ms, letter = excluded.letter
"""
_PUT_REPLAYED = """
UPDATE dead_letters SET replayed_ms = column1
FROM ({values}) WHERE app = column2 AND slot_ms = column3 AND schedule_id = column4
"""


def put_dead_letters(session: Session, letters: Sequence[DeadLetter]) -> None:
    records = [
        (
            session.give_number(letter.app_id),
            letter.slot_ms,
            letter.schedule_id.bytes,
            letter.expires_ms,
            encode_letter(letter),
        )
        for letter in letters
    ]
    execute_bulk(session.connection, _PUT, records)


def fetch_dead_letters(
    session: Session, app_id: str, after: Position, upto_ms: int, limit: int
) -> list[DeadLetter]:
    found = session.fetch(
        "SELECT slot_ms, schedule_id, letter, replayed_ms FROM dead_letters"
        " WHERE app = ? AND (slot_ms, schedule_id) > (?, ?) AND slot_ms <= ?"
        " ORDER BY slot_ms, schedule_id LIMIT ?",
        (session.number_of(app_id), after.slot_ms, after.schedule_id.bytes, upto_ms, limit),
    )
    return [
        read_letter(app_id, slot_ms, id_of(schedule_id), letter, replayed_ms)
        for slot_ms, schedule_id, letter, replayed_ms in found
    ]


def put_replayed(session: Session, app_id: str, keys: Sequence[Position], replayed_ms: int) -> None:
    number = session.number_of(app_id)
    records = [(replayed_ms, number, key.slot_ms, key.schedule_id.bytes) for key in keys]
    execute_bulk(session.connection, _PUT_REPLAYED, records)


def count_dead_letters(session: Session, app_id: str, from_ms: int, upto_ms: int) -> int:
    count: int = session.connection.execute(
        "SELECT count(*) FROM dead_letters WHERE app = ? AND slot_ms BETWEEN ? AND ? AND replayed_ms IS NULL",
        (session.number_of(app_id), from_ms, upto_ms),
    ).fetchone()[0]
    return count
