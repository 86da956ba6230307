"""The audit log, read a page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ringtime_ingest.service.apps import AppMaps
from ringtime_ingest.service.tokens import decode_token, encode_token, range_faults
from ringtime_shared.api.audit import (
    LIST_DAYS,
    LIST_SIZE,
    MAX_ACTION_CHARS,
    MAX_ACTOR_CHARS,
    MAX_DAYS,
    MAX_SIZE,
)
from ringtime_shared.clock import Clock
from ringtime_shared.errors import InvalidRequest, Violation
from ringtime_shared.models.audit import AuditEntry, EntryKey
from ringtime_shared.stores.protocol import AuditStore, Position

_READ = 500  #: entries read at once where some are passed over
_MOST_READ = 5_000  #: and in one call: whoever looks for few among many goes on with the token
_DAY_MS = 86_400_000


class Names(NamedTuple):
    """What the fields are called where the caller spelled them."""

    start: str
    end: str
    size: str
    token: str
    actor: str = "actor"
    action: str = "action"


IN_QUERY = Names("start_time", "end_time", "size", "continuation_token")
IN_LIBRARY = Names("start", "end", "size", "token")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuery:
    """Entries of one app, or of all and of none, both ends of the time included."""

    app_id: str = ""  #: "": of all
    start_ms: int | None = None  #: None: 30 days before the end
    end_ms: int | None = None  #: None: now
    size: int = LIST_SIZE
    token: str = ""  #: go on after an earlier page; "": from the newest
    actor: str = ""  #: only changes by this one
    action: str = ""  #: only actions that begin so
    names: Names = IN_LIBRARY

    def range_at(self, now_ms: int) -> tuple[int, int]:
        """Return both ends in ms. Raises InvalidRequest."""
        end_ms = now_ms if self.end_ms is None else self.end_ms
        start_ms = max(end_ms - LIST_DAYS * _DAY_MS, 0) if self.start_ms is None else self.start_ms
        wrong = range_faults(
            start_ms,
            end_ms,
            self.size,
            self.names,
            ends_now=self.end_ms is None,
            most_days=MAX_DAYS,
            most_size=MAX_SIZE,
        )
        for name, text, most in (
            (self.names.actor, self.actor, MAX_ACTOR_CHARS),
            (self.names.action, self.action, MAX_ACTION_CHARS),
        ):
            if len(text) > most:
                wrong.append(Violation(name, f"must be at most {most} characters"))
        if wrong:
            raise InvalidRequest(wrong)
        return start_ms, end_ms

    def takes(self, entry: AuditEntry) -> bool:
        """Whether an entry of the range is asked for."""
        return self.actor in ("", entry.operator) and entry.action.startswith(self.action)


class AuditPage(NamedTuple):
    """Newest first. A page with a token may hold fewer than were asked for, or none."""

    entries: Sequence[AuditEntry]
    token: str  #: goes on after this page; "": there is nothing more


class AuditLog:
    """Tells of the changes of all apps."""

    def __init__(self, store: AuditStore, apps: AppMaps, clock: Clock) -> None:
        self._store = store
        self._apps = apps
        self._clock = clock

    async def fetch(self, query: AuditQuery) -> AuditPage:
        """Return a page.

        The log of an app outlives it; of an id that no app has, and none had in this time, there is none.

        Raises InvalidRequest, NotFound (app), StoreUnavailable.
        """
        start_ms, end_ms = query.range_at(self._clock.now_ms())
        after = _read_token(query) if query.token else None
        page: list[AuditEntry] = []
        limit = max(query.size + 1, _READ)  # one more tells whether there is more
        for _ in range(0, _MOST_READ, limit):
            entries = await self._store.fetch_audit(start_ms, end_ms, limit, app_id=query.app_id, after=after)
            for entry in entries:
                if len(page) == query.size:
                    return AuditPage(page, _token(query, after))
                after = entry.key
                if query.takes(entry):
                    page.append(entry)
            if len(entries) < limit:
                break
        else:
            return AuditPage(page, _token(query, after))
        if query.app_id and not page and not query.token:
            await self._apps.get(query.app_id)
        return AuditPage(page, "")


def _token(query: AuditQuery, after: EntryKey | None) -> str:
    return "" if after is None else encode_token(query.app_id, Position(*after))


def _read_token(query: AuditQuery) -> EntryKey:
    try:
        return EntryKey(*decode_token(query.app_id, query.token))
    except ValueError as error:
        raise InvalidRequest.of(query.names.token, str(error)) from None
