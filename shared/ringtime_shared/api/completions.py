"""What a receiver is told that said how a run ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

from ringtime_shared.api.instants import to_iso
from ringtime_shared.api.views import Doc
from ringtime_shared.models.schedule import Status

PATH = "/goscheduler/completions"  #: and a slash and the token
URL_CHARS = 300  #: of a token, at most
URL_PATTERN = f"[A-Za-z0-9_-]{{1,{URL_CHARS}}}"  #: of a token
FIELD = "completionTimeoutSeconds"  #: of a recurring schedule
MAX_TIMEOUT_S = 86_400  #: that a receiver may have
SUCCESS, FAILURE = "success", "failure"
ENDINGS = (SUCCESS, FAILURE)  #: how the work of a receiver may end


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionView:
    """A run that its receiver said is over; its outcome is recorded a moment later."""

    schedule_id: Annotated[UUID, Doc("Which run it is.")]
    status: Annotated[Status, Doc("SUCCESS or FAILURE.")]
    completed_at: Annotated[datetime, Doc("When that was said first.")]


def completion_to_json(schedule_id: UUID, ended_ms: int, *, is_success: bool) -> dict[str, object]:
    """Return what was noted."""
    status = Status.SUCCESS if is_success else Status.FAILURE
    return {"scheduleId": str(schedule_id), "status": status, "completedAt": to_iso(ended_ms)}
