"""Operations of `MarkStore` and `MetaStore`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ringtime_shared.errors import Damaged
from ringtime_shared.ids import MAX_NONCES
from ringtime_shared.models.app import Instance
from ringtime_shared.stores.codec.cells import LAST_MS
from ringtime_shared.stores.codec.rows import read_marks
from ringtime_shared.stores.protocol import Marks, MarksWrite
from ringtime_shared.stores.sqlite.folder import Home
from ringtime_shared.stores.sqlite.session import Session, execute_bulk

#: What cannot be read has no say in what follows it: the next write of the owner mends it.
_IS_DAMAGED = f"""(typeof(term) <> 'integer'
    OR typeof(sealed_ms) <> 'integer' OR typeof(settled_ms) <> 'integer'
    OR min(term, sealed_ms, settled_ms) < 0 OR max(sealed_ms, settled_ms) > {LAST_MS})"""
_IS_NEWER = f"excluded.term > term OR {_IS_DAMAGED}"
_SENT_UNTIL, _HOME = "sent_until_ms", "home"  # in `meta`, once there is such a thing
_PUT_MARKS = f"""
INSERT INTO partition_state (app, partition, term, sealed_ms, settled_ms) {{values}}
ON CONFLICT DO UPDATE SET
    sealed_ms = iif({_IS_NEWER}, excluded.sealed_ms, max(sealed_ms, excluded.sealed_ms)),
    settled_ms = iif({_IS_NEWER}, excluded.settled_ms, max(settled_ms, excluded.settled_ms)),
    term = excluded.term
WHERE excluded.term >= term OR {_IS_DAMAGED}
"""


def fetch_marks(session: Session, instances: Sequence[Instance]) -> dict[Instance, Marks]:
    found: dict[Instance, Marks] = {}
    for instance in instances:
        key = (session.number_of(instance.app_id), instance.partition)
        for marks in session.fetch(
            "SELECT sealed_ms, settled_ms FROM partition_state WHERE app = ? AND partition = ?", key
        ):
            found[instance] = read_marks(*marks)
    return found


def put_marks(session: Session, writes: Sequence[MarksWrite]) -> None:
    records = [
        (session.give_number(app_id), partition, term, *marks) for (app_id, partition), term, marks in writes
    ]
    execute_bulk(session.connection, _PUT_MARKS, records)


def claim_nonce(session: Session, holder: str) -> int:
    claimed = _get_number(session, "nonces")
    _set_meta(session, "nonces", claimed + 1)
    _set_meta(session, "nonce_holder", holder)
    return claimed % MAX_NONCES


def note_restore(session: Session, sent_until_ms: int, nonces: int) -> None:
    _set_meta(session, "nonces", _get_number(session, "nonces") + nonces)
    _set_meta(session, _SENT_UNTIL, sent_until_ms)


def fetch_sent_until(session: Session) -> int:
    return _get_number(session, _SENT_UNTIL) if _has_meta(session, _SENT_UNTIL) else 0


def note_home(session: Session, home: Home, nonces: int) -> Home | None:
    """Note where the folder is served; pass over nonces, and return where it was served before, if that is
    another place, or a machine that was started since."""
    before = None
    if _has_meta(session, _HOME):
        before = Home.parse(str(_get_meta(session, _HOME)))
        if before == home:
            return None
        _set_meta(session, "nonces", _get_number(session, "nonces") + nonces)
    _set_meta(session, _HOME, str(home))
    return before


def raise_era(session: Session, identity: str) -> int:
    era = _get_number(session, "era")
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
    for (value,) in session.fetch("SELECT value FROM meta WHERE name = ?", (name,)):
        return value
    raise Damaged("meta", name, "value: is missing")


def _get_number(session: Session, name: str) -> int:
    value = _get_meta(session, name)
    if not isinstance(value, int) or value < 0:
        raise Damaged("meta", name, f"value: must be a whole number, not {value!r:.40}")
    return value


def _has_meta(session: Session, name: str) -> bool:
    return bool(session.fetch("SELECT 1 FROM meta WHERE name = ?", (name,)))


def _set_meta(session: Session, name: str, value: int | str) -> None:
    session.connection.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (name, value))
