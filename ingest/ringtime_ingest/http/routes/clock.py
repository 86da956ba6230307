"""The routes of a test clock. There are none on a server whose time is the machine's."""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol, cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ringtime_ingest.http.envelope import success
from ringtime_ingest.http.fields import ADVANCE
from ringtime_ingest.http.gate import Bodies
from ringtime_ingest.http.guard import Declared
from ringtime_ingest.http.parsing import refused
from ringtime_shared.access import Scope
from ringtime_shared.api.instants import to_iso
from ringtime_shared.errors import InvalidRequest, Violation

WARNING = "this server is for tests: its time stands still but for /clock/advance, and it keeps nothing"
_LIMIT_S = 60
_TOO_LARGE = 10**12  #: seconds; how many a clock takes is its own to say


class SteppedClock(Protocol):
    """A clock that goes on when it is told to."""

    def now_ms(self) -> int: ...

    async def advance(self, by_ms: int, limit_s: float) -> bool:
        """Let `by_ms` go by; False: the real time it may take was over first. Raises InvalidRequest."""
        ...


class ClockRoutes:
    """Tell the time, and let it go by."""

    def __init__(self, clock: SteppedClock, bodies: Bodies, max_depth: int) -> None:
        self._clock = clock
        self._bodies = bodies
        self._depth = max_depth

    def all(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            Declared("/clock", self.fetch, ["GET"], Scope.RING_OPERATE),
            Declared("/clock/advance", self.advance, ["POST"], Scope.RING_OPERATE),
        ]

    async def fetch(self, request: Request) -> Response:
        return success(self._shown(is_done=True))

    async def advance(self, request: Request) -> Response:
        wrong: list[Violation] = []
        values = ADVANCE.decode(await self._bodies.read(request), self._depth, wrong)
        seconds = cast("int | Decimal | None", values.get("seconds"))
        if wrong or seconds is None:
            missing = Violation("seconds", "required: how long is to go by")
            raise refused(wrong, [] if wrong else [missing])
        if not -_TOO_LARGE < seconds < _TOO_LARGE:
            raise InvalidRequest.of("seconds", "the number is too large")
        limit_s = float(cast("int | Decimal", values.get("limitSeconds", _LIMIT_S)))
        is_done = await self._clock.advance(round(seconds * 1_000), limit_s)
        return success(self._shown(is_done=is_done))

    def _shown(self, *, is_done: bool) -> dict[str, object]:
        return {"now": to_iso(self._clock.now_ms()), "done": is_done, "warning": WARNING}
