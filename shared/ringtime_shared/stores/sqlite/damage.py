"""Operations of `DamageStore`."""

from __future__ import annotations

from collections.abc import Sequence

from ringtime_shared.models.damage import Damage
from ringtime_shared.stores.sqlite.bulk import execute_bulk
from ringtime_shared.stores.sqlite.session import Session

_COLUMNS = "in_table, record, app_id, fault, found_ms"


def put_damage(session: Session, notes: Sequence[Damage]) -> None:
    records = [(note.table, note.key, note.app_id, note.fault, note.found_ms) for note in notes]
    template = f"INSERT INTO damage ({_COLUMNS}) {{values}} ON CONFLICT DO NOTHING"
    execute_bulk(session.connection, template, records)


def fetch_damage(session: Session, limit: int) -> list[Damage]:
    return [
        Damage(table=str(table), key=str(key), app_id=str(app_id), fault=str(fault), found_ms=found_ms)
        for table, key, app_id, fault, found_ms in session.fetch(
            f"SELECT {_COLUMNS} FROM damage WHERE typeof(found_ms) = 'integer'"
            " ORDER BY found_ms DESC LIMIT ?",
            (limit,),
        )
    ]
