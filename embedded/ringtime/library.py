"""Ringtime inside your own program: schedules in a folder, callbacks as functions or HTTP requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID

from ringtime.runtime import Runtime, run
from ringtime_ingest.requests import Cancellation, NewApp, NewSchedule
from ringtime_shared.callbacks.protocol import CallbackType, Delivery, Reply
from ringtime_shared.errors import InvalidRequest, Violation
from ringtime_shared.models.app import App, AppConfiguration
from ringtime_shared.models.schedule import Row
from ringtime_shared.settings import Settings, check_settings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Function = Callable[[Delivery], Awaitable[Reply | None]]


class FunctionCallback:
    """A callback type made of one coroutine function; see `Ringtime.callback`."""

    def __init__(self, name: str, function: Function) -> None:
        self.name = name
        self._function = function

    def validate(self, details: Mapping[str, object]) -> list[Violation]:
        """Accept any details: the function is given them."""
        return []

    async def invoke(self, delivery: Delivery) -> Reply:
        """Call the function; returning nothing means success, raising means a failed attempt."""
        reply = await self._function(delivery)
        return Reply(ok=True) if reply is None else reply

    async def close(self) -> None:
        """Nothing to let go of."""


class Ringtime:
    """A scheduler in this process.

        async with Ringtime("data") as ringtime:
            await ringtime.register_app("shop", partitions=4)
            row = await ringtime.create_schedule(
                "shop", payload="{}", delay=timedelta(minutes=5),
                callback={"type": "http", "details": {"url": "https://example.org/hook", "method": "POST"}},
            )

    Args:
        data: folder of the SQLite store; None keeps rows in memory only, for tests.
        settings: everything else.

    Entering it raises StartupError when the folder is in use by another server.
    """

    def __init__(self, data: Path | str | None = None, *, settings: Settings | None = None) -> None:
        settings = settings or Settings()
        folder = str(data) if data is not None else settings.embedded.data
        self._settings = check_settings(replace(settings, embedded=replace(settings.embedded, data=folder)))
        self._callbacks: dict[str, CallbackType] = {}
        self._stack = AsyncExitStack()
        self._runtime: Runtime | None = None

    def register_callback(self, kind: CallbackType) -> None:
        """Offer a custom callback type under its name. Before entering only."""
        if self._runtime is not None:
            raise RuntimeError("register callback types before entering Ringtime")
        self._callbacks[kind.name] = kind

    def callback(self, name: str) -> Callable[[Function], Function]:
        """Decorate a coroutine function that carries out callbacks of type `name`.

        @ringtime.callback("mail")
        async def send_mail(delivery: Delivery) -> None: ...
        """

        def register(function: Function) -> Function:
            self.register_callback(FunctionCallback(name, function))
            return function

        return register

    async def __aenter__(self) -> Self:
        self._runtime = await self._stack.enter_async_context(run(self._settings, callbacks=self._callbacks))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runtime = None
        await self._stack.aclose()

    async def register_app(
        self,
        app_id: str,
        *,
        partitions: int | None = None,
        active: bool = True,
        configuration: AppConfiguration | None = None,
    ) -> App:
        """Register an app. Raises InvalidRequest, Conflict."""
        return await self._running.service.register_app(
            NewApp(
                app_id=app_id,
                partitions=partitions,
                active=active,
                configuration=configuration or AppConfiguration(),
            )
        )

    async def create_schedule(
        self,
        app_id: str,
        *,
        payload: str,
        callback: Mapping[str, object],
        at: datetime | None = None,
        delay: timedelta | None = None,
    ) -> Row:
        """File a schedule; when this returns, it will fire.

        Args:
            callback: `{"type": name, "details": {...}}`, as in the HTTP API.
            at: the instant to fire at, timezone-aware; or
            delay: how long from now.

        Raises InvalidRequest, NotFound (app), AppInactive, StoreUnavailable, OutcomeUnknown.
        """
        if at is not None and at.utcoffset() is None:
            raise InvalidRequest.of("at", "must be timezone-aware")
        kind, details = callback.get("type"), callback.get("details", {})
        if not isinstance(kind, str) or not isinstance(details, dict):
            raise InvalidRequest.of("callback", "must have a `type` and a `details` object")
        return await self._running.service.create_schedule(
            NewSchedule(
                app_id=app_id,
                payload=payload,
                fire_ms=None if at is None else _ceil_ms(at),
                delay_ms=None if delay is None else -(-delay // timedelta(milliseconds=1)),
                callback_type=kind,
                callback_details=details,
            )
        )

    async def get_schedule(self, schedule_id: UUID) -> Row:
        """Return a schedule with its status and outcome. Raises NotFound."""
        return await self._running.service.fetch_schedule(schedule_id)

    async def cancel_schedule(self, schedule_id: UUID) -> Cancellation:
        """Cancel a schedule. Raises NotFound, AlreadyDone."""
        return await self._running.service.cancel_schedule(schedule_id)

    @property
    def _running(self) -> Runtime:
        if self._runtime is None:
            raise RuntimeError("use Ringtime inside `async with`")
        return self._runtime


def _ceil_ms(at: datetime) -> int:
    """Round up, so that nothing fires a fraction of a millisecond early."""
    # In UTC: the difference of two datetimes of one zone is that of their clock faces, DST or not.
    return -((_EPOCH - at) // timedelta(milliseconds=1))
