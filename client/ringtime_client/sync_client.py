"""The client for code without asyncio; `AsyncRingtimeClient` is the same with."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self
from uuid import UUID

from pyreqwest.client import SyncClientBuilder
from pyreqwest.exceptions import PyreqwestError

from ringtime_client import protocol
from ringtime_client.answers import settle
from ringtime_client.dead_letter_verbs import DeadLetterVerbs
from ringtime_client.exchange import Answer, Call, Ending, T
from ringtime_client.transport import configure, fill, root_of, to_broken
from ringtime_client.tries import Tries
from ringtime_client.views import Callback, CancelResult
from ringtime_shared.api.apps import AppView, NewSigningSecret, SigningSecretView
from ringtime_shared.api.schedules import ScheduleView
from ringtime_shared.arguments import checked
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.retry import RetryRules


class RingtimeClient(DeadLetterVerbs):
    """A Ringtime server, over HTTP; one client may serve many threads.

        with RingtimeClient("http://127.0.0.1:8080") as client:
            schedule = client.create_schedule(
                "shop", payload="{}", delay=timedelta(minutes=5),
                callback=HttpCallbackDetails(url="https://example.org/hook"),
            )

    Arguments, verbs and errors are those of `AsyncRingtimeClient`.
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
        self._http = configure(SyncClientBuilder(), deadline, headers or {}).build()
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; calls under way end with StoreUnavailable or OutcomeUnknown."""
        self._is_closed = True
        self._http.close()

    def register_app(
        self,
        app_id: str,
        *,
        partitions: int | None = None,
        active: bool = True,
        configuration: AppConfiguration | None = None,
    ) -> AppView:
        """Register an app, or change state and configuration of one with the same quota.

        Raises InvalidRequest, Conflict.
        """
        return self._run(
            protocol.register_app(app_id, partitions=partitions, active=active, configuration=configuration)
        )

    def fetch_apps(self) -> list[AppView]:
        """Return all apps."""
        return self._run(protocol.fetch_apps())

    def fetch_app(self, app_id: str) -> AppView:
        """Return one app. Raises InvalidRequest, NotFound."""
        return self._run(protocol.fetch_app(app_id))

    def activate_app(self, app_id: str) -> None:
        """Let an app create and fire schedules. Raises InvalidRequest, NotFound, AppActive."""
        self._run(protocol.set_active(app_id, active=True))

    def deactivate_app(self, app_id: str) -> None:
        """Stop an app's creates and callbacks. Raises InvalidRequest, NotFound, AppInactive."""
        self._run(protocol.set_active(app_id, active=False))

    def delete_app(self, app_id: str, *, cancel_schedules: bool = False) -> None:
        """Delete an app, which takes some 15 seconds from here (see `AsyncRingtimeClient.delete_app`).

        Raises InvalidRequest, NotFound, Conflict.
        """
        self._run(protocol.delete_app(app_id, cancel_schedules=cancel_schedules))

    def create_signing_secret(self, app_id: str, *, secret: str | None = None) -> NewSigningSecret:
        """Sign the app's callbacks with a further secret, which the server shows this once.

        Raises InvalidRequest, NotFound (app), Conflict (there are two already, or this one is among them).
        """
        return self._run(protocol.create_signing_secret(app_id, secret=secret))

    def list_signing_secrets(self, app_id: str) -> list[SigningSecretView]:
        """Return the live signing secrets, newest first, without the secrets themselves.

        Raises InvalidRequest, NotFound (app).
        """
        return self._run(protocol.list_signing_secrets(app_id))

    def delete_signing_secret(self, app_id: str, secret_id: str) -> None:
        """Sign with this secret no more. Raises InvalidRequest, NotFound (app or secret), VersionConflict."""
        self._run(protocol.delete_signing_secret(app_id, secret_id))

    def create_schedule(
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

        It is sent once and never again, whatever happens: the API has no idempotency key yet (see
        `AsyncRingtimeClient.create_schedule`).

        Raises InvalidRequest, NotFound (app), AppInactive.
        """
        return self._run(
            protocol.create_schedule(
                app_id, payload=payload, at=at, delay=delay, callback=callback, retry=retry
            )
        )

    def get_schedule(self, schedule_id: UUID | str) -> ScheduleView:
        """Return a schedule with its status and outcome. Raises InvalidRequest, NotFound."""
        return self._run(protocol.fetch_schedule(schedule_id))

    def cancel_schedule(self, schedule_id: UUID | str) -> CancelResult:
        """Cancel a schedule; cancelling twice is no error. Raises InvalidRequest, NotFound, AlreadyDone."""
        return self._run(protocol.cancel_schedule(schedule_id))

    def _run(self, call: Call[T]) -> T:
        if self._is_closed:
            raise RuntimeError("the client is closed")
        tries = Tries(is_read=call.is_read, deadline_s=self._deadline_s)
        ending = self._send(call, tries.left_s())
        while (wait_s := tries.plan_wait(ending)) is not None:
            time.sleep(wait_s)
            ending = self._send(call, tries.left_s())
        return settle(call, ending)

    def _send(self, call: Call[T], left_s: float) -> Ending:
        request = fill(self._http.request(call.method, self._root + call.path), call, left_s).build()
        try:
            response = request.send()
            body = response.bytes().to_bytes()
        except PyreqwestError as error:
            return to_broken(error)
        return Answer(http=response.status, body=body, retry_after=response.get_header("retry-after"))
