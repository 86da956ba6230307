"""Dead letters and their replays, as the API and the tools show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

from ringtime_shared.api.instants import to_iso
from ringtime_shared.api.schedules import MAX_ERROR_CHARS
from ringtime_shared.api.views import Doc
from ringtime_shared.models.dead_letter import DeadLetter

LIST_SIZE = 100  #: letters on a page, if nobody says how many
MAX_SIZE = 1_000  #: letters on a page, and replays in a call
MAX_DAYS = 31  #: between both ends of a range


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterView:
    """A delivery that was given up. Payload and callback are with the schedule: `get_schedule`."""

    schedule_id: Annotated[UUID, Doc("The schedule that was given up.")]
    app_id: Annotated[str, Doc("Whose schedule it is.")]
    fire_time: Annotated[datetime, Doc("Fire time to the millisecond, UTC.")]
    failed_at: Annotated[datetime, Doc("When it was given up.")]
    attempts: Annotated[int, Doc("Attempts made.")]
    callback_type: Annotated[str, Doc("The type of its callback.")]
    replay: Annotated[int, Doc("0: the schedule itself failed; n: its n-th replay.")]
    error: Annotated[str, Doc("Why the last attempt failed, at most 200 characters.", name="errorMessage")]
    http_code: Annotated[int | None, Doc("HTTP status of the last attempt, if there was an answer.")] = None
    replayed_at: Annotated[
        datetime | None, Doc("When it was filed again, or was found to need no replay.")
    ] = None


def letter_to_json(letter: DeadLetter) -> dict[str, object]:
    """Return a dead letter as the API shows it."""
    shown: dict[str, object] = {
        "scheduleId": str(letter.schedule_id),
        "appId": letter.app_id,
        "scheduleTime": letter.fire_ms // 1_000,
        "fireTime": to_iso(letter.fire_ms),
        "failedAt": to_iso(letter.failed_ms),
        "attempts": letter.attempts,
        "errorMessage": letter.error[:MAX_ERROR_CHARS],
        "callbackType": letter.callback_type,
        "replay": letter.replay,
    }
    if letter.code is not None:
        shown["httpCode"] = letter.code
    if letter.replayed_ms is not None:
        shown["replayedAt"] = to_iso(letter.replayed_ms)
    return shown


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterPage:
    """Oldest first. A page with a token may hold fewer than were asked for, or none."""

    letters: Annotated[Sequence[DeadLetterView], Doc("Dead letters.", name="deadLetters")]
    token: Annotated[
        str, Doc("Goes on after this answer; empty: there is nothing more.", name="continuationToken")
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayView:
    """A schedule that was filed again."""

    schedule_id: Annotated[UUID, Doc("The schedule, whose id stays as it was.")]
    replay: Annotated[int, Doc("Which replay of it this is, from 1.")]
    next_attempt_at: Annotated[datetime, Doc("When it will be sent.")]


def replay_to_json(schedule_id: UUID, replay: int, slot_ms: int) -> dict[str, object]:
    """Return a schedule that was filed again, under this slot."""
    return {"scheduleId": str(schedule_id), "replay": replay, "nextAttemptAt": to_iso(slot_ms)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedReplay:
    """A schedule that was not filed again, and why."""

    schedule_id: Annotated[UUID, Doc("Not filed again.")]
    reason: Annotated[str, Doc("Why not.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """What became of a call that replays many."""

    replayed: Annotated[int, Doc("How many were filed again.")]
    skipped: Annotated[Sequence[SkippedReplay], Doc("Those that were not.")]
    token: Annotated[
        str, Doc("Goes on after this answer; empty: there is nothing more.", name="continuationToken")
    ]


def replays_to_json(replayed: int, skipped: Sequence[tuple[UUID, str]], token: str) -> dict[str, object]:
    """Return what became of many; `skipped` are ids with the reason."""
    return {
        "replayed": replayed,
        "skipped": [{"scheduleId": str(each), "reason": reason} for each, reason in skipped],
        "continuationToken": token,
    }
