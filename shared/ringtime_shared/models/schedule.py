"""A schedule, the row it is filed as, and how it ended.

Nobody changes one of these. The larger ones are not frozen all the same: to make a frozen one takes three
times as long, and many are made for each request and each delivery.
"""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from ringtime_shared.buckets import bucket_of
from ringtime_shared.ids import home_slot, unpack_id
from ringtime_shared.models.app import Instance
from ringtime_shared.models.hooks import HookOf
from ringtime_shared.models.recurring import Origin, RunOf, Work
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.sending import Sending
from ringtime_shared.models.trace import Trace

LOG_LENGTH = 10  #: attempts that are remembered beside the last


class Status(StrEnum):
    """What a client is told; the words are goscheduler's."""

    SCHEDULED = "SCHEDULED"  #: no outcome yet, a retry may be pending
    SUCCESS = "SUCCESS"  #: delivered
    FAILURE = "FAILURE"  #: given up after the last attempt
    MISS = "MISS"  #: came due too late by the app's own policy, not sent
    DELETED = "DELETED"  #: cancelled


_SCHEDULED, _DELETED = Status.SCHEDULED, Status.DELETED  # found in a tenth of the time, for every row shown


class Place(NamedTuple):
    """Where a row is filed; with the schedule id it is the row's key."""

    app_id: str
    partition: int
    slot_ms: int

    @classmethod
    def of_home(cls, app_id: str, schedule_id: UUID) -> Place:
        """Return where the home row of a schedule of this app is filed. Raises ValueError, as `unpack_id`."""
        parts = unpack_id(schedule_id)
        return cls(app_id, parts.partition, parts.slot_ms)

    @property
    def instance(self) -> Instance:
        return Instance(self.app_id, self.partition)

    @property
    def bucket(self) -> int:
        return bucket_of(self.slot_ms)


