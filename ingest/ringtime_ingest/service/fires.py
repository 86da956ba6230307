"""Whether all that was due has its outcome: up to when, and which of a range has none, or two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ringtime_ingest.service.apps import AppMaps
from ringtime_ingest.service.tokens import decode_token, encode_token, range_faults
from ringtime_shared.api.schedules import MAX_LIST_DAYS
from ringtime_shared.clock import Clock
from ringtime_shared.errors import InvalidRequest
from ringtime_shared.models.fires import Completeness, FireCounts
from ringtime_shared.schedules.completeness import CompletenessMarks, MarkedStore
from ringtime_shared.schedules.fires import AuditStore, FireAudit
from ringtime_shared.stores.protocol import Position

_HOUR_MS = 3_600_000


class FireNames(NamedTuple):
    """What the fields are called where the caller spelled them."""

    start: str
    end: str
    token: str
    size: str = "size"


IN_QUERY = FireNames("start_time", "end_time", "continuation_token")
IN_LIBRARY = FireNames("start", "end", "token")


@dataclass(frozen=True, slots=True, kw_only=True)
class FireQuery:
    """Fires of one app that were due from `start_ms` up to before `end_ms`."""

    app_id: str
    start_ms: int | None = None  #: None: an hour before the end
    end_ms: int | None = None  #: None: an hour after the start if that is given, else now
    token: str = ""  #: go on after an earlier part; "": from the start
    names: FireNames = IN_LIBRARY

    def range_at(self, now_ms: int) -> tuple[int, int]:
        """Return the first slot and the last. Raises InvalidRequest."""
        start_ms, end_ms = self.start_ms, self.end_ms
        if end_ms is None:
            end_ms = now_ms + 1 if start_ms is None else start_ms + _HOUR_MS
        if start_ms is None:
            start_ms = max(0, end_ms - _HOUR_MS)
        wrong = range_faults(
            start_ms, end_ms, 1, self.names, ends_now=False, most_days=MAX_LIST_DAYS, most_size=1
        )
        if wrong:
            raise InvalidRequest(wrong)
        return start_ms, end_ms - 1


class FireAuditPart(NamedTuple):
    """A part of an audit; the sum of all parts is the audit's."""

    found: FireCounts
    token: str  #: goes on after this part; "": the audit is over


class FireStore(MarkedStore, AuditStore, Protocol):
    """What both need of a store."""


class Fires:
    """Tells how complete the outcomes are."""

    def __init__(self, store: FireStore, apps: AppMaps, clock: Clock) -> None:
        self._store = store
        self._apps = apps
        self._clock = clock
        self._marks = CompletenessMarks(store, clock, apps.known)

    async def completeness(self, app_id: str | None = None) -> Completeness:
        """Return the mark of an app; None: of all of them. Raises NotFound (app), ClockInDoubt,
        StoreUnavailable."""
        if app_id is not None:
            return await self._marks.of_app((await self._apps.get(app_id)).app)
        await self._apps.follow()  # rows of an app that is not known yet must not be passed over
        return await self._marks.of_all()

    async def audit(self, query: FireQuery) -> FireAuditPart:
        """Return a part of an audit. Raises InvalidRequest, NotFound (app), StoreUnavailable."""
        first_ms, last_ms = query.range_at(self._clock.now_ms())
        after = _read_token(query, last_ms) if query.token else None
        app = (await self._apps.get(query.app_id)).app
        page = await FireAudit(self._store, self._clock, app, first_ms, last_ms).fetch(after)
        token = "" if page.next is None else encode_token(query.app_id, page.next)
        return FireAuditPart(page.found, token)


def _read_token(query: FireQuery, last_ms: int) -> Position:
    try:
        position = decode_token(query.app_id, query.token)
    except ValueError as error:
        raise InvalidRequest.of(query.names.token, str(error)) from None
    if position.slot_ms > last_ms + 1:  # the recurring schedules come after the last slot
        raise InvalidRequest.of(query.names.token, f"goes on after {query.names.end}")
    return position
