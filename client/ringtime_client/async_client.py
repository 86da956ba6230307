"""The client for asyncio; `RingtimeClient` is the same without."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self
from uuid import UUID

from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import PyreqwestError

from ringtime_client import protocol
from ringtime_client.answers import settle
from ringtime_client.dead_letter_verbs import AsyncDeadLetterVerbs
from ringtime_client.exchange import Answer, Call, Ending, T
from ringtime_client.transport import configure, fill, root_of, to_broken
from ringtime_client.tries import Tries
from ringtime_client.views import Callback, CancelResult
from ringtime_shared.api.apps import AppView, NewSigningSecret, SigningSecretView
from ringtime_shared.api.schedules import ScheduleView
from ringtime_shared.arguments import checked
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.retry import RetryRules


class AsyncRingtimeClient(AsyncDeadLetterVerbs):
    """A Ringtime server, over HTTP.

        async with AsyncRingtimeClient("http://127.0.0.1:8080") as client:
            await client.register_app("shop", partitions=4)
            schedule = await client.create_schedule(
                "shop", payload="{}", delay=timedelta(minutes=5),
                callback=HttpCallbackDetails(url="https://example.org/hook"),
            )

    Args:
        url: the server's root, with or without `/goscheduler`.
        deadline: for one call in all: connecting, answer, and for reads the tries after the first.
        headers: sent with every request, say for the gateway in front.

    Proxies of the environment are ignored and redirects are not followed.

    Besides what is said there, each verb raises StoreUnavailable (not done), UnexpectedAnswer, and unless
    it only reads, OutcomeUnknown (there was no answer that says whether it was done). A verb that is
    cancelled while it runs may have been done too.
    """

    @checked
    def __init__(
        self,
        url: str,
        *,
        deadline: timedelta = timedelta(seconds=10),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._root = root_of(url)
        self._deadline_s = deadline.total_seconds()
        self._http = configure(ClientBuilder(), deadline, headers or {}).build()
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; calls under way end with StoreUnavailable or OutcomeUnknown."""
        self._is_closed = True
        await self._http.close()

    async def register_app(
        self,
        app_id: str,
        *,
        partitions: int | None = None,
        active: bool = True,
        configuration: AppConfiguration | None = None,
    ) -> AppView:
        """Register an app, or change state and configuration of one with the same quota.

        Args:
            partitions: its quota of poller instances; None: the server's default.
            configuration: what is None in it, or all of it: the server's defaults.

        Raises InvalidRequest, Conflict.
        """
        return await self._run(
            protocol.register_app(app_id, partitions=partitions, active=active, configuration=configuration)
        )

    async def fetch_apps(self) -> list[AppView]:
        """Return all apps."""
        return await self._run(protocol.fetch_apps())

    async def fetch_app(self, app_id: str) -> AppView:
        """Return one app. Raises InvalidRequest, NotFound."""
        return await self._run(protocol.fetch_app(app_id))

    async def activate_app(self, app_id: str) -> None:
        """Let an app create and fire schedules. Raises InvalidRequest, NotFound, AppActive."""
        await self._run(protocol.set_active(app_id, active=True))

    async def deactivate_app(self, app_id: str) -> None:
        """Stop an app's creates and callbacks. Raises InvalidRequest, NotFound, AppInactive."""
        await self._run(protocol.set_active(app_id, active=False))

    async def delete_app(self, app_id: str, *, cancel_schedules: bool = False) -> None:
        """Delete an app; its ids are not found from then on.

        It is begun when this returns: the app creates and fires nothing, and is gone in some 15 seconds, when
        `fetch_app` raises NotFound. If it is not, because its server died, delete it again. Its own id can
        be registered anew then: an app with nothing of this one.

        Args:
            cancel_schedules: cancel what has not fired; else that is a Conflict.

        Raises InvalidRequest, NotFound, Conflict.
        """
        await self._run(protocol.delete_app(app_id, cancel_schedules=cancel_schedules))

    async def create_signing_secret(self, app_id: str, *, secret: str | None = None) -> NewSigningSecret:
        """Sign the app's callbacks with a further secret, which the server shows this once.

        After OutcomeUnknown there may be one that nobody has seen; the list tells, and it can be deleted.

        Args:
            secret: one of your own, `whsec_` and the base64 of 24 to 64 random bytes; None: one is made.

        Raises InvalidRequest, NotFound (app), Conflict (there are two already, or this one is among them).
        """
        return await self._run(protocol.create_signing_secret(app_id, secret=secret))

    async def list_signing_secrets(self, app_id: str) -> list[SigningSecretView]:
        """Return the live signing secrets, newest first, without the secrets themselves.

        Raises InvalidRequest, NotFound (app).
        """
        return await self._run(protocol.list_signing_secrets(app_id))

    async def delete_signing_secret(self, app_id: str, secret_id: str) -> None:
        """Sign with this secret no more. Raises InvalidRequest, NotFound (app or secret), VersionConflict."""
        await self._run(protocol.delete_signing_secret(app_id, secret_id))

    async def create_schedule(
        self,
        app_id: str,
        *,
        payload: str,
        callback: Callback,
        at: datetime | None = None,
        delay: timedelta | None = None,
        retry: RetryRules | None = None,
    ) -> ScheduleView:
        """File a schedule; when this returns, it will fire.

        It is sent once and never again, whatever happens: the API has no idempotency key yet, so a second
        create would be a second schedule. After OutcomeUnknown the schedule may exist under an id that
        nobody was told; whether to create another is for the caller to decide.

        Args:
            callback: HttpCallbackDetails, or `{"type": name, "details": {...}}` for any type.
            at: the instant to fire at, timezone-aware; or
            delay: how long from the server's now.
            retry: where it differs from the app's policy; no more attempts and no longer time.

        Raises InvalidRequest, NotFound (app), AppInactive.
        """
        return await self._run(
            protocol.create_schedule(
                app_id, payload=payload, at=at, delay=delay, callback=callback, retry=retry
            )
        )

    async def get_schedule(self, schedule_id: UUID | str) -> ScheduleView:
        """Return a schedule with its status and outcome. Raises InvalidRequest, NotFound."""
        return await self._run(protocol.fetch_schedule(schedule_id))

    async def cancel_schedule(self, schedule_id: UUID | str) -> CancelResult:
        """Cancel a schedule; cancelling twice is no error. Raises InvalidRequest, NotFound, AlreadyDone."""
        return await self._run(protocol.cancel_schedule(schedule_id))

    async def _run(self, call: Call[T]) -> T:
        if self._is_closed:
            raise RuntimeError("the client is closed")
        tries = Tries(is_read=call.is_read, deadline_s=self._deadline_s)
        ending = await self._send(call, tries.left_s())
        while (wait_s := tries.plan_wait(ending)) is not None:
            await asyncio.sleep(wait_s)
            ending = await self._send(call, tries.left_s())
        return settle(call, ending)

    async def _send(self, call: Call[T], left_s: float) -> Ending:
        request = fill(self._http.request(call.method, self._root + call.path), call, left_s).build()
        try:
            response = await request.send()
            body = (await response.bytes()).to_bytes()
        except PyreqwestError as error:
            return to_broken(error)
        return Answer(http=response.status, body=body, retry_after=response.get_header("retry-after"))
