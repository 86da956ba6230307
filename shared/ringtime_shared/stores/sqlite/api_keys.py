"""Operations of `KeyStore`."""

from __future__ import annotations

from ringtime_shared.access.keys import ApiKey
from ringtime_shared.errors import NotFound
from ringtime_shared.stores.codec.documents import encode_api_key, read_api_key
from ringtime_shared.stores.sqlite.session import Session

_COLUMNS = "key_id, facts, revoked_ms, used_ms, retires_ms"
_GET = f"SELECT {_COLUMNS} FROM api_keys WHERE key_id = ?"
_LIST = f"SELECT {_COLUMNS} FROM api_keys WHERE key_id > ? ORDER BY key_id LIMIT ?"
_PUT = "INSERT INTO api_keys (key_id, facts) VALUES (?, ?) ON CONFLICT DO NOTHING"


def put_key(session: Session, key: ApiKey) -> None:
    session.connection.execute(_PUT, (key.key_id, encode_api_key(key)))


def fetch_key(session: Session, key_id: str) -> ApiKey | None:
    for record in session.fetch(_GET, (key_id,)):
        return read_api_key(*record)
    return None


def list_keys(session: Session, after: str, limit: int) -> list[ApiKey]:
    return [read_api_key(*record) for record in session.fetch(_LIST, (after, limit))]


def revoke_key(session: Session, key_id: str, at_ms: int) -> None:
    if fetch_key(session, key_id) is None:
        raise NotFound("key", key_id)
    session.connection.execute("UPDATE api_keys SET revoked_ms = ? WHERE key_id = ?", (at_ms, key_id))


def retire_key(session: Session, key_id: str, at_ms: int) -> None:
    if fetch_key(session, key_id) is None:
        raise NotFound("key", key_id)
    session.connection.execute("UPDATE api_keys SET retires_ms = ? WHERE key_id = ?", (at_ms, key_id))


def note_key_use(session: Session, key_id: str, at_ms: int) -> None:
    session.connection.execute("UPDATE api_keys SET used_ms = ? WHERE key_id = ?", (at_ms, key_id))


def drop_key(session: Session, key_id: str) -> None:
    session.connection.execute("DELETE FROM api_keys WHERE key_id = ?", (key_id,))
