"""What a caller of the client gives and gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from ringtime_shared.callbacks.credentials import hide
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCallbackDetails:
    """An HTTP request to make when the schedule is due; its body is the payload."""

    url: str  #: absolute, http or https
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        shown = hide({"url": self.url, "headers": self.headers})
        return (
            f"HttpCallbackDetails(url={shown['url']!r}, method={self.method!r}, headers={shown['headers']})"
        )

    def to_json(self) -> dict[str, object]:
        """Return the `callback` of the API."""
        details = {"url": self.url, "method": self.method}
        return {"type": "http", "details": details | ({"headers": self.headers} if self.headers else {})}


Callback = HttpCallbackDetails | Mapping[str, object]  #: a mapping is `{"type": name, "details": {...}}`


@dataclass(frozen=True, slots=True, kw_only=True)
class AppView:
    """An app as the server shows it."""

    app_id: str
    partitions: int  #: the quota new schedules are spread over
    active: bool
    configuration: AppConfiguration
    deleting: bool = False  #: it is on its way out


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningSecretView:
    """A live signing secret, as the list shows it."""

    secret_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSigningSecret(SigningSecretView):
    """A signing secret that was just made."""

    secret: str = field(repr=False)  #: `whsec_` and base64; the server never shows it again


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """One attempt that was made."""

    at: datetime  #: when it was sent
    lag_ms: int  #: at less the fire time, or less the create if that was later
    duration_ms: int
    http_code: int | None = None  #: HTTP status, if there was an answer
    error: str = ""  #: why it failed, at most 200 characters


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleView:
    """A schedule as the server shows it; what there is only after an outcome is 0, None or empty before."""

    schedule_id: UUID
    app_id: str
    payload: str
    #: as sent, `{"type": name, "details": {...}}`, but `***` for the values of headers and query parameters
    #: whose names say that they are credentials
    callback: Mapping[str, Any]
    fire_time: datetime  #: UTC, to the millisecond
    partition: int
    status: Status
    attempts: int = 0
    fired_at: datetime | None = None  #: when the last attempt was sent
    lag_ms: int | None = None  #: fired_at less the fire time, or less the create if that was later
    http_code: int | None = None  #: HTTP status of the last attempt, if there was an answer
    error: str = ""  #: why the last attempt failed, at most 200 characters
    retry: RetryRules | None = None  #: where it differs from the app's
    next_attempt_at: datetime | None = None  #: when a retry, or a row that was parked, is due
    attempt_log: tuple[AttemptView, ...] = ()  #: oldest first, the newest eleven


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelResult:
    """An accepted cancel."""

    schedule: ScheduleView
    promised: bool  #: it will not fire; else the cancel came within a second of the slot and may be too late
