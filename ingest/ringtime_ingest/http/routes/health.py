"""The routes that tell whether the process runs, and whether it can serve."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ringtime_ingest.http.envelope import UNAVAILABLE, Answer, failure
from ringtime_ingest.http.guard import OPEN, Declared
from ringtime_ingest.http.routes import BASE
from ringtime_shared.errors import ClockInDoubt, ErrorWord, RingtimeError

Ready = Callable[[], Awaitable[None]]

_ANY_METHOD = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_HEALTHY = b'{"status":"Success","code":200}'
_STEPPED = b'{"status":"Success","code":200,"clock":"manual"}'
_log = logging.getLogger(__name__)


class HealthRoutes:
    """`ready` is awaited by `/health/ready`; it raises while the process cannot serve. `is_stepped`: answers
    say that time is a test clock's."""

    def __init__(self, ready: Ready, *, is_stepped: bool) -> None:
        self._ready = ready
        self._healthy = _STEPPED if is_stepped else _HEALTHY

    def all(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            Declared(f"{BASE}/healthcheck", self.answer, _ANY_METHOD, OPEN),
            Declared("/health/live", self.answer, ["GET"], OPEN),
            Declared("/health/ready", self.check, ["GET"], OPEN),
        ]

    async def answer(self, request: Request) -> Response:
        return Answer(self._healthy, 200)

    async def check(self, request: Request) -> Response:
        try:
            await self._ready()
        except ClockInDoubt as error:
            _log.warning("not ready: %s", error)
            return failure(UNAVAILABLE, ErrorWord.NOT_READY, f"not ready: {error}")
        except RingtimeError as error:
            _log.warning("not ready: %s", error)
        except Exception:  # noqa: BLE001 - whatever it is, the probe has to hear that it is not ready
            _log.exception("not ready")
        else:
            return Answer(self._healthy, 200)
        return failure(UNAVAILABLE, ErrorWord.NOT_READY, "not ready; the server's log says why")
