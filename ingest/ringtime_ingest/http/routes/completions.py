"""The route by which a receiver says that a run is done, which it answered 202."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ringtime_ingest.http.envelope import success
from ringtime_ingest.http.guard import OPEN, Declared
from ringtime_ingest.http.parsing import parse_completion
from ringtime_ingest.http.routes import Routes
from ringtime_shared.api.completions import PATH, completion_to_json


class CompletionRoutes(Routes):
    """Say how a run ended."""

    def all(self) -> list[BaseRoute]:
        # The URL is the proof: whoever has it was sent the run.
        return [Declared(f"{PATH}/{{token}}", self.complete, ["POST"], OPEN)]

    async def complete(self, request: Request) -> Response:
        error = parse_completion(await self._bodies.read(request), self._depth)
        ticket, ended_ms = await self._service.completing.complete(request.path_params["token"], error)
        return success(completion_to_json(ticket.schedule_id, ended_ms, is_success=error is None))
