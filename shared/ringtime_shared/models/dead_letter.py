"""A delivery that was given up, kept for replay."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """The last failure of one schedule. Payload and callback stay with the schedule's home row.

    The key is (app, `slot_ms`, `schedule_id`): a delivery that a crash repeats writes the same dead
    letter again, where a key made of the time of failure would make a second one.
    """

    app_id: str
    schedule_id: UUID
    slot_ms: int  #: slot of the filing whose attempt was the last
    fire_ms: int  #: the instant the client asked for
    failed_ms: int  #: when it was given up
    attempts: int
    code: int | None = None  #: HTTP status of the last attempt, if there was an answer
    error: str = ""  #: at most 200 characters
    callback_type: str
    replay: int = 0  #: which round failed: 0 the schedule itself, n its n-th replay
    expires_ms: int  #: the store forgets it then, as it does the schedule
    replayed_ms: int | None = None  #: when it was filed again
