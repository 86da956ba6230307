"""Schedules of another scheduler that are filed here: the path, and what each came to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from ringtime_shared.api.views import Doc

IMPORTS_PATH = "/goscheduler/imports"


class ImportEffect(StrEnum):
    """What became of one that was to be imported."""

    CREATED = "created"
    THERE = "there"  #: it was imported before
    WOULD_BE_CREATED = "wouldBeCreated"  #: with `dry_run`


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedView:
    """One that can be imported."""

    effect: Annotated[
        ImportEffect,
        Doc("`created`; `there`: it was imported before, whatever became of it; `wouldBeCreated`."),
    ]
    schedule_id: Annotated[UUID | None, Doc("Its id here; left out where it has none yet.")] = None


def imported_to_json(effect: ImportEffect, schedule_id: UUID | None) -> dict[str, object]:
    """Return what one came to."""
    shown: dict[str, object] = {"effect": effect.value}
    return shown if schedule_id is None else shown | {"scheduleId": str(schedule_id)}