@dataclass(frozen=True, slots=True)
class Change:
    """Names the change of a schedule that a filing was made for: filings of two changes are never taken for
    one another's."""

    at_ms: int  #: when it was asked for
    token: int  #: no other change has it


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class Schedule:
    """One app's request to be called back at one instant. Never changes: a change of it is another one under
    the same id, in a filing of its own."""

    schedule_id: UUID
    app_id: str
    fire_ms: int  #: the instant the client asked for, UTC ms
    payload: str
    callback_type: str
    #: JSON object, as the callback type understands it; not in the repr, which gets logged
    callback_details: bytes = field(repr=False)
    created_ms: int
    expires_ms: int  #: the store may forget the rows of this schedule after this
    retry: RetryRules | None = None  #: where it differs from its app's
    run: RunOf | None = None  #: of which definition it is a run; None: it is no run
    name: str = ""  #: the client's own, which stands for one pending schedule of the app at a time
    labels: tuple[tuple[str, str], ...] = ()  #: keys and values, by key; for those who list schedules
    sending: Sending | None = None  #: None: as most are
    trace: Trace | None = None  #: that its create was a part of, and its callbacks go on

    @property
    def is_base64(self) -> bool:
        """Whether the payload is the base64 of what is sent."""
        return self.sending is not None and self.sending.is_base64

    @property
    def hook_of(self) -> HookOf | None:
        """What this tells of, if it is the row of a hook."""
        return None if self.sending is None else self.sending.hook_of

    @property
    def work(self) -> Work | None:
        """What its receiver does, or did, for a run after the answer."""
        return None if self.run is None else self.run.work

    @property
    def body(self) -> bytes:
        """What is sent. Raises ValueError for a payload that is not what it is said to be."""
        return b64decode(self.payload, validate=True) if self.is_base64 else self.payload.encode()

    @property
    def awaited_ms(self) -> int:
        """From when on its client awaits the callback: the fire time, or the create if that was later.
        The lag of every attempt counts from here."""
        return max(self.fire_ms, self.created_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt that failed and was tried again."""

    at_ms: int  #: when it was sent
    took_ms: int
    code: int | None = None  #: HTTP status, if there was an answer
    error: str = ""  #: at most 200 characters


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class Outcome:
    """How a delivery ended."""

    status: Status
    ended_ms: int  #: when it was decided
    fired_ms: int | None = None  #: when the last attempt was sent; None if none was
    attempts: int = 0
    code: int | None = None  #: HTTP status of the last attempt, if there was an answer
    error: str = ""  #: at most 200 characters
    took_ms: int | None = None  #: how long the last attempt took
    replay: int = 0  #: 0: of the schedule itself; n: of its n-th replay
    log: tuple[Attempt, ...] = ()  #: the attempts before the last, oldest first, the newest LOG_LENGTH
    changed_in: Place | None = (
        None  #: the filing that has what was sent, if that was changed after the create
    )
    accepted_ms: int | None = None  #: when the receiver answered that it goes on with it, up to `ended_ms`


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class Row:
    """One filing of a schedule. The home row is the one its id points at; the others are moves.

    `cancelled_ms`, `moved_to` and `outcome` are written after creation, each by its own statement and
    never by the create, so there is nothing for clock skew between writers to lose.
    """

    schedule: Schedule
    place: Place
    attempts: int = 0  #: attempts made before this filing, in this replay
    replay: int = 0  #: 0, or the n-th time a dead letter was filed again
    log: tuple[Attempt, ...] = ()  #: the attempts before this filing, as in `Outcome`
    change: Change | None = None  #: what is filed here is a change of what the home row has; see `changing`
    cancelled_ms: int | None = None  #: on the home row: when a cancel was accepted
    moved_to: Place | None = None  #: filed again there; this row must not fire
    outcome: Outcome | None = None  #: on the home row: the schedule's; on a move: that it is closed

    @property
    def is_home(self) -> bool:
        return self.place.slot_ms == home_slot(self.schedule.schedule_id)

    @property
    def is_shown(self) -> bool:
        """Whether this row stands for its schedule in lists: the home row of what is to be sent, or was."""
        schedule = self.schedule
        if self.place.slot_ms != home_slot(schedule.schedule_id):
            return False
        run, sending = schedule.run, schedule.sending
        if run is not None:
            return run.origin is not Origin.CHECK
        return sending is None or sending.hook_of is None

    @property
    def shown_in(self) -> Place | None:
        """Where what this home row is shown with is filed, if that may be another schedule than its own."""
        if self.schedule.run is not None:
            sending = self.schedule.sending
            is_plain = self.outcome is not None or sending is None or sending.completion_ms is None
            return None if is_plain else self.moved_to  # which tells whether its receiver works on it
        return self.moved_to if self.outcome is None else self.outcome.changed_in

    def cancelled(self, at_ms: int) -> Row:
        """Return this row with a cancel; `replace` takes two to three times as long."""
        return Row(
            schedule=self.schedule,
            place=self.place,
            attempts=self.attempts,
            replay=self.replay,
            log=self.log,
            change=self.change,
            cancelled_ms=at_ms,
            moved_to=self.moved_to,
            outcome=self.outcome,
        )

    @property
    def is_live(self) -> bool:
        """Whether this row may still have to fire."""
        return self.outcome is None and self.moved_to is None and self.cancelled_ms is None

    @property
    def lag_ms(self) -> int | None:
        """How late the last attempt of one that has ended was sent; None: none was."""
        if self.outcome is None or self.outcome.fired_ms is None:
            return None
        return self.outcome.fired_ms - self.schedule.awaited_ms

    @property
    def status(self) -> Status:
        """What a client is told of a home row: an outcome wins over a cancel that came too late."""
        if self.outcome is not None:
            return self.outcome.status
        return _SCHEDULED if self.cancelled_ms is None else _DELETED


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class RowUpdate:
    """What is written to a row after creation: an outcome, a forward pointer, or both.

    It counts as of when it was written first, however often it is written: see `ScheduleStore.put_updates`.
    """

    place: Place
    schedule_id: UUID
    moved_to: Place | None = None
    outcome: Outcome | None = None
    written: int = field(default=0, compare=False, repr=False)  #: the store's: since when it counts; 0: unset
