"""The routes of batches: many creates or cancels in one request, each with its own result.

Answered 200 if all was done, and 207 if any item was refused, is unknown, or (a cancel) may come too late. A
request whose list could not be read, or that nothing came of for want of room, is refused as a whole.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar, cast
from uuid import UUID

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import Scope as HttpScope

from ringtime_ingest.http.envelope import fault_of_item, refusal_of_item, success
from ringtime_ingest.http.fields import CANCELS, NEW_SCHEDULES
from ringtime_ingest.http.gate import Bodies, Room, busy
from ringtime_ingest.http.guard import Declared, grant_in, see_schedule, seen_only
from ringtime_ingest.http.items import ItemReader
from ringtime_ingest.http.meter import Meter
from ringtime_ingest.http.parsing import parse_new_schedule
from ringtime_ingest.http.plain import read_plain_batch
from ringtime_ingest.http.routes import BASE, Routes
from ringtime_ingest.http.routes.schedules import kept_to_json
from ringtime_ingest.service import Cancellation, IngestService, Kept, NewSchedule
from ringtime_ingest.service.batches import AT_ONCE, stints_of
from ringtime_shared.access import Scope
from ringtime_shared.api.batches import MAX_ITEMS, batch_to_json
from ringtime_shared.api.ids import parse_schedule_id
from ringtime_shared.errors import OutcomeUnknown, RateLimited, RingtimeError
from ringtime_shared.models.schedule import Row
from ringtime_shared.models.trace import Trace
from ringtime_shared.settings import ServerSettings
from ringtime_shared.traces.context import read_headers

if TYPE_CHECKING:
    from ringtime_shared.traces.spans import Spans

T = TypeVar("T")
PLACE_BYTES = 4_096  #: of a body, that are as much work as one request alone
_log = logging.getLogger(__name__)


class BatchRoutes(Routes):
    """Create and cancel many, on the plural paths and on the singular ones."""

    def __init__(
        self,
        service: IngestService,
        bodies: Bodies,
        settings: ServerSettings,
        meter: Meter,
        room: Room,
        spans: Spans | None = None,
    ) -> None:
        super().__init__(service, bodies, settings, meter, spans)
        self._room = room
        self._most_bytes = most_bytes = settings.max_body_bytes
        depth = settings.max_json_depth
        self._creates, self._cancels = (
            ItemReader(shape.required[0], most=MAX_ITEMS, most_bytes=most_bytes, max_depth=depth)
            for shape in (NEW_SCHEDULES, CANCELS)
        )

    def all(self) -> list[BaseRoute]:
        return [
            Declared(f"{BASE}/{word}/{tail}", endpoint, ["POST"], Scope.SCHEDULES_WRITE)
            for word in ("schedules", "schedule")
            for tail, endpoint in (("batch", self.create), ("batch-cancel", self.cancel))
        ]

    async def create(self, request: Request) -> Response:
        body = await self._bodies.read(request)
        with self._room.for_batch(len(body) // PLACE_BYTES + 1) as has_room:
            if not has_room:
                return busy()
            plain = await read_plain_batch(body, self._most_bytes) if self._bodies.reads_plain else None
            asked = await self._creates.read(body, parse_new_schedule) if plain is None else plain
            if grant_in(request).apps is not None:
                asked = seen_only(request, asked, _app_id_of)
            counted = self._counted(request.scope, asked)
            told = read_headers(request.scope["headers"])
            if self._spans is not None and (span := self._spans.of_batch(told, len(counted))) is not None:
                with span:
                    results = await self._service.batches.create(_traced(counted, span.trace))
            else:
                results = await self._service.batches.create(_traced(counted, told))
            return await answer(results, self._show_created)

    def _counted(
        self, scope: HttpScope, asked: Sequence[NewSchedule | Exception]
    ) -> Sequence[NewSchedule | Exception]:
        """Count the items against the limits of their apps; of an app that has not enough left none is
        created.

        Raises RateLimited if that is all of them.
        """
        payloads = defaultdict[str, list[str]](list)
        for each in asked:
            if isinstance(each, NewSchedule):
                payloads[each.app_id].append(each.payload)
        refused = dict[str, RateLimited]()
        for app_id, those in payloads.items():
            try:
                self._meter.creates(scope, app_id, those)
            except RateLimited as error:
                if len(payloads) == 1:
                    raise
                refused[app_id] = error
        if not refused:
            return asked
        return [refused.get(x.app_id, x) if isinstance(x, NewSchedule) else x for x in asked]

    async def _seen(
        self, request: Request, asked: Sequence[UUID | Exception], meant: Mapping[UUID, UUID]
    ) -> Sequence[UUID | Exception]:
        """Return the ids that are meant, with the refusal in place of each that is of another's app."""
        grant = grant_in(request)
        if grant.apps is None:
            return [meant.get(each, each) if isinstance(each, UUID) else each for each in asked]

        async def seen(each: UUID | Exception) -> UUID | Exception:
            if not isinstance(each, UUID):
                return each
            schedule_id = meant.get(each, each)
            try:
                await see_schedule(grant, schedule_id, self._service, each)
            except RingtimeError as error:
                return error
            return schedule_id

        parts = range(0, len(asked), AT_ONCE)
        return [
            each for n in parts for each in await asyncio.gather(*(seen(x) for x in asked[n : n + AT_ONCE]))
        ]

    async def cancel(self, request: Request) -> Response:
        body = await self._bodies.read(request)
        with self._room.for_batch(AT_ONCE) as has_room:
            if not has_room:
                return busy()
            asked = await self._cancels.read(body, _to_id)
            meant = await self._service.resolve([each for each in asked if isinstance(each, UUID)])
            counted = self._meter.cancels(request.scope, await self._seen(request, asked, meant))
            results = await self._service.batches.cancel(counted)
            is_sure = all(isinstance(each, Cancellation) and each.promised for each in results)
            return await answer(results, self._show_cancelled, is_sure=is_sure)

    def _show_created(self, made: object) -> dict[str, object]:
        if isinstance(made, Kept):
            return kept_to_json(made, self._to_json(made.row))
        return {"schedule": self._to_json(cast(Row, made))}

    def _show_cancelled(self, cancellation: Cancellation) -> dict[str, object]:
        shown: dict[str, object] = {"schedule": self._to_json(cancellation.row)}
        return shown if cancellation.promised else shown | {"cancel": "best_effort"}


