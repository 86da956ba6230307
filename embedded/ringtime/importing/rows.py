"""What goscheduler's tables hold, as far as an import needs it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID


class OldApp(NamedTuple):
    """A row of `apps`."""

    app_id: str
    partitions: int | None
    active: bool | None
    configuration: str | None  #: JSON


class OldSchedule(NamedTuple):
    """A row of `schedules`."""

    app_id: str
    partition: int
    schedule_id: UUID
    callback_type: str | None
    callback_details: str | None  #: JSON
    payload: str | None
    fire_ms: int | None
    parent: UUID | None  #: the cron that it was made of


class OldCron(NamedTuple):
    """A row of `recurring_schedules_by_id`."""

    schedule_id: UUID
    app_id: str | None
    callback_type: str | None
    callback_details: str | None  #: JSON
    payload: str | None
    expression: str | None
    status: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyspaces:
    """What goscheduler's keyspaces are called."""

    schedules: str = "schedule_management"
    cluster: str = "cluster"
