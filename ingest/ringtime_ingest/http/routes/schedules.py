"""The routes of schedules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ringtime_ingest.http.changing import cause_of, changing
from ringtime_ingest.http.changing import told as with_id
from ringtime_ingest.http.envelope import success
from ringtime_ingest.http.guard import CALLER, Declared, schedule_id_in, see
from ringtime_ingest.http.parsing import (
    parse_create,
    parse_flag,
    parse_named,
    parse_schedule_patch,
)
from ringtime_ingest.http.plain import read_plain
from ringtime_ingest.http.query import Query
from ringtime_ingest.http.routes import BASE, Routes, named_in, needs_of
from ringtime_ingest.http.shapes import load
from ringtime_ingest.service import Cancellation, Kept, NewRecurring, NewSchedule
from ringtime_ingest.service.listing import IN_QUERY, ListQuery
from ringtime_ingest.service.requests import NOW
from ringtime_shared.access import Scope
from ringtime_shared.api.ids import check_app_id
from ringtime_shared.api.instants import to_iso
from ringtime_shared.api.schedules import (
    LIST_SIZE,
    MAX_LIST_SIZE,
    idempotency_to_json,
    page_to_json,
)
from ringtime_shared.auditing import caused_by
from ringtime_shared.errors import InvalidRequest, NotChangeable, Violation
from ringtime_shared.ids import Kind, has_kind
from ringtime_shared.models.schedule import Row, Status
from ringtime_shared.models.trace import Trace
from ringtime_shared.schedules.row_filter import RowFilter
from ringtime_shared.traces.context import read_headers
from ringtime_shared.traces.names import SCHEDULE

_KEY, _PARENT = b"idempotency-key", b"traceparent"  #: the headers
_RECURRING = Kind.RECURRING  # found in a tenth of the time


class ScheduleRoutes(Routes):
    """Create, read, list and cancel."""

    def all(self) -> list[BaseRoute]:
        by_id = [
            Declared(f"{BASE}/{word}/{{schedule_id}}", endpoint, [method], needs_of(method))
            for word in ("schedules", "schedule")
            for endpoint, method in ((self.fetch, "GET"), (self.change, "PATCH"), (self.cancel, "DELETE"))
        ]
        trigger = changing("recurring trigger", self.trigger)  # of a single schedule nothing is noted
        return [
            Declared(f"{BASE}/schedules", self.create, ["POST"], Scope.SCHEDULES_WRITE),
            Declared(f"{BASE}/schedule", self.create_flat, ["POST"], Scope.SCHEDULES_WRITE),
            *by_id,
            *(
                Declared(f"{BASE}/{word}/{{schedule_id}}/trigger", trigger, ["POST"], Scope.SCHEDULES_WRITE)
                for word in ("schedules", "schedule")
            ),
            *(
                Declared(
                    f"{BASE}/{word}/{{app_id}}/schedules", self.fetch_page, ["GET"], Scope.SCHEDULES_READ
                )
                for word in ("apps", "app")
            ),
            *(
                Declared(f"{BASE}/{word}/{{app_id}}/schedules/{{name}}", endpoint, [method], needs_of(method))
                for word in ("apps", "app")
                for endpoint, method in (
                    (self.put, "PUT"),
                    (self.fetch_named, "GET"),
                    (self.cancel_named, "DELETE"),
                )
            ),
        ]

    async def create_flat(self, request: Request) -> Response:
        return await self.create(request, is_flat=True)

    async def create(self, request: Request, *, is_flat: bool = False) -> Response:
        new: NewSchedule | NewRecurring | None
        body, (key, told) = await self._bodies.read(request), _headers_in(request)
        new = read_plain(body) if key is None and self._bodies.reads_plain else None
        if new is None:
            new = parse_create(load(body, self._depth), key)
        caller, app = request.scope[CALLER], self._service.known_app(new.app_id)
        if caller.grant.apps is not None:
            see(request, new.app_id)
        if caller.key_id or (app is not None and self._meter.free.get(new.app_id) is not app.configuration):
            self._meter.creates(request.scope, new.app_id, (new.payload,))
        if not isinstance(new, NewSchedule):
            with caused_by(cause := cause_of(request, "recurring put")):
                made = self._shown(await self._service.recurring.put(replace(new, name=str(uuid4())), 0))
            return with_id(self._answer(made if is_flat else {"schedule": made}), cause)
        if self._spans is not None and (span := self._spans.of_create(told, new.app_id)) is not None:
            with span:
                row, kept = await self._file(replace(new, trace=span.trace))
                span.tell({SCHEDULE: str(row.schedule.schedule_id)})
        else:
            row, kept = await self._file(new if told is None else replace(new, trace=told))
        made = self._to_json(row)
        if kept is not None:
            return self._answer(made if is_flat else kept_to_json(kept, made), _headers_of(kept))
        return self._answer(made if is_flat else {"schedule": made})

    async def _file(self, new: NewSchedule) -> tuple[Row, Kept | None]:
        """Create a schedule; with what became of its key, if it has one."""
        if new.idempotency_key:
            kept = await self._service.keyed.create(new)
            return kept.row, kept
        return await self._service.create_schedule(new), None

    def _answer(self, made: dict[str, object], headers: Sequence[tuple[bytes, bytes]] = ()) -> Response:
        return success(made, code=201, http=self._created, headers=headers)

    async def fetch(self, request: Request) -> Response:
        schedule_id = schedule_id_in(request)
        if has_kind(schedule_id, _RECURRING):
            definition = await self._service.recurring.fetch_by_id(schedule_id)
            return success({"schedule": self._shown(definition)})
        return success({"schedule": self._to_json(await self._service.fetch_schedule(schedule_id))})

    async def change(self, request: Request) -> Response:
        schedule_id = schedule_id_in(request)
        asked = parse_schedule_patch(await self._bodies.read(request), self._depth)
        if has_kind(schedule_id, _RECURRING):
            shown = self._shown(await self._service.recurring.fetch_by_id(schedule_id))
            raise NotChangeable(
                str(schedule_id), str(shown["status"]), "it is recurring: change it by its name"
            )
        row = await self._service.change_schedule(schedule_id, asked)
        return success({"schedule": self._to_json(row)})

    async def trigger(self, request: Request) -> Response:
        """Send a schedule now instead of at its time; of a recurring one, a run beside the plan."""
        schedule_id = schedule_id_in(request)
        if has_kind(schedule_id, _RECURRING):
            definition = await self._service.recurring.fetch_by_id(schedule_id)
            run = await self._service.recurring.trigger(definition)
            return success({"schedule": self._to_json(run)}, code=201, http=self._created)
        return success({"schedule": self._to_json(await self._service.change_schedule(schedule_id, NOW))})

    async def fetch_page(self, request: Request) -> Response:
        query = parse_list_query(request)
        page = await self._service.listing.fetch(query)
        rows = self._redacted_all(query.app_id, page.rows)
        shown = page_to_json(rows, page.token, page.next_ms, page.unreadable)
        return success(shown, total=len(page.rows))

    async def put(self, request: Request) -> Response:
        app_id, name = named_in(request)
        is_plan = parse_flag("dry_run", request.query_params.multi_items())
        new = parse_named(app_id, name, await self._bodies.read(request), self._depth)
        if is_plan:
            planned, effect = await self._service.named.plan(new)
            return success({"schedule": self._to_json(planned), "created": False, "effect": effect})
        self._meter.creates(request.scope, app_id, (new.payload,), is_counted=True)
        row, is_new = await self._put(new, read_headers(request.scope["headers"]))
        return success({"schedule": self._to_json(row), "created": is_new})

    async def _put(self, new: NewSchedule, told: Trace | None) -> tuple[Row, bool]:
        if self._spans is None or (span := self._spans.of_create(told, new.app_id)) is None:
            return await self._service.named.put(new if told is None else replace(new, trace=told))
        with span:
            row, is_new = await self._service.named.put(replace(new, trace=span.trace))
            span.tell({SCHEDULE: str(row.schedule.schedule_id)})
        return row, is_new

    async def fetch_named(self, request: Request) -> Response:
        schedule_id = await self._service.named.fetch(*named_in(request))
        return success({"schedule": self._to_json(await self._service.fetch_schedule(schedule_id))})

    async def cancel_named(self, request: Request) -> Response:
        schedule_id = await self._service.named.fetch(*named_in(request))
        return self._cancelled(await self._service.cancel_schedule(schedule_id))

    async def cancel(self, request: Request) -> Response:
        schedule_id = schedule_id_in(request)
        if has_kind(schedule_id, _RECURRING):
            definition = await self._service.recurring.fetch_by_id(schedule_id)
            with caused_by(cause := cause_of(request, "recurring delete")):
                deleted = await self._service.recurring.delete(definition)
            return with_id(success({"schedule": self._shown(deleted)}), cause)
        return self._cancelled(await self._service.cancel_schedule(schedule_id))

    def _cancelled(self, cancellation: Cancellation) -> Response:
        shown = {"schedule": self._to_json(cancellation.row)}
        if cancellation.promised:
            return success(shown)
        return success(shown | {"cancel": "best_effort"}, code=202, http=202)


def kept_to_json(kept: Kept, shown: dict[str, object]) -> dict[str, object]:
    """Return what became of a create with a key.

    Args:
        shown: its row as JSON.
    """
    idempotency = idempotency_to_json(kept.is_replay, kept.expires_ms)
    return {"schedule": shown, "idempotency": idempotency}


def _headers_in(request: Request) -> tuple[str | None, Trace | None]:
    """Return the idempotency key of the headers, and the trace that the request is a part of. Raises
    InvalidRequest for two keys, also if they are the same."""
    key, trace = None, None
    for name, value in request.scope["headers"]:
        if name == _KEY:
            if key is not None:
                raise InvalidRequest.of("idempotencyKey", "must not be given in two headers")
            key = str(value, "latin-1")
        elif name == _PARENT:
            trace = read_headers(request.scope["headers"])
    return key, trace


def _headers_of(kept: Kept) -> list[tuple[bytes, bytes]]:
    headers = [(b"idempotency-expires", to_iso(kept.expires_ms).encode())]
    return [*headers, (b"idempotency-replayed", b"true")] if kept.is_replay else headers


def parse_list_query(request: Request) -> ListQuery:
    """Read path and query of a list; an empty value is the same as none.

    goscheduler's `continuation_start_time` is in the token already, so it is passed over. Raises
    InvalidRequest.
    """
    app_id = request.path_params["app_id"]
    asked = Query(request, (*IN_QUERY, "status", "zone"), repeated=(IN_QUERY.label,))
    asked.wrong += check_app_id(app_id)
    status, zone = asked.text("status"), asked.zone("zone")
    if status and status not in list(Status):
        asked.wrong.append(Violation("status", f"must be one of {', '.join(Status)}"))
        status = ""
    query = ListQuery(
        app_id=app_id,
        start_ms=asked.instant(IN_QUERY.start, zone),
        end_ms=asked.instant(IN_QUERY.end, zone),
        only=RowFilter(
            status=Status(status) if status else None,
            labels=asked.labels(IN_QUERY.label),
            name_prefix=asked.text(IN_QUERY.name_prefix),
            host=asked.text(IN_QUERY.host),
            late_by_ms=asked.whole(IN_QUERY.late_by),
        ),
        size=asked.size(IN_QUERY.size, LIST_SIZE, MAX_LIST_SIZE),
        token=asked.text(IN_QUERY.token),
        names=IN_QUERY,
    )
    asked.check()
    return query
