"""A bulk job: one action on what an app has in a time range, carried out in the background."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from ringtime_shared.models.schedule import Status

KEPT_MS = 30 * 86_400_000  #: how long a job is remembered after its last change
MOST_PROBLEMS = 10  #: that a job tells of
_VERSION, _VARIANT = 7 << 76, 2 << 62


class JobAction(StrEnum):
    """What is done to each thing in the range. The first two words are goscheduler's."""

    RECONCILE = "reconcile"  #: schedules: what ended is sent again, what waits is sent now
    DELETE = "delete"  #: schedules: what waits is cancelled
    RETRY = "retry"  #: dead letters: sent again
    PAUSE = "pause"  #: recurring schedules
    RESUME = "resume"

    @property
    def has_range(self) -> bool:
        """Whether it is about a time range; else it is about all recurring schedules of the app."""
        return self not in (JobAction.PAUSE, JobAction.RESUME)

    @property
    def needs_active(self) -> bool:
        """Whether it is refused for an app that is deactivated: nothing of it would be sent."""
        return self is not JobAction.DELETE


class JobState(StrEnum):
    """How far a job is."""

    WAITING = "WAITING"  #: for its turn
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"  #: given up; `error` says why
    CANCELLED = "CANCELLED"  #: by somebody; what was done before stands


class JobKey(NamedTuple):
    """Names a job."""

    app_id: str
    job_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it is stored: what was asked, and how far it is. Every write is one more `revision`."""

    job_id: UUID  #: ids rise with time
    app_id: str
    app_number: int  #: tells the app from a later one of its id
    action: JobAction
    start_ms: int  #: from this instant on; 0: no range
    end_ms: int  #: up to before this one
    status: Status | None = None  #: only schedules with this status
    is_plan: bool = False  #: count what would be done, and do nothing
    reason: str = ""  #: of a pause
    until_ms: int | None = None  #: of a pause
    created_ms: int  #: what ended later is not sent again
    changed_ms: int
    revision: int = 1
    state: JobState = JobState.WAITING
    cursor: str = ""  #: the page token to go on with; what is before it is done
    through_ms: int = 0  #: the instant that is reached
    looked: int = 0  #: things that were looked at
    done: int = 0  #: acted on, or of a plan: would be
    passed: int = 0  #: there was nothing to do about them
    failed: int = 0  #: refused, or their record cannot be read
    problems: tuple[str, ...] = ()  #: the first of these: which, and why
    error: str = ""  #: why it was given up; of one that goes on, why its page is done again
    worker: str = ""  #: the process that carries it out
    leased_until_ms: int = 0  #: others leave it alone until then, by the wall clock
    ended_ms: int | None = None
    damage: str = ""  #: why the stored record cannot be read; nothing but the key is true then

    @property
    def key(self) -> JobKey:
        return JobKey(self.app_id, self.job_id)

    @property
    def is_open(self) -> bool:
        """Whether there is something left to do."""
        return self.state in (JobState.WAITING, JobState.RUNNING)


def new_job_id(now_ms: int) -> UUID:
    """Return an id that sorts after those of earlier milliseconds: a UUID of version 7."""
    return UUID(int=now_ms << 80 | _VERSION | secrets.randbits(12) << 64 | _VARIANT | secrets.randbits(62))


def made_ms(job_id: UUID) -> int:
    """Return when the id of a job was made."""
    return job_id.int >> 80
