"""The tap: what goscheduler calls for schedules that it has as well. No client's route, so the reference has
it not; and there is none where no goscheduler is set."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ringtime_ingest.http.envelope import Answer
from ringtime_ingest.http.gate import Bodies
from ringtime_ingest.http.guard import OPEN, Declared
from ringtime_ingest.shadow import TapCalls
from ringtime_shared.shadow.tickets import HEADER, PATH

_HEADER = HEADER.lower().encode()


class ShadowRoutes:
    """Take goscheduler's calls."""

    def __init__(self, tap: TapCalls, bodies: Bodies) -> None:
        self._tap = tap
        self._bodies = bodies

    def all(self) -> list[BaseRoute]:
        """Return the routes."""
        # The ticket is the proof: only a create of ours has it.
        return [Declared(PATH, self.take, ["POST"], OPEN)]

    async def take(self, request: Request) -> Response:
        given = [value for name, value in request.scope["headers"] if name == _HEADER]
        ticket = given[0].decode("latin-1") if len(given) == 1 else ""
        passed = await self._tap.take(ticket, await self._bodies.read(request))
        location = [(b"location", passed.location.encode("ascii"))] if passed.location else []
        return Answer(b"", passed.code, location)
