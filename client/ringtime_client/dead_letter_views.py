"""What a caller of the client is told of dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterView:
    """A delivery that was given up. Payload and callback are with the schedule: `get_schedule`."""

    schedule_id: UUID
    app_id: str
    fire_time: datetime  #: the instant the client asked for, UTC, to the millisecond
    failed_at: datetime  #: when it was given up
    attempts: int
    callback_type: str
    replay: int  #: 0: the schedule itself failed; n: its n-th replay
    http_code: int | None = None  #: HTTP status of the last attempt, if there was an answer
    error: str = ""  #: why the last attempt failed, at most 200 characters
    replayed_at: datetime | None = None  #: when it was filed again, or was found to need no replay


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterPage:
    """Oldest first. A page with a token may hold fewer than were asked for, or none."""

    letters: Sequence[DeadLetterView]
    token: str  #: goes on after this page; "": there is nothing more


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayView:
    """A schedule that was filed again."""

    schedule_id: UUID
    replay: int  #: its n-th
    next_attempt_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedReplay:
    """A schedule that was not filed again, and why."""

    schedule_id: UUID
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """What became of a call that replays many."""

    replayed: int
    skipped: Sequence[SkippedReplay]
    token: str  #: goes on after the last dead letter looked at; "": that was all
