"""From goscheduler's rows to requests of ours; what is not carried, and why. Pure.

What goscheduler ignores is left out: headers that Go's client sets itself. What Ringtime does not take is not
judged here: the server says of each item what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from ringtime.importing.crontab import translate
from ringtime.importing.rows import OldApp, OldCron, OldSchedule
from ringtime_shared.api.configuration import keys
from ringtime_shared.api.ids import check_app_id
from ringtime_shared.errors import InvalidRequest

MAX_CONFIG = "maxConfig"  #: goscheduler's name for the limits of all apps; no app
LABEL = "goscheduler-id"
HEADER = "Goscheduler-Schedule-Id"  #: of each HTTP callback: the id that its receiver may know it by
_DELETED = "DELETED"
#: Go's HTTP client, or goscheduler itself, sets these, whatever the callback says.
_IGNORED = frozenset({"host", "content-length", "transfer-encoding", "trailer", "schedule-id"})
_CONFIGURED = frozenset(
    {"futureScheduleCreationPeriod", "firedScheduleRetentionPeriod", "payloadSize"}
    | {"httpRetries", "httpTimeout"}
)


class NotCarried(Exception):
    """Something cannot be carried; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How an import is to be made."""

    from_ms: int  #: what is due then, or later
    zone: str  #: of goscheduler's servers, in which its crons run
    now_ms: int
    apps: frozenset[str] | None = None  #: None: all
    activates: bool = False  #: apps are registered active, whatever they are there

    def wants(self, app_id: str) -> bool:
        return app_id != MAX_CONFIG and (self.apps is None or app_id in self.apps)


def app_body(old: OldApp, terms: Terms) -> dict[str, Any]:
    """Return the registration of an app. Raises NotCarried."""
    if violations := check_app_id(old.app_id):
        raise NotCarried(f"its id {violations[0].rule}")
    given = _object("configuration", old.configuration or "{}")
    configuration = {
        name: value for name, value in given.items() if name in _CONFIGURED & keys().keys() and value
    }
    body: dict[str, Any] = {"appId": old.app_id, "active": terms.activates or bool(old.active)}
    if old.partitions:
        body["partitions"] = old.partitions
    return body | ({"configuration": configuration} if configuration else {})


def is_deleted(old: OldCron) -> bool:
    """Whether goscheduler runs it no more."""
    return old.status == _DELETED


def schedule_body(old: OldSchedule) -> dict[str, Any]:
    """Return the import of a one-time schedule. Raises NotCarried."""
    if old.fire_ms is None:
        raise NotCarried("it has no schedule_time")
    seconds, ms = divmod(old.fire_ms, 1_000)
    return _body(old) | {"scheduleTime": seconds if not ms else old.fire_ms / 1_000, "labels": _label(old)}


def cron_body(old: OldCron, terms: Terms) -> dict[str, Any]:
    """Return the import of a cron, which runs at the same minutes of the wall clock. Raises NotCarried.

    goscheduler looks at each minute what the clocks show: one that they jump over has no run, and one that
    comes twice has two. It makes up for nothing.
    """
    try:
        expression = translate(old.expression or "")
    except InvalidRequest as error:
        raise NotCarried(f"cronExpression: {error.violations[0].rule}") from error
    body = _body(old) | {
        "cronExpression": expression,
        "timeZone": terms.zone,
        "dstGap": "skip",
        "dstOverlap": "both",
        "misfirePolicy": "skip",
    }
    return body | ({"startTime": iso(terms.from_ms)} if terms.from_ms > terms.now_ms else {})


def iso(at_ms: int) -> str:
    """Return an instant as the API takes it."""
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds")


def _body(old: OldSchedule | OldCron) -> dict[str, Any]:
    details = _object("callback_details", old.callback_details)
    if old.callback_type == "http":
        headers = details.get("headers")
        sent = {
            name: value
            for name, value in (headers.items() if isinstance(headers, dict) else ())
            if name.lower() not in _IGNORED
        }
        details |= {"headers": sent | {HEADER: str(old.schedule_id)}}
    return {
        "scheduleId": str(old.schedule_id),
        "appId": old.app_id or "",
        "payload": old.payload or "",
        "callback": {"type": old.callback_type or "", "details": details},
    }


def _label(old: OldSchedule) -> Mapping[str, str]:
    return {LABEL: str(old.schedule_id)}


def _object(column: str, text: str | None) -> dict[str, Any]:
    try:
        found = orjson.loads(text or "")
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise NotCarried(f"{column} is no JSON object")
    return found
