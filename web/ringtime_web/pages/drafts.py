"""A schedule as the fields of a form, and the fields as the client takes them. Pure.

Of a schedule that there is already, only what was changed is sent: what the API hides, such as credentials,
is not known here, and stays as it is unless it is typed anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeVar

import orjson

from ringtime_client import HttpCallbackDetails, Interval, RecurringTimes
from ringtime_client.views import Callback
from ringtime_shared.api.recurring import RecurringView
from ringtime_shared.api.schedules import ScheduleView
from ringtime_shared.callbacks.credentials import MASK
from ringtime_shared.errors import InvalidRequest
from ringtime_shared.models.recurring import Misfire, Overlap
from ringtime_shared.models.sending import Priority
from ringtime_shared.models.times import DstGap, DstOverlap, Spread, Unit
from ringtime_web.pages.reading import read_instant, read_lines, read_span, read_whole, to_field, to_lines

Draft = Mapping[str, str]
T = TypeVar("T")
_S, _MS = timedelta(seconds=1), timedelta(milliseconds=1)
_TIMES = (
    *("by", "cron", "every", "unit", "anchor", "zone", "start", "end", "max_runs"),
    *("dst_gap", "dst_overlap", "calendars", "window_s", "spread"),
)
_CALLBACK = ("url", "method", "headers", "secret_headers", "callback")
NEW: Draft = {
    **dict.fromkeys(
        (*_TIMES, *_CALLBACK, "name", "at", "payload", "labels", "timeout_ms", "misfire_most", "revision"), ""
    ),
    "by": "cron",
    "cron": "0 9 * * MON-FRI",
    "zone": "UTC",
    "every": "1",
    "unit": "hours",
    "method": "POST",
    "overlap": "ALLOW",
    "misfire": "ONCE",
    "priority": "normal",
    "payload": "{}",
}


def draft_of_recurring(view: RecurringView) -> Draft:
    """Return the fields for a recurring schedule."""
    interval = view.interval
    return {
        **NEW,
        **_draft_of_sending(view),
        "name": view.name,
        "by": "cron" if interval is None else "interval",
        "cron": view.cron_expression or "",
        "every": "" if interval is None else str(interval.every),
        "unit": "hours" if interval is None else interval.unit.value,
        "anchor": "" if interval is None else to_field(interval.anchor_time),
        "zone": view.time_zone,
        "start": to_field(view.start_time),
        "end": to_field(view.end_time),
        "max_runs": "" if view.max_runs is None else str(view.max_runs),
        "dst_gap": view.dst_gap.value,
        "dst_overlap": view.dst_overlap.value,
        "calendars": ", ".join(view.exclusion_calendars),
        "window_s": "" if view.window_ms is None else f"{view.window_ms / 1_000:g}",
        "spread": view.window_spread.value,
        "overlap": view.overlap_policy.upper(),
        "misfire": view.misfire_policy.upper(),
        "misfire_most": str(view.misfire_most),
        "revision": str(view.revision),
    }


def draft_of_schedule(view: ScheduleView) -> Draft:
    """Return the fields for a one-time schedule."""
    return {
        **NEW,
        **_draft_of_sending(view),
        "name": view.name,
        "at": to_field(view.fire_time),
        "labels": to_lines(view.labels, ":"),
    }


def _draft_of_sending(view: RecurringView | ScheduleView) -> Draft:
    details = view.callback.get("details")
    known: dict[str, str] = {
        "payload": "" if view.payload_encrypted else view.payload,
        "timeout_ms": "" if view.timeout_ms is None else str(view.timeout_ms),
        "priority": view.priority.value,
    }
    if view.callback.get("type") == "http" and isinstance(details, Mapping):
        known["url"] = str(details.get("url", ""))
        known["method"] = str(details.get("method", "POST"))
        known["headers"] = to_lines(_pairs(details.get("headers")))
        known["secret_headers"] = to_lines(_pairs(details.get("secretHeaders")))
    else:
        known["callback"] = orjson.dumps(dict(view.callback), option=orjson.OPT_INDENT_2).decode()
    return known


def _pairs(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def times_of(draft: Draft) -> RecurringTimes:
    """Return when a recurring schedule runs. Raises InvalidRequest."""
    is_cron = draft.get("by") != "interval"
    window = draft.get("window_s", "").strip()
    return RecurringTimes(
        cron=draft.get("cron", "").strip() if is_cron else None,
        interval=None
        if is_cron
        else Interval(
            every=_needed("every", read_whole("every", draft.get("every", ""), 1)),
            unit=_one_of("unit", Unit, draft.get("unit", "")),
            anchor=read_instant("anchor", draft.get("anchor", "")),
        ),
        zone=draft.get("zone", "").strip() or None,
        start=read_instant("start", draft.get("start", "")),
        end=read_instant("end", draft.get("end", "")),
        max_runs=read_whole("max_runs", draft.get("max_runs", ""), 1),
        dst_gap=_one_of("dst_gap", DstGap, draft["dst_gap"]) if draft.get("dst_gap") else None,
        dst_overlap=_one_of("dst_overlap", DstOverlap, draft["dst_overlap"])
        if draft.get("dst_overlap")
        else None,
        calendars=tuple(name.strip() for name in draft["calendars"].split(",") if name.strip())
        if draft.get("calendars", "").strip()
        else None,
        window=read_span("window_s", window, _S),
        window_spread=_one_of("spread", Spread, draft["spread"]) if window and draft.get("spread") else None,
    )


def callback_of(draft: Draft) -> Callback:
    """Return what is called. Raises InvalidRequest, also where what is hidden would be sent as shown."""
    if MASK in "".join(draft.get(name, "") for name in _CALLBACK):
        raise InvalidRequest.of(
            "callback", f"has credentials that are not shown ({MASK}): whoever changes it types them anew"
        )
    if draft.get("callback", "").strip():
        try:
            value = orjson.loads(draft["callback"])
        except orjson.JSONDecodeError:
            raise InvalidRequest.of("callback", "must be JSON") from None
        if not isinstance(value, dict):
            raise InvalidRequest.of("callback", "must be an object with type and details")
        return value
    return HttpCallbackDetails(
        url=draft.get("url", "").strip(),
        method=draft.get("method", "POST"),
        headers=read_lines("headers", draft.get("headers", "")),
        secret_headers=read_lines("secret_headers", draft.get("secret_headers", "")),
    )


def sending_of(draft: Draft) -> dict[str, Any]:
    """Return how it is sent, as arguments of verbs. Raises InvalidRequest."""
    return {
        "timeout": read_span("timeout_ms", draft.get("timeout_ms", ""), _MS),
        "priority": _one_of("priority", Priority, draft.get("priority", "normal")),
    }


def policies_of(draft: Draft) -> dict[str, Any]:
    """Return what becomes of runs in each other's way, as arguments of verbs. Raises InvalidRequest."""
    misfire = _one_of("misfire", Misfire, draft.get("misfire", "ONCE"))
    most = read_whole("misfire_most", draft.get("misfire_most", ""), 1, 100)
    return {
        "overlap": _one_of("overlap", Overlap, draft.get("overlap", "ALLOW")),
        "misfire": misfire,
        "misfire_most": most if misfire is Misfire.ALL else None,
    }


