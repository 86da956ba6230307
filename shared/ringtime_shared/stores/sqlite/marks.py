"""Operations of `MarkStore` and `MetaStore`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ringtime_shared.ids import MAX_NONCES
from ringtime_shared.models.app import Instance
from ringtime_shared.stores.protocol import Marks, MarksWrite
from ringtime_shared.stores.sqlite.bulk import execute_bulk
from ringtime_shared.stores.sqlite.session import Session

_PUT_MARKS = """
INSERT INTO partition_state (app, partition, term, sealed_ms, settled_ms) {values}
ON CONFLICT DO UPDATE SET
    sealed_ms = iif(excluded.term > term, excluded.sealed_ms, max(sealed_ms, excluded.sealed_ms)),
    settled_ms = iif(excluded.term > term, excluded.settled_ms, max(settled_ms, excluded.settled_ms)),
    term = excluded.term
WHERE excluded.term >= term
"""


def fetch_marks(session: Session, instances: Sequence[Instance]) -> dict[Instance, Marks]:
    found: dict[Instance, Marks] = {}
    for instance in instances:
        number = session.number_of(instance.app_id)
        for marks in session.connection.execute(
            "SELECT sealed_ms, settled_ms FROM partition_state WHERE app = ? AND partition = ?",
            (number, instance.partition),
        ):
            found[instance] = Marks(*marks)
    return found


def put_marks(session: Session, writes: Sequence[MarksWrite]) -> None:
    records = [
        (session.give_number(app_id), partition, term, *marks) for (app_id, partition), term, marks in writes
    ]
    execute_bulk(session.connection, _PUT_MARKS, records)


def claim_nonce(session: Session, holder: str) -> int:
    claimed: int = _get_meta(session, "nonces")
    _set_meta(session, "nonces", claimed + 1)
    _set_meta(session, "nonce_holder", holder)
    return claimed % MAX_NONCES


def raise_era(session: Session, identity: str) -> int:
    era: int = _get_meta(session, "era")
    if _get_meta(session, "era_identity") != identity:
        era += 1
        _set_meta(session, "era", era)
        _set_meta(session, "era_identity", identity)
    return era


def ping(session: Session) -> None:
    _get_meta(session, "era")


def touch(session: Session) -> None:
    """Write what is there already: the smallest write."""
    session.connection.execute("UPDATE meta SET value = value WHERE name = 'era'")


def _get_meta(session: Session, name: str) -> Any:
    return session.connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()[0]


def _set_meta(session: Session, name: str, value: int | str) -> None:
    session.connection.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))
