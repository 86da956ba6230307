"""What a caller of the client gives and gets, beside the views of `ringtime_shared.api`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ringtime_shared.api.schedules import ScheduleView
from ringtime_shared.callbacks.credentials import hide


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
class CancelResult:
    """An accepted cancel."""

    schedule: ScheduleView
    promised: bool  #: it will not fire; else the cancel came within a second of the slot and may be too late
