"""The route of imports: schedules of another scheduler, up to 1,000 in a request, each with its own result.

It is the operator's, and no limit of an app counts it but that of how much it may have stored.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ringtime_ingest.http.changing import changing
from ringtime_ingest.http.fields import IMPORTS
from ringtime_ingest.http.gate import Bodies, Room, busy
from ringtime_ingest.http.guard import Declared
from ringtime_ingest.http.items import ItemReader
from ringtime_ingest.http.meter import Meter
from ringtime_ingest.http.parsing import parse_flag, parse_import
from ringtime_ingest.http.routes import Routes
from ringtime_ingest.http.routes.batches import PLACE_BYTES, answer
from ringtime_ingest.service import IngestService
from ringtime_ingest.service.imports import Imported
from ringtime_shared.access import Scope
from ringtime_shared.api.batches import MAX_ITEMS
from ringtime_shared.api.imports import IMPORTS_PATH, imported_to_json
from ringtime_shared.settings import ServerSettings


class ImportRoutes(Routes):
    """File what another scheduler has."""

    def __init__(
        self, service: IngestService, bodies: Bodies, settings: ServerSettings, meter: Meter, room: Room
    ) -> None:
        super().__init__(service, bodies, settings, meter)
        self._room = room
        self._reader = ItemReader(
            IMPORTS.required[0],
            most=MAX_ITEMS,
            most_bytes=settings.max_body_bytes,
            max_depth=settings.max_json_depth,
        )

    def all(self) -> list[BaseRoute]:
        noted = changing("imports create", self.create)
        return [Declared(IMPORTS_PATH, noted, ["POST"], Scope.RING_OPERATE)]

    async def create(self, request: Request) -> Response:
        is_plan = parse_flag("dry_run", request.query_params.multi_items())
        body = await self._bodies.read(request)
        with self._room.for_batch(len(body) // PLACE_BYTES + 1) as has_room:
            if not has_room:
                return busy()
            asked = await self._reader.read(body, parse_import)
            results = await self._service.imports.create(asked, is_plan=is_plan)
            return await answer(results, _show)


def _show(imported: Imported) -> dict[str, object]:
    return imported_to_json(imported.effect, imported.schedule_id)
