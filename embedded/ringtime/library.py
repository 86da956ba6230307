"""Ringtime inside your own program: schedules in a folder, callbacks as functions or HTTP requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self, cast
from uuid import UUID

from ringtime.dead_letters import DeadLetterVerbs
from ringtime.instants import to_ms
from ringtime.runtime import Runtime, run
from ringtime_ingest.service import Cancellation, NewApp, NewSchedule
from ringtime_ingest.service.dead_letters import DeadLetters
from ringtime_shared.arguments import checked
from ringtime_shared.callbacks.plugins import NAME_RULE, is_name
from ringtime_shared.callbacks.protocol import CallbackType, Delivery, Reply
from ringtime_shared.errors import InvalidRequest, Violation
from ringtime_shared.models.app import App, AppConfiguration, SigningSecret
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import Row
from ringtime_shared.settings import Settings, check_settings

Function = Callable[[Delivery], Awaitable[Reply | None]]


class FunctionCallback(CallbackType):
    """A callback type made of one coroutine function; see `Ringtime.callback`."""

    def __init__(self, name: str, function: Function) -> None:
        self.name = name
        self._function = function

    def validate(self, details: Mapping[str, object], app_id: str) -> list[Violation]:
        """Accept any details: the function is given them."""
        return []

    async def invoke(self, delivery: Delivery) -> Reply:
        """Call the function; returning nothing means success, raising means a failed attempt."""
        reply = await self._function(delivery)
        return Reply(ok=True) if reply is None else reply


class Ringtime(DeadLetterVerbs):
    """A scheduler in this process.

        async with Ringtime("data") as ringtime:
            await ringtime.register_app("shop", partitions=4)
            row = await ringtime.create_schedule(
                "shop", payload="{}", delay=timedelta(minutes=5),
                callback={"type": "http", "details": {"url": "https://example.org/hook", "method": "POST"}},
            )

    Args:
        data: folder of the SQLite store; None keeps rows in memory only, for tests.
        settings: everything else. Callbacks may reach this machine on any port unless
            `settings.embedded.loopback_callbacks` is False.

    Entering it raises StartupError when the folder is in use by another server.
    """

    @checked
    def __init__(self, data: Path | str | None = None, *, settings: Settings | None = None) -> None:
        settings = settings or Settings()
        folder = str(data) if data is not None else settings.embedded.data
        self._settings = check_settings(replace(settings, embedded=replace(settings.embedded, data=folder)))
        self._callbacks: dict[str, CallbackType] = {}
        self._stack = AsyncExitStack()
        self._runtime: Runtime | None = None

    @checked
    def register_callback(self, kind: CallbackType) -> None:
        """Offer a custom callback type under its name. Before entering only. Raises InvalidRequest."""
        if self._runtime is not None:
            raise RuntimeError("register callback types before entering Ringtime")
        if not is_name(kind.name):
            raise InvalidRequest.of("kind", f"must have {NAME_RULE}")
        self._callbacks[kind.name] = kind

    @checked
    def callback(self, name: str) -> Callable[[Function], Function]:
        """Decorate a coroutine function that carries out callbacks of type `name`.

        @ringtime.callback("mail")
        async def send_mail(delivery: Delivery) -> None: ...
        """

        def register(function: Function) -> Function:
            if not callable(function):
                raise InvalidRequest.of("function", "must be a coroutine function")
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

    @checked
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

    @checked
    async def delete_app(self, app_id: str, *, cancel_schedules: bool = False) -> App:
        """Begin to delete an app, or go on with that; return it as it is: it creates and fires nothing.

        It is gone in some 15 seconds, and its ids are not found from then on. If the process ends before,
        delete it again. Its own id can then be registered anew: an app with nothing of this one.

        Args:
            cancel_schedules: cancel what has not fired; else that raises LiveSchedules.

        Raises InvalidRequest, NotFound, LiveSchedules, Conflict.
        """
        return await self._running.service.delete_app(app_id, cancel_schedules=cancel_schedules)

    @checked
    async def create_signing_secret(self, app_id: str, *, secret: str | None = None) -> SigningSecret:
        """Sign the app's HTTP callbacks with a further secret; at most two are live at a time.

        Args:
            secret: one of your own, `whsec_` and the base64 of 24 to 64 random bytes; None: one is made.

        Raises InvalidRequest, NotFound (app), Conflict (there are two already, or this one is among them).
        """
        return await self._running.service.signing.create(app_id, secret)

    @checked
    async def list_signing_secrets(self, app_id: str) -> list[SigningSecret]:
        """Return the live signing secrets, newest first. Raises NotFound (app)."""
        return list(await self._running.service.signing.fetch(app_id))

    @checked
    async def delete_signing_secret(self, app_id: str, secret_id: str) -> None:
        """Sign with this secret no more. Raises InvalidRequest, NotFound (app or secret)."""
        await self._running.service.signing.delete(app_id, secret_id)

    @checked
    async def create_schedule(
        self,
        app_id: str,
        *,
        payload: str,
        callback: Mapping[str, object],
        at: datetime | None = None,
        delay: timedelta | None = None,
        retry: RetryRules | None = None,
    ) -> Row:
        """File a schedule; when this returns, it will fire.

        Args:
            callback: `{"type": name, "details": {...}}`, as in the HTTP API.
            at: the instant to fire at, timezone-aware; or
            delay: how long from now.
            retry: where it differs from the app's policy; no more attempts and no longer time.

        Raises InvalidRequest, NotFound (app), AppInactive, StoreUnavailable, OutcomeUnknown.
        """
        kind, details = callback.get("type"), callback.get("details", {})
        if not isinstance(kind, str) or not isinstance(details, dict):
            raise InvalidRequest.of("callback", "must have a `type` and a `details` object")
        return await self._running.service.create_schedule(
            NewSchedule(
                app_id=app_id,
                payload=payload,
                fire_ms=to_ms("at", at),
                delay_ms=None if delay is None else -(-delay // timedelta(milliseconds=1)),
                callback_type=kind,
                callback_details=details,
                retry=retry,
            )
        )

    @checked
    async def get_schedule(self, schedule_id: UUID | str) -> Row:
        """Return a schedule with its status and outcome. Raises InvalidRequest, NotFound."""
        return await self._running.service.fetch_schedule(cast(UUID, schedule_id))

    @checked
    async def cancel_schedule(self, schedule_id: UUID | str) -> Cancellation:
        """Cancel a schedule. Raises InvalidRequest, NotFound, AlreadyDone."""
        return await self._running.service.cancel_schedule(cast(UUID, schedule_id))

    @property
    def _dead_letters(self) -> DeadLetters:
        return self._running.service.dead_letters

    @property
    def _running(self) -> Runtime:
        if self._runtime is None:
            raise RuntimeError("use Ringtime inside `async with`")
        return self._runtime
