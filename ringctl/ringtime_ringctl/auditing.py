"""The audit log, read back. `changes` writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import orjson

from ringtime_shared.models.audit import AuditEntry
from ringtime_shared.stores.protocol import OperatorStore

_PAGE = 500


async def fetch_entries(
    store: OperatorStore, from_ms: int, upto_ms: int, limit: int, *, wanted: Callable[[AuditEntry], bool]
) -> list[AuditEntry]:
    """Return the newest entries that are `wanted`, at most `limit`. Raises StoreUnavailable."""
    found: dict[object, AuditEntry] = {}
    asked = _PAGE
    while len(found) < limit:
        page = await store.fetch_audit(from_ms, upto_ms, asked)
        found |= {entry.entry_id: entry for entry in page if wanted(entry)}
        if len(page) < asked:
            break
        if page[-1].at_ms == page[0].at_ms:  # more of one millisecond than a page holds
            asked *= 2
        upto_ms = page[-1].at_ms  # again: a page may end between two of one millisecond
    return list(found.values())[:limit]


def read_json(text: str) -> object:
    """Return `before` or `after` of an entry; empty and unreadable ones as they are."""
    try:
        return orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        return text


def describe_change(entry: AuditEntry) -> str:
    """Return what is new or other after the change, in one line; an `after` names what it is about."""
    before, after = read_json(entry.before), read_json(entry.after)
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return " -> ".join(_shown(each) for each in (before, after) if each is not None)
    parts = []
    for name, new in after.items():
        if name not in before:
            parts.append(f"{name}: {_shown(new)}")
        elif before[name] != new:
            parts.append(f"{name}: {_shown(before[name])} -> {_shown(new)}")
    return ", ".join(parts)


def _shown(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