def changes(draft: Draft, before: Draft, *, is_recurring: bool) -> dict[str, Any]:
    """Return the arguments of a patch: what differs. Raises InvalidRequest."""
    given: dict[str, Any] = {}
    changed = {name for name, text in before.items() if _plain(draft.get(name, text)) != _plain(text)}
    if is_recurring and changed & {*_TIMES}:
        given["times"] = times_of(draft)
    if not is_recurring and "at" in changed:
        given["at"] = _needed("at", read_instant("at", draft.get("at", "")))
    if "payload" in changed:
        given["payload"] = draft["payload"]
    if changed & {*_CALLBACK}:
        given["callback"] = callback_of(draft)
    if not is_recurring and "labels" in changed:
        given["labels"] = read_lines("labels", draft.get("labels", ""))
    sending, policies = sending_of(draft), policies_of(draft)
    given |= {
        name: sending[name]
        for name, of in (("timeout", "timeout_ms"), ("priority", "priority"))
        if of in changed
    }
    if is_recurring and "overlap" in changed:
        given["overlap"] = policies["overlap"]
    if is_recurring and changed & {"misfire", "misfire_most"}:
        given["misfire"], given["misfire_most"] = policies["misfire"], policies["misfire_most"]
    return {name: value for name, value in given.items() if value is not None}


def _plain(text: str) -> str:
    """Browsers send line ends of their own."""
    return text.replace("\r\n", "\n").strip()


def _needed(field: str, value: T | None) -> T:
    if value is None:
        raise InvalidRequest.of(field, "is needed")
    return value


def _one_of(field: str, kind: type[T], text: str) -> T:
    try:
        return kind(text)  # type: ignore[call-arg]  # kinds are enumerations
    except ValueError:
        raise InvalidRequest.of(field, "must be one of those that are offered") from None
