"""What a client asks of dead letters, and what it is told; the same for HTTP and library callers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from uuid import UUID

from ringtime_shared.errors import InvalidRequest, Violation
from ringtime_shared.models.dead_letter import DeadLetter

MAX_SIZE = 1_000  #: letters on a page, and replays in a call
LIST_SIZE = 100
DAY_MS = 86_400_000
MAX_DAYS = 31


class Names(NamedTuple):
    """What the fields are called where the caller spelled them."""

    start: str
    end: str
    size: str
    token: str
    ids: str


IN_QUERY = Names("start_time", "end_time", "size", "continuation_token", "")
IN_BODY = Names("startTime", "endTime", "size", "continuationToken", "scheduleIds")
IN_LIBRARY = Names("start", "end", "size", "token", "schedule_ids")


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterQuery:
    """Dead letters of one app, by the slot of their last attempt, both ends included."""

    app_id: str
    start_ms: int | None = None  #: None: a day before the end
    end_ms: int | None = None  #: None: now
    size: int = LIST_SIZE
    token: str = ""  #: go on after an earlier page; "": from the start
    replayed: bool | None = False  #: only those filed again, or only the others; None: all
    names: Names = IN_BODY

    def range_at(self, now_ms: int) -> tuple[int, int]:
        """Return both ends in ms. Raises InvalidRequest."""
        end_ms = now_ms if self.end_ms is None else self.end_ms
        start_ms = end_ms - DAY_MS if self.start_ms is None else self.start_ms
        violations = []
        if start_ms > end_ms:
            until = "now" if self.end_ms is None else self.names.end
            violations.append(Violation(self.names.start, f"must not be after {until}"))
        elif end_ms - start_ms > MAX_DAYS * DAY_MS:
            rule = f"must be at most {MAX_DAYS} days before {self.names.end}, which is now if left out"
            violations.append(Violation(self.names.start, rule))
        if not 1 <= self.size <= MAX_SIZE:
            violations.append(Violation(self.names.size, f"must be from 1 to {MAX_SIZE}"))
        if violations:
            raise InvalidRequest(violations)
        return start_ms, end_ms


@dataclass(frozen=True, slots=True)
class LetterPage:
    """Oldest first. A page with a token may hold fewer than were asked for, or none."""

    letters: Sequence[DeadLetter]
    token: str  #: goes on after this page; "": there is nothing more


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A schedule that was filed again."""

    schedule_id: UUID
    replay: int  #: its n-th
    slot_ms: int  #: when it will be sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A schedule that was not filed again, and why."""

    schedule_id: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What became of a call that replays many."""

    replays: Sequence[Replay]
    skipped: Sequence[Skipped]
    token: str = ""  #: goes on after the last dead letter looked at; "": that was all


class DeadLetters(Protocol):
    """What the routes and the library need done; every method may also raise StoreUnavailable."""

    async def fetch(self, query: LetterQuery) -> LetterPage:
        """Return a page. Raises InvalidRequest, NotFound (app)."""
        ...

    async def count(self, query: LetterQuery) -> int:
        """Return how many were not filed again. Raises InvalidRequest, NotFound (app)."""
        ...

    async def replay(self, schedule_id: UUID) -> Replay:
        """File a failed schedule again. Raises NotFound, NotReplayable, AppInactive, OutcomeUnknown."""
        ...

    async def replay_ids(
        self, app_id: str, schedule_ids: Sequence[UUID], names: Names = IN_BODY
    ) -> ReplayReport:
        """File these again. Raises InvalidRequest, NotFound (app), AppInactive, OutcomeUnknown."""
        ...

    async def replay_range(self, query: LetterQuery) -> ReplayReport:
        """File again what `fetch` would return. Raises as `replay_ids` does."""
        ...