def _app_id_of(new: NewSchedule | Exception) -> str | None:
    return new.app_id if isinstance(new, NewSchedule) else None


def _traced(asked: Sequence[NewSchedule | Exception], trace: Trace | None) -> list[NewSchedule | Exception]:
    """Return the items as parts of the trace that their request is a part of."""
    if trace is None:
        return list(asked)
    return [replace(each, trace=trace) if isinstance(each, NewSchedule) else each for each in asked]


def _to_id(item: object) -> UUID:
    return parse_schedule_id(item if isinstance(item, str) else "")


async def answer(
    results: Sequence[T | Exception], show: Callable[[T], dict[str, object]], *, is_sure: bool = True
) -> Response:
    """Return the answer to a batch.

    Args:
        show: returns the result of an item that was done.
        is_sure: whether those that were done hold.
    """
    failed = unknown = 0
    texts: list[bytes] = []
    async for part in stints_of(results):
        items = list[dict[str, object]]()
        for result in part:
            if isinstance(result, Exception):
                failed += not isinstance(result, OutcomeUnknown)
                unknown += isinstance(result, OutcomeUnknown)
                items.append(_show_error(result))
            else:
                items.append(show(result))
        texts.append(orjson.dumps(items)[1:-1])
    code = 200 if is_sure and not failed and not unknown else 207
    shown = batch_to_json(results, failed, unknown)
    shown["results"] = orjson.Fragment(b"[" + b",".join(texts) + b"]")
    return success(shown, code=code, http=code, total=len(results))


def _show_error(error: Exception) -> dict[str, object]:
    if isinstance(error, RingtimeError):
        return refusal_of_item(error)
    _log.error("an item of a batch failed", exc_info=error)
    return fault_of_item()
