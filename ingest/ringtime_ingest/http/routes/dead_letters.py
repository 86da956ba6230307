"""The routes of dead letters: what is asked of them in query and body."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from typing import cast
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ringtime_ingest.http.changing import changing
from ringtime_ingest.http.envelope import success
from ringtime_ingest.http.fields import REPLAYS
from ringtime_ingest.http.guard import Declared, schedule_id_in
from ringtime_ingest.http.parsing import parse_app_id, read_time, refused
from ringtime_ingest.http.query import Query
from ringtime_ingest.http.routes import BASE, Routes
from ringtime_ingest.service.dead_letters import IN_BODY, IN_QUERY, LetterQuery
from ringtime_shared.access import Scope
from ringtime_shared.api.dead_letters import (
    LIST_SIZE,
    MAX_SIZE,
    letter_to_json,
    replay_to_json,
    replays_to_json,
)
from ringtime_shared.api.ids import check_app_id, check_schedule_id
from ringtime_shared.api.instants import parse_instant
from ringtime_shared.errors import Violation

_REPLAYED = {"": False, "false": False, "true": True, "all": None}
_MOST_REPORTED = 20  #: bad ids of one list that are told, lest the answer be longer than the request


class DeadLetterRoutes(Routes):
    """List, count and replay, on the plural paths and on the singular ones."""

    def all(self) -> list[BaseRoute]:
        of_app = [
            Declared(f"{BASE}/{word}/{{app_id}}/dead-letters{tail}", endpoint, [method], needs)
            for word in ("apps", "app")
            for tail, endpoint, method, needs in (
                ("", self.fetch, "GET", Scope.SCHEDULES_READ),
                ("/count", self.count, "GET", Scope.SCHEDULES_READ),
                (
                    "/replay",
                    changing("deadletters replay", self.replay_many),
                    "POST",
                    Scope.DEADLETTERS_REPLAY,
                ),
            )
        ]
        replay = changing("deadletters replay", self.replay)
        of_schedule = [
            Declared(f"{BASE}/{word}/{{schedule_id}}/replay", replay, ["POST"], Scope.DEADLETTERS_REPLAY)
            for word in ("schedules", "schedule")
        ]
        return [*of_app, *of_schedule]

    async def fetch(self, request: Request) -> Response:
        page = await self._service.dead_letters.fetch(parse_letter_query(request))
        shown = [letter_to_json(letter) for letter in page.letters]
        return success({"deadLetters": shown, "continuationToken": page.token}, total=len(shown))

    async def count(self, request: Request) -> Response:
        return success({"count": await self._service.dead_letters.count(parse_letter_query(request))})

    async def replay(self, request: Request) -> Response:
        schedule_id = schedule_id_in(request)
        filed = await self._service.dead_letters.replay(schedule_id)
        return success(replay_to_json(filed.schedule_id, filed.replay, filed.slot_ms))

    async def replay_many(self, request: Request) -> Response:
        app_id = parse_app_id(request.path_params["app_id"])
        body = await self._bodies.read(request)
        asked = parse_replays(app_id, body, self._depth)
        if isinstance(asked, LetterQuery):
            report = await self._service.dead_letters.replay_range(asked)
        else:
            report = await self._service.dead_letters.replay_ids(app_id, asked)
        skipped = [(each.schedule_id, each.reason) for each in report.skipped]
        count = len(report.replays)
        return success(replays_to_json(count, skipped, report.token), total=count)


def parse_letter_query(request: Request) -> LetterQuery:
    """Read path and query of a list or a count; an empty value is the same as none. Raises InvalidRequest."""
    app_id = request.path_params["app_id"]
    asked = Query(request, (*IN_QUERY, "replayed"))
    asked.wrong += check_app_id(app_id)
    if asked.text("replayed") not in _REPLAYED:
        asked.wrong.append(Violation("replayed", "must be false, true or all"))
    query = LetterQuery(
        app_id=app_id,
        start_ms=asked.instant(IN_QUERY.start),
        end_ms=asked.instant(IN_QUERY.end),
        size=asked.size(IN_QUERY.size, LIST_SIZE, MAX_SIZE),
        token=asked.text(IN_QUERY.token),
        replayed=_REPLAYED.get(asked.text("replayed")),
        names=IN_QUERY,
    )
    asked.check()
    return query


def parse_replays(app_id: str, body: bytes, max_depth: int) -> LetterQuery | list[UUID]:
    """Read which dead letters to replay. Raises InvalidRequest.

    What was meant to choose must not be passed over, or more would be replayed than was asked for: no body, a
    key that is not known here, and ids that are null are refused.
    """
    wrong: list[Violation] = []
    broken: list[Violation] = []
    values = REPLAYS.decode(body, max_depth, wrong)
    start_ms = read_time(IN_BODY.start, values.get(IN_BODY.start), parse_instant, wrong, broken)
    end_ms = read_time(IN_BODY.end, values.get(IN_BODY.end), parse_instant, wrong, broken)
    ids = cast("list[object] | None", values.pop(IN_BODY.ids, None))
    if ids is not None and values:
        broken.append(Violation(IN_BODY.ids, f"must not be given together with {', '.join(values)}"))
    elif ids is not None:
        wrong += _check_ids(ids)
    if wrong or broken:
        raise refused(wrong, broken)
    if ids is not None:
        return [UUID(str(each)) for each in ids]
    return LetterQuery(
        app_id=app_id,
        start_ms=start_ms,
        end_ms=end_ms,
        size=cast(int, values.get(IN_BODY.size, MAX_SIZE)),
        token=cast(str, values.get(IN_BODY.token, "")),
        names=IN_BODY,
    )


def _check_ids(ids: Sequence[object]) -> list[Violation]:
    wrong = (check_schedule_id(each, f"{IN_BODY.ids}.{n}") for n, each in enumerate(ids))
    return list(islice(chain.from_iterable(wrong), _MOST_REPORTED))
