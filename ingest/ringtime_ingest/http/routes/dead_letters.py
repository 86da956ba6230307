"""The routes of dead letters, and how the answers look."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ringtime_ingest.http.body import BodyReader
from ringtime_ingest.http.dead_letter_parsing import parse_letter_query, parse_replays
from ringtime_ingest.http.envelope import success
from ringtime_ingest.http.parsing import parse_app_id, parse_schedule_id
from ringtime_ingest.http.routes.api import BASE
from ringtime_ingest.service.dead_letter_requests import DeadLetters, LetterQuery, Replay, ReplayReport
from ringtime_shared.api.instants import to_iso
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.settings import ServerSettings


class DeadLetterApi:
    """The endpoints, on the plural paths and on the singular ones."""

    def __init__(self, dead_letters: DeadLetters, bodies: BodyReader, settings: ServerSettings) -> None:
        self._dead_letters = dead_letters
        self._bodies = bodies
        self._depth = settings.max_json_depth

    def routes(self) -> list[BaseRoute]:
        """Return all routes."""
        of_app = [
            Route(f"{BASE}/{word}/{{app_id}}/dead-letters{tail}", endpoint, methods=[method])
            for word in ("apps", "app")
            for tail, endpoint, method in (
                ("", self.fetch_letters, "GET"),
                ("/count", self.count_letters, "GET"),
                ("/replay", self.replay_many, "POST"),
            )
        ]
        of_schedule = [
            Route(f"{BASE}/{word}/{{schedule_id}}/replay", self.replay, methods=["POST"])
            for word in ("schedules", "schedule")
        ]
        return [*of_app, *of_schedule]

    async def fetch_letters(self, request: Request) -> Response:
        page = await self._dead_letters.fetch(parse_letter_query(request))
        shown = [letter_to_json(letter) for letter in page.letters]
        return success({"deadLetters": shown, "continuationToken": page.token}, total=len(shown))

    async def count_letters(self, request: Request) -> Response:
        return success({"count": await self._dead_letters.count(parse_letter_query(request))})

    async def replay(self, request: Request) -> Response:
        schedule_id = parse_schedule_id(request.path_params["schedule_id"])
        return success(_replay_to_json(await self._dead_letters.replay(schedule_id)))

    async def replay_many(self, request: Request) -> Response:
        app_id = parse_app_id(request.path_params["app_id"])
        body = await self._bodies.read(request.scope, request.receive)
        asked = parse_replays(app_id, body, self._depth)
        if isinstance(asked, LetterQuery):
            report = await self._dead_letters.replay_range(asked)
        else:
            report = await self._dead_letters.replay_ids(app_id, asked)
        return success(_report_to_json(report), total=len(report.replays))


def letter_to_json(letter: DeadLetter) -> Mapping[str, object]:
    """Return a dead letter as the API shows it."""
    shown: dict[str, object] = {
        "scheduleId": str(letter.schedule_id),
        "appId": letter.app_id,
        "scheduleTime": letter.fire_ms // 1_000,
        "fireTime": to_iso(letter.fire_ms),
        "failedAt": to_iso(letter.failed_ms),
        "attempts": letter.attempts,
        "errorMessage": letter.error[:200],
        "callbackType": letter.callback_type,
        "replay": letter.replay,
    }
    if letter.code is not None:
        shown["httpCode"] = letter.code
    if letter.replayed_ms is not None:
        shown["replayedAt"] = to_iso(letter.replayed_ms)
    return shown


def _replay_to_json(replay: Replay) -> Mapping[str, object]:
    return {
        "scheduleId": str(replay.schedule_id),
        "replay": replay.replay,
        "nextAttemptAt": to_iso(replay.slot_ms),
    }


def _report_to_json(report: ReplayReport) -> Mapping[str, object]:
    return {
        "replayed": len(report.replays),
        "skipped": [{"scheduleId": str(each.schedule_id), "reason": each.reason} for each in report.skipped],
        "continuationToken": report.token,
    }
