"""The routes of recurring schedules: goscheduler's, and those that name one by app and name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ringtime_ingest.http.changing import changing
from ringtime_ingest.http.envelope import success
from ringtime_ingest.http.fields import BACKFILL, PAUSE, PREVIEW
from ringtime_ingest.http.guard import Declared, schedule_id_in, see
from ringtime_ingest.http.parsing import (
    parse_app_id,
    parse_flag,
    parse_recurring,
    parse_recurring_patch,
    read_time,
    refused,
)
from ringtime_ingest.http.query import Query
from ringtime_ingest.http.routes import BASE, Routes, named_in, needs_of
from ringtime_ingest.service import NewRecurring
from ringtime_shared.access import Scope
from ringtime_shared.api.ids import check_app_id
from ringtime_shared.api.instants import parse_instant
from ringtime_shared.api.recurring import (
    BACKFILL_SIZE,
    LIST_SIZE,
    MAX_LIST_SIZE,
    MAX_PREVIEW,
    PREVIEW_SIZE,
    WHEN,
    backfill_to_json,
    preview_to_json,
    runs_to_json,
)
from ringtime_shared.errors import InvalidRequest, LimitReached, Violation
from ringtime_shared.models.recurring import SHOWN, Definition, DefinitionState
from ringtime_shared.recurring.parsing import KEYS, parse_times

#: goscheduler's words, and ours
_STATES: Mapping[str, tuple[DefinitionState, ...]] = {
    "": SHOWN,
    "SCHEDULED": SHOWN,
    **{state.value: (state,) for state in DefinitionState},
}
_REVISION = re.compile(r'(?:W/)?"?([0-9]{1,9})"?', re.ASCII)


class RecurringRoutes(Routes):
    """Create, read, list, change, pause, trigger and delete; runs and previews."""

    def all(self) -> list[BaseRoute]:
        by_name = [
            Declared(
                f"{BASE}/{word}/{{app_id}}/recurring{tail}",
                endpoint,
                [method],
                Scope.SCHEDULES_READ if tail == "/preview" else needs_of(method),
            )
            for word in ("apps", "app")
            for tail, endpoint, method in (
                ("", self.fetch_page, "GET"),
                ("/preview", self.preview, "POST"),
                ("/{name}", changing("recurring put", self.put), "PUT"),
                ("/{name}", changing("recurring patch", self.patch), "PATCH"),
                ("/{name}", self.fetch, "GET"),
                ("/{name}", changing("recurring delete", self.delete), "DELETE"),
                ("/{name}/pause", changing("recurring pause", self.pause), "POST"),
                ("/{name}/resume", changing("recurring resume", self.resume), "POST"),
                ("/{name}/trigger", changing("recurring trigger", self.trigger), "POST"),
                ("/{name}/backfill", changing("recurring backfill", self.backfill), "POST"),
                ("/{name}/preview", self.preview_saved, "GET"),
                ("/{name}/runs", self.fetch_runs, "GET"),
            )
        ]
        return [
            *by_name,
            *(
                Declared(
                    f"{BASE}/{word}/{{schedule_id}}/runs",
                    self.fetch_runs_by_id,
                    ["GET"],
                    Scope.SCHEDULES_READ,
                )
                for word in ("schedules", "schedule")
            ),
            Declared(f"{BASE}/crons/schedules", self.fetch_crons, ["GET"], Scope.SCHEDULES_READ),
        ]

    async def put(self, request: Request) -> Response:
        app_id, name = named_in(request)
        revision = _revision_of(request)
        is_plan = parse_flag("dry_run", request.query_params.multi_items())
        new = parse_recurring(app_id, name, await self._bodies.read(request), self._depth)
        if not is_plan:
            self._meter.creates(request.scope, app_id, (new.payload,), is_counted=True)
        return self._answer(await self._service.recurring.put(new, revision, is_plan=is_plan))

    async def patch(self, request: Request) -> Response:
        app_id, name = named_in(request)
        asked = _revision_of(request)
        body = await self._bodies.read(request)

        def change(stored: Definition) -> NewRecurring:
            return parse_recurring_patch(stored, body, self._depth)

        return self._answer(await self._service.recurring.patch(app_id, name, change, asked))

    async def fetch(self, request: Request) -> Response:
        return self._answer(await self._fetch(request))

    async def delete(self, request: Request) -> Response:
        definition, revision = await self._fetch(request), _revision_of(request)
        return self._answer(await self._service.recurring.delete(definition, revision))

    async def pause(self, request: Request) -> Response:
        definition = await self._fetch(request)
        body = await self._bodies.read(request)
        wrong: list[Violation] = []
        broken: list[Violation] = []
        values = PAUSE.decode(body, self._depth, wrong) if body else {}
        until_ms = read_time("until", values.get("until"), parse_instant, wrong, broken)
        if wrong or broken:
            raise refused(wrong, broken)
        reason = cast(str, values.get("reason", ""))
        return self._answer(await self._service.recurring.pause(definition, reason, until_ms))

    async def resume(self, request: Request) -> Response:
        return self._answer(await self._service.recurring.resume(await self._fetch(request)))

    async def trigger(self, request: Request) -> Response:
        row = await self._service.recurring.trigger(await self._fetch(request))
        return success({"schedule": self._to_json(row)}, code=201, http=self._created)

    async def backfill(self, request: Request) -> Response:
        definition = await self._fetch(request)
        wrong: list[Violation] = []
        broken: list[Violation] = []
        values = BACKFILL.decode(await self._bodies.read(request), self._depth, wrong)
        from_ms, to_ms = (
            read_time(name, values.get(name), parse_instant, wrong, broken) for name in ("from", "to")
        )
        broken += [
            Violation(name, "required: a time")
            for name, ms in (("from", from_ms), ("to", to_ms))
            if ms is None and values.get(name) is None
        ]
        if wrong or broken or from_ms is None or to_ms is None:
            raise refused(wrong, broken)
        report = await self._service.backfills.backfill(
            definition,
            from_ms,
            to_ms,
            most=cast(int, values.get("max", BACKFILL_SIZE)),
            is_dry=values.get("dryRun", False) is True,
        )
        shown = [
            (each.nominal_ms, each.effect, each.schedule_id, "" if each.error is None else str(each.error))
            for each in report.runs
        ]
        return success(backfill_to_json(shown, report.continues_ms), total=len(shown))

    async def preview(self, request: Request) -> Response:
        app_id = parse_app_id(request.path_params["app_id"])
        wrong: list[Violation] = []
        values = PREVIEW.decode(await self._bodies.read(request), self._depth, wrong)
        size = cast(int, values.pop("size", PREVIEW_SIZE))
        broken = [] if 1 <= size <= MAX_PREVIEW else [Violation("size", f"must be from 1 to {MAX_PREVIEW}")]
        try:
            times = parse_times({key: values[key] for key in KEYS if key in values})
        except InvalidRequest as error:
            raise refused(wrong, [*broken, *error.violations]) from None
        if wrong or broken:
            raise refused(wrong, broken)
        planned = await self._service.runs.preview_times(app_id, times, size)
        return success(preview_to_json(planned), total=len(planned))

    async def preview_saved(self, request: Request) -> Response:
        asked = Query(request, ("size",))
        size = asked.size("size", PREVIEW_SIZE, MAX_PREVIEW)
        if not 1 <= size <= MAX_PREVIEW:
            asked.wrong.append(Violation("size", f"must be from 1 to {MAX_PREVIEW}"))
        asked.check()
        planned = await self._service.runs.preview(await self._fetch(request), size)
        return success(preview_to_json(planned), total=len(planned))

    async def fetch_page(self, request: Request) -> Response:
        app_id = request.path_params["app_id"]
        asked = Query(request, ("state", "size", "continuation_token"))
        asked.wrong += check_app_id(app_id)
        states = _states_of(asked, "state")
        size = asked.size("size", LIST_SIZE, MAX_LIST_SIZE)
        asked.check()
        page = await self._service.recurring.fetch_page(
            app_id, states, size, asked.text("continuation_token")
        )
        shown = [self._shown(each) for each in page.definitions]
        return success({"recurring": shown, "continuationToken": page.token}, total=len(shown))

    async def fetch_runs(self, request: Request) -> Response:
        return await self._runs(request, await self._fetch(request))

    async def fetch_runs_by_id(self, request: Request) -> Response:
        recurring_id = schedule_id_in(request)
        definition = await self._service.recurring.fetch_by_id(recurring_id)
        return await self._runs(request, definition)

    async def _runs(self, request: Request, definition: Definition) -> Response:
        asked = Query(request, ("size", "when", "continuation_token"))
        if asked.text("when") not in WHEN:
            asked.wrong.append(Violation("when", "must be past or future, or left out for both"))
        size = asked.size("size", LIST_SIZE, MAX_LIST_SIZE)
        asked.check()
        when, token = asked.text("when"), asked.text("continuation_token")
        page = await self._service.runs.fetch_page(definition, when, size, token)
        rows = self._redacted_all(definition.app_id, page.rows)
        return success(runs_to_json(rows, page.token), total=len(rows))

    async def fetch_crons(self, request: Request) -> Response:
        """goscheduler's list: a bare array without pages."""
        asked = Query(request, ("app_id", "status"))
        app_id = asked.text("app_id")
        if violations := check_app_id(app_id):
            asked.wrong.append(Violation("app_id", violations[0].rule))
        states = _states_of(asked, "status")
        asked.check()
        see(request, app_id)
        page = await self._service.recurring.fetch_page(app_id, states, MAX_LIST_SIZE)
        if page.token:
            raise LimitReached(
                f"app {app_id} has more than {MAX_LIST_SIZE:,} recurring schedules:"
                f" {BASE}/apps/{app_id}/recurring lists them in pages",
                "app_id",
            )
        return success([self._shown(each) for each in page.definitions], total=0)

    async def _fetch(self, request: Request) -> Definition:
        return await self._service.recurring.fetch(*named_in(request))

    def _answer(self, definition: Definition) -> Response:
        return success(self._shown(definition))


def _revision_of(request: Request) -> int | None:
    """Return the revision that a request asks for; 0: there is to be none. Raises InvalidRequest."""
    if request.headers.get("if-none-match") == "*":
        return 0
    text = request.headers.get("if-match")
    if text is None:
        return None
    match = _REVISION.fullmatch(text.strip())
    if match is None:
        raise InvalidRequest.of("If-Match", "must be the revision of an earlier answer")
    return int(match[1])


def _states_of(asked: Query, name: str) -> tuple[DefinitionState, ...]:
    text = asked.text(name)
    if text not in _STATES:
        words = ", ".join(word for word in _STATES if word)
        asked.wrong.append(Violation(name, f"must be one of {words}"))
    return _STATES.get(text, SHOWN)
