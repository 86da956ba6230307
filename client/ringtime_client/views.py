"""What a caller of the client gives and gets, beside the views of `ringtime_shared.api`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields
from datetime import timedelta
from typing import Any

from ringtime_shared.api.schedules import ScheduleView
from ringtime_shared.arguments import Instant, checked
from ringtime_shared.callbacks.credentials import HEADERS, SECRET_HEADERS, hide
from ringtime_shared.errors import InvalidRequest, Violation
from ringtime_shared.models.hooks import Hooks
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.sending import Priority


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCallbackDetails:
    """An HTTP request to make when the schedule is due; its body is the payload."""

    url: str  #: absolute, http or https
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    #: further headers, whose values are stored encrypted and never shown
    secret_headers: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        shown = hide({"url": self.url, "headers": self.headers, SECRET_HEADERS: self.secret_headers})
        secret = f", secret_headers={shown[SECRET_HEADERS]}" if self.secret_headers else ""
        return (
            f"HttpCallbackDetails(url={shown['url']!r}, method={self.method!r}, headers={shown['headers']}"
            f"{secret})"
        )

    def to_json(self) -> dict[str, object]:
        """Return the `callback` of the API."""
        details: dict[str, object] = {"url": self.url, "method": self.method}
        if self.headers:
            details[HEADERS] = self.headers
        if self.secret_headers:
            details[SECRET_HEADERS] = self.secret_headers
        return {"type": "http", "details": details}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSchedule:
    """A schedule to create with others; what `create_schedule` takes."""

    app_id: str
    payload: str | bytes  #: bytes are sent as they are
    callback: Callback
    at: Instant | None = None  #: the instant to fire at, timezone-aware; or
    delay: timedelta | None = None  #: how long from the server's now
    retry: RetryRules | None = None  #: where it differs from the app's policy
    labels: Mapping[str, str] | None = None  #: up to 16 keys and values to find it by
    idempotency_key: str = ""  #: what this create and its repetitions have in common
    timeout: timedelta | None = None  #: of one attempt; None: the app's
    priority: Priority | None = None  #: among the app's callbacks to one destination; None: normal
    hooks: Hooks | None = None  #: who is told how it ended; None: as the app says


Callback = HttpCallbackDetails | Mapping[str, object]  #: a mapping is `{"type": name, "details": {...}}`


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelResult:
    """An accepted cancel."""

    schedule: ScheduleView
    promised: bool  #: it will not fire; else the cancel came within a second of the slot and may be too late


@checked
def _check_item(
    *,
    app_id: str,
    payload: str | bytes,
    callback: Callback,
    at: Instant | None = None,
    delay: timedelta | None = None,
    retry: RetryRules | None = None,
    labels: Mapping[str, str] | None = None,
    idempotency_key: str = "",
    timeout: timedelta | None = None,
    priority: Priority | None = None,
    hooks: Hooks | None = None,
) -> None:
    """Check the fields of an item by these annotations."""


def to_new_schedule(number: int, item: NewSchedule | Mapping[str, Any]) -> NewSchedule:
    """Return an item of a batch. Raises InvalidRequest, which names the item by its number, from 0."""
    with naming_item(number):
        if isinstance(item, NewSchedule):
            _check_item(**{each.name: getattr(item, each.name) for each in fields(item)})
            return item
        if not _REQUIRED <= item.keys() <= _KNOWN:
            raise InvalidRequest.of(
                "", f"must have {', '.join(sorted(_REQUIRED))}, and fields of NewSchedule"
            )
        _check_item(**item)
        return NewSchedule(**item)


@contextmanager
def naming_item(number: int) -> Iterator[None]:
    """Let what is wrong with an item of a batch name the item, too."""
    try:
        yield
    except InvalidRequest as error:
        told = [Violation(f"schedules[{number}].{x.field}".rstrip("."), x.rule) for x in error.violations]
        raise InvalidRequest(told) from None


_KNOWN = {each.name for each in fields(NewSchedule)}
_REQUIRED = {each.name for each in fields(NewSchedule) if each.default is MISSING}
