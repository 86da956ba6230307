"""Each verb about dead letters as the request it makes. Pure: nothing is sent here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from msgspec import convert

from ringtime_client.exchange import Call
from ringtime_client.protocol import BASE, instant, safe_app_id, schedule_path
from ringtime_client.wire import to_body
from ringtime_shared.api.dead_letters import LIST_SIZE, MAX_SIZE, DeadLetterPage, ReplayResult, ReplayView
from ringtime_shared.api.views import read
from ringtime_shared.arguments import checked
from ringtime_shared.errors import ErrorWord, InvalidRequest

_REPLAYED = {None: "all", True: "true", False: "false"}


@checked
def list_dead_letters(
    app_id: str,
    *,
    start: datetime | None,
    end: datetime | None,
    size: int = LIST_SIZE,
    token: str = "",
    replayed: bool | None = False,
) -> Call[DeadLetterPage]:
    """`GET /apps/{app_id}/dead-letters`."""
    asked: dict[str, object] = {
        "start_time": instant("start", start),
        "end_time": instant("end", end),
        "size": size,
        "continuation_token": token,
        "replayed": _REPLAYED[replayed],
    }
    path = _path(app_id, query=asked)
    return Call(method="GET", path=path, read=partial(read, DeadLetterPage), app_id=app_id)


@checked
def count_dead_letters(app_id: str, *, start: datetime | None, end: datetime | None) -> Call[int]:
    """`GET /apps/{app_id}/dead-letters/count`."""
    asked = {"start_time": instant("start", start), "end_time": instant("end", end)}
    return Call(method="GET", path=_path(app_id, "/count", asked), read=_to_count, app_id=app_id)


@checked
def replay(schedule_id: UUID | str) -> Call[ReplayView]:
    """`POST /schedules/{schedule_id}/replay`."""
    return Call(
        method="POST",
        path=f"{schedule_path(schedule_id)}/replay",
        read=partial(read, ReplayView),
        kind="schedule",
        key=str(schedule_id),
        conflict=ErrorWord.NOT_REPLAYABLE,
    )


@checked
def replay_many(
    app_id: str,
    *,
    schedule_ids: Sequence[UUID | str] | None,
    start: datetime | None,
    end: datetime | None,
    size: int | None,
    token: str = "",
) -> Call[ReplayResult]:
    """`POST /apps/{app_id}/dead-letters/replay`."""
    if schedule_ids is not None:
        if (start, end, size) != (None, None, None) or token:
            raise InvalidRequest.of("schedule_ids", "give either schedule_ids or a range, not both")
        body: dict[str, object] = {"scheduleIds": [str(schedule_id) for schedule_id in schedule_ids]}
    else:
        body = {
            "startTime": instant("start", start),
            "endTime": instant("end", end),
            "size": MAX_SIZE if size is None else size,
            "continuationToken": token,
        }
    path = _path(app_id, "/replay")
    return Call(method="POST", path=path, body=to_body(body), read=partial(read, ReplayResult), app_id=app_id)


def _path(app_id: str, tail: str = "", query: Mapping[str, object] | None = None) -> str:
    given = {name: value for name, value in (query or {}).items() if value not in (None, "")}
    return f"{BASE}/apps/{safe_app_id(app_id)}/dead-letters{tail}" + (f"?{urlencode(given)}" if given else "")


def _to_count(data: dict[str, Any]) -> int:
    return convert(data.get("count"), int)
