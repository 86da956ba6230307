"""Ringtime inside your own program: schedules in a folder, callbacks as functions or HTTP requests."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast
from uuid import UUID

from ringtime.calendars import CalendarVerbs
from ringtime.fires import FireVerbs
from ringtime.instants import to_ms
from ringtime.jobs import JobVerbs
from ringtime.operating import OperatingVerbs
from ringtime.recurring import RecurringVerbs, details_of, ms_of, payload_of
from ringtime.runtime import Runtime, run
from ringtime.stepped_clock import LIMIT_S, TestClock
from ringtime_client import Callback, NewSchedule
from ringtime_client.recurring import plain_id
from ringtime_client.views import naming_item, to_new_schedule
from ringtime_ingest.service import Cancellation, IngestService, Kept, NewApp
from ringtime_ingest.service import NewSchedule as Request
from ringtime_ingest.service.audit import AuditPage, AuditQuery
from ringtime_ingest.service.dead_letters import IN_LIBRARY, LetterPage, LetterQuery, ReplayReport
from ringtime_ingest.service.listing import ListQuery, SchedulePage
from ringtime_ingest.service.replay import Replay
from ringtime_ingest.service.requests import NOW, ScheduleChange
from ringtime_shared.api.apps import SigningSecretView, secret_to_json
from ringtime_shared.api.audit import LIST_SIZE as AUDIT_SIZE
from ringtime_shared.api.dead_letters import LIST_SIZE as LETTERS_SIZE
from ringtime_shared.api.dead_letters import MAX_SIZE
from ringtime_shared.api.ids import check_name
from ringtime_shared.api.schedules import LIST_SIZE
from ringtime_shared.api.views import read
from ringtime_shared.arguments import Instant, checked
from ringtime_shared.auditing import asked_of_library
from ringtime_shared.callbacks.plugins import NAME_RULE, is_name
from ringtime_shared.callbacks.protocol import CallbackType, Delivery, Reply
from ringtime_shared.errors import InvalidRequest, Violation
from ringtime_shared.models.app import App, AppConfiguration, SigningKind, SigningSecret, kind_of
from ringtime_shared.models.hooks import Hooks
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import Row, Status
from ringtime_shared.models.sending import Priority, Sending
from ringtime_shared.schedules.row_filter import RowFilter, labels_of
from ringtime_shared.settings import Settings, check_settings, load_settings

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


class Ringtime(RecurringVerbs, JobVerbs, FireVerbs, CalendarVerbs, OperatingVerbs):
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
        clock: for tests, without a folder: one that stands still but for `advance`.

    Entering it raises StartupError when the folder is in use by another server.
    """

    @checked
    def __init__(
        self,
        data: Path | str | None = None,
        *,
        settings: Settings | None = None,
        clock: TestClock | None = None,
    ) -> None:
        settings = settings or Settings()
        folder = str(data) if data is not None else settings.embedded.data
        self._settings = check_settings(replace(settings, embedded=replace(settings.embedded, data=folder)))
        self._clock = clock
        self._callbacks: dict[str, CallbackType] = {}
        self._stack = AsyncExitStack()
        self._runtime: Runtime | None = None

    @classmethod
    @checked
    def from_config(cls, path: Path | str) -> Self:
        """Return a scheduler with the settings of a file, TOML or JSON, and of the environment, as `serve`
        reads them. Raises SettingsError, which tells everything that is wrong with them."""
        return cls(settings=load_settings(Path(path), os.environ))

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
        self._runtime = await self._stack.enter_async_context(
            run(self._settings, callbacks=self._callbacks, clock=self._clock)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runtime = None
        await self._stack.aclose()

    @checked
    @asked_of_library("apps create")
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

    async def list_apps(self) -> list[App]:
        """Return all apps by id."""
        return await self._running.service.fetch_apps(None)

    @checked
    async def get_app(self, app_id: str) -> App:
        """Return one app. Raises NotFound."""
        (app,) = await self._running.service.fetch_apps(app_id)
        return app

    @checked
    @asked_of_library("apps configure")
    async def configure_app(self, app_id: str, *, configuration: AppConfiguration) -> App:
        """Set an app's configuration; what is None in it: the defaults.

        Raises InvalidRequest, NotFound, Conflict.
        """
        return await self._running.service.configure_app(app_id, configuration, merges=False)

    @checked
    @asked_of_library("apps activate")
    async def activate_app(self, app_id: str) -> App:
        """Let an app create and fire schedules. Raises NotFound, AppActive."""
        return await self._running.service.set_active(app_id, True)

    @checked
    @asked_of_library("apps deactivate")
    async def deactivate_app(self, app_id: str) -> App:
        """Stop an app's creates and callbacks. Raises NotFound, AppInactive."""
        return await self._running.service.set_active(app_id, False)

    @checked
    @asked_of_library("apps delete")
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
    @asked_of_library("signing-secrets create")
    async def create_signing_secret(
        self, app_id: str, *, secret: str | None = None, kind: SigningKind = SigningKind.HMAC
    ) -> SigningSecret:
        """Sign the app's HTTP callbacks with a further secret; at most two of a kind are live at a time.

        Args:
            secret: one of your own, `whsec_` and the base64 of 24 to 64 random bytes; None: one is made.
            kind: `ed25519` makes a key pair; `list_signing_keys` shows its public key.

        Raises InvalidRequest, NotFound (app), Conflict (there are two of the kind already, or this one is
        among them).
        """
        return await self._running.service.signing.create(app_id, secret, kind)

    @checked
    async def list_signing_secrets(self, app_id: str) -> list[SigningSecret]:
        """Return the live signing secrets, newest first. Raises NotFound (app)."""
        return list(await self._running.service.signing.fetch(app_id))

    @checked
    async def list_signing_keys(self, app_id: str) -> list[SigningSecretView]:
        """Return the live Ed25519 keys with their public keys, newest first. Raises NotFound (app)."""
        live = await self._running.service.signing.fetch(app_id)
        return [
            read(SigningSecretView, secret_to_json(each))
            for each in live
            if kind_of(each) is SigningKind.ED25519
        ]

    @checked
    @asked_of_library("signing-secrets delete")
    async def delete_signing_secret(self, app_id: str, secret_id: str) -> None:
        """Sign with this secret no more. Raises InvalidRequest, NotFound (app or secret)."""
        await self._running.service.signing.delete(app_id, secret_id)

    @checked
    async def create_schedule(
        self,
        app_id: str,
        *,
        payload: str | bytes,
        callback: Callback,
        at: Instant | None = None,
        delay: timedelta | None = None,
        retry: RetryRules | None = None,
        labels: Mapping[str, str] | None = None,
        idempotency_key: str = "",
        timeout: timedelta | None = None,
        priority: Priority | None = None,
        hooks: Hooks | None = None,
    ) -> Row:
        """File a schedule; when this returns, it will fire. Called again with the same key, also in a later
        process, it returns the one that there is, as it is then.

        Args:
            payload: text, or bytes, which are sent as they are.
            callback: HttpCallbackDetails, or `{"type": name, "details": {...}}` for any type.
            at: the instant to fire at, timezone-aware or in epoch seconds; or
            delay: how long from now.
            retry: where it differs from the app's policy; no more attempts and no longer time.
            labels: up to 16 keys and values to find it by in lists.
            idempotency_key: what this create and its repetitions have in common; it holds for 24 hours, or
                `settings.ingest.idempotency_hours`.
            timeout: of one attempt, instead of the app's.
            priority: among the app's callbacks to one destination, when they have to wait.
            hooks: who is told how it ended, instead of the app's; `make_hooks` makes them.

        Raises InvalidRequest, NotFound (app), AppInactive, StoreUnavailable, OutcomeUnknown, KeyReused (the
        key is another create's), InFlight.
        """
        return await self._running.service.create_schedule(
            _to_request(
                app_id, payload, callback, at, delay, retry, labels, idempotency_key, timeout, priority, hooks
            )
        )

    @checked
    async def create_schedules(
        self, schedules: Sequence[NewSchedule | Mapping[str, Any]]
    ) -> list[Row | Exception]:
        """File 1 to 1,000 schedules, of any apps; return for each, in order, its row or why there is none.

        A bad one sinks no other. An OutcomeUnknown among the results may exist and fire; the other errors
        mean that nothing came of the item.

        Args:
            schedules: each a NewSchedule, or a mapping with its fields.

        Raises InvalidRequest for what is of the wrong type, of whichever item, and StoreUnavailable if there
        is no room for so many; then none was filed.
        """
        asked: list[Request | Exception] = []
        for n, each in enumerate(schedules):
            new = to_new_schedule(n, each)
            with naming_item(n):
                asked.append(
                    _to_request(
                        new.app_id,
                        new.payload,
                        new.callback,
                        new.at,
                        new.delay,
                        new.retry,
                        new.labels,
                        new.idempotency_key,
                        new.timeout,
                        new.priority,
                        new.hooks,
                    )
                )
        results = await self._running.service.batches.create(asked)
        return [each.row if isinstance(each, Kept) else each for each in results]

    @checked
    async def get_schedule(self, schedule_id: UUID | str) -> Row:
        """Return a schedule with its status and outcome. Raises InvalidRequest, NotFound."""
        plain_id(schedule_id)
        return await self._running.service.fetch_schedule(cast(UUID, schedule_id))

    @checked
    async def put_schedule(
        self,
        app_id: str,
        name: str,
        *,
        payload: str | bytes,
        callback: Callback,
        at: Instant | None = None,
        delay: timedelta | None = None,
        retry: RetryRules | None = None,
        labels: Mapping[str, str] | None = None,
        timeout: timedelta | None = None,
        priority: Priority | None = None,
        hooks: Hooks | None = None,
    ) -> Row:
        """File a schedule under a name of your own, or make the one that is pending there what is asked for.

        The name is free again once its schedule has ended or was cancelled.

        Args:
            name: 1 to 128 letters, digits, `_`, `.` and `-`; unique in the app.
            Others: as of `create_schedule`.

        Raises InvalidRequest, NotFound (app), AppInactive, NotChangeable (the pending one is due within a
        second, or was tried), VersionConflict, Conflict (others put it at the same moment), InFlight,
        StoreUnavailable, OutcomeUnknown.
        """
        _check_name(name)
        new = _to_request(app_id, payload, callback, at, delay, retry, labels, "", timeout, priority, hooks)
        return (await self._running.service.named.put(replace(new, name=name))).row

    @checked
    async def get_named_schedule(self, app_id: str, name: str) -> Row:
        """Return the schedule that was put under a name last, for as long as it is kept. Raises
        InvalidRequest, NotFound."""
        _check_name(name)
        return await self.get_schedule(await self._running.service.named.fetch(app_id, name))

    @checked
    async def cancel_named_schedule(self, app_id: str, name: str) -> Cancellation:
        """Cancel the schedule that was put under a name last; the name is free then. Raises InvalidRequest,
        NotFound, AlreadyDone."""
        _check_name(name)
        return await self.cancel_schedule(await self._running.service.named.fetch(app_id, name))

    @checked
    async def patch_schedule(
        self,
        schedule_id: UUID | str,
        *,
        at: Instant | None = None,
        delay: timedelta | None = None,
        payload: str | bytes | None = None,
        callback: Callback | None = None,
        retry: RetryRules | None = None,
        labels: Mapping[str, str] | None = None,
        timeout: timedelta | None = None,
        priority: Priority | None = None,
        hooks: Hooks | None = None,
    ) -> Row:
        """Change a schedule that is not sent yet; what is None stays. What was to be sent before is not sent.

        Args:
            at: another instant to fire at, timezone-aware; or
            delay: how long from now.
            payload, callback, retry, labels, timeout, priority, hooks: as `create_schedule` takes them.

        Raises InvalidRequest, NotFound, NotChangeable (it is over, is due within a second, or is a run),
        VersionConflict (others changed it at the same moment), AppInactive, OutcomeUnknown.
        """
        plain_id(schedule_id)
        kind, details = (None, None) if callback is None else details_of(callback)
        return await self._running.service.change_schedule(
            cast(UUID, schedule_id),
            ScheduleChange(
                fire_ms=to_ms("at", at),
                delay_ms=None if delay is None else -(-delay // timedelta(milliseconds=1)),
                payload=None if payload is None else payload_of(payload),
                is_base64=None if payload is None else isinstance(payload, bytes),
                timeout_ms=ms_of(timeout),
                priority=priority,
                hooks=hooks,
                callback_type=kind,
                callback_details=details,
                retry=retry,
                labels=None if labels is None else labels_of(labels),
            ),
        )

    @checked
    async def trigger_schedule(self, schedule_id: UUID | str) -> Row:
        """Send a schedule now instead of at its time. Raises as `patch_schedule` does."""
        plain_id(schedule_id)
        return await self._running.service.change_schedule(cast(UUID, schedule_id), NOW)

    @checked
    async def cancel_schedule(self, schedule_id: UUID | str) -> Cancellation:
        """Cancel a schedule. Raises InvalidRequest, NotFound, AlreadyDone."""
        plain_id(schedule_id)
        return await self._running.service.cancel_schedule(cast(UUID, schedule_id))

    @checked
    async def cancel_schedules(self, schedule_ids: Sequence[UUID | str]) -> list[Cancellation | Exception]:
        """Cancel 1 to 1,000 schedules; return for each, in order, what became of it: the errors are those
        that `cancel_schedule` raises. Raises InvalidRequest."""
        return await self._running.service.batches.cancel(cast(Sequence[UUID], schedule_ids))

    @checked
    async def list_schedules(
        self,
        app_id: str,
        *,
        start: Instant | None = None,
        end: Instant | None = None,
        status: Status | None = None,
        labels: Mapping[str, str] | None = None,
        name_prefix: str = "",
        host: str = "",
        late_by: timedelta | None = None,
        size: int = LIST_SIZE,
        token: str = "",
    ) -> SchedulePage:
        """Return a page of an app's schedules by fire time, those that have ended among them.

        Args:
            start: from those due at this instant on; None: an hour before `end`.
            end: up to before this instant; None: an hour after `start` if that is given, else now. At most 31
                days after `start`.
            status: only these.
            labels: only schedules that have these, and perhaps others.
            name_prefix: only those whose name begins so.
            host: only those whose callback goes to this host.
            late_by: only those sent, or missed, so late, or later.
            size: most schedules on the page, 1 to 1,000.
            token: the one of the page before; "": the first page.

        Raises InvalidRequest, NotFound (app).
        """
        return await self._running.service.listing.fetch(
            ListQuery(
                app_id=app_id,
                start_ms=to_ms("start", start),
                end_ms=to_ms("end", end),
                only=RowFilter(
                    status=status,
                    labels=labels_of(labels),
                    name_prefix=name_prefix,
                    host=host,
                    late_by_ms=None if late_by is None else late_by // timedelta(milliseconds=1),
                ),
                size=size,
                token=token,
            )
        )

    @checked
    async def list_dead_letters(
        self,
        app_id: str,
        *,
        start: Instant | None = None,
        end: Instant | None = None,
        size: int = LETTERS_SIZE,
        token: str = "",
        replayed: bool | None = False,
    ) -> LetterPage:
        """Return a page of an app's dead letters, oldest first.

        Args:
            start: from the last attempt at this instant on; None: a day before `end`.
            end: up to this instant; None: now. At most 31 days after `start`.
            size: most letters on the page, 1 to 1,000.
            token: the one of the page before; "": the first page.
            replayed: True: only those that were filed again; False: only the others; None: all.

        Raises InvalidRequest, NotFound (app).
        """
        return await self._running.service.dead_letters.fetch(
            _query(app_id, start, end, size, token, replayed)
        )

    @checked
    async def list_audit(
        self,
        app_id: str | None = None,
        *,
        start: Instant | None = None,
        end: Instant | None = None,
        size: int = AUDIT_SIZE,
        token: str = "",
        actor: str = "",
        action: str = "",
    ) -> AuditPage:
        """Return a page of the audit log, newest first: who changed what.

        Args:
            app_id: of this app alone; None: of all, and of the deployment.
            start: from this instant on; None: 30 days before `end`.
            end: up to this instant; None: now. At most 400 days after `start`.
            size: most entries on the page, 1 to 1,000.
            token: the one of the page before; "": the first page.
            actor: only changes by this one.
            action: only actions that begin so, `apps` or `apps configure`.

        Raises InvalidRequest, NotFound (app).
        """
        return await self._running.service.audit.fetch(
            AuditQuery(
                app_id=app_id or "",
                start_ms=to_ms("start", start),
                end_ms=to_ms("end", end),
                size=size,
                token=token,
                actor=actor,
                action=action,
            )
        )

    @checked
    async def count_dead_letters(
        self, app_id: str, *, start: Instant | None = None, end: Instant | None = None
    ) -> int:
        """Return how many were not filed again. Raises InvalidRequest, NotFound (app)."""
        return await self._running.service.dead_letters.count(_query(app_id, start, end))

    @checked
    @asked_of_library("deadletters replay")
    async def replay_schedule(self, schedule_id: UUID | str) -> Replay:
        """File a failed schedule again, under its own id.

        Raises NotFound, NotReplayable (it has not failed, or was cancelled), AppInactive.
        """
        return await self._running.service.dead_letters.replay(cast(UUID, schedule_id))

    @checked
    @asked_of_library("deadletters replay")
    async def replay_dead_letters(
        self,
        app_id: str,
        *,
        schedule_ids: Sequence[UUID | str] | None = None,
        start: Instant | None = None,
        end: Instant | None = None,
        size: int | None = None,
        token: str = "",
    ) -> ReplayReport:
        """File many failed schedules again, 200 a second; calling it twice delivers none twice.

        Args:
            schedule_ids: these, at most 1,000; or
            start, end, size, token: those of a range, as in `list_dead_letters`; `size` is 1,000 if None.

        Raises InvalidRequest, NotFound (app), AppInactive.
        """
        if schedule_ids is None:
            asked = _query(app_id, start, end, MAX_SIZE if size is None else size, token)
            return await self._running.service.dead_letters.replay_range(asked)
        if (start, end, size) != (None, None, None) or token:
            raise InvalidRequest.of("schedule_ids", "give either schedule_ids or a range, not both")
        return await self._running.service.dead_letters.replay_ids(
            app_id, cast(Sequence[UUID], schedule_ids), IN_LIBRARY
        )

    @checked
    async def advance(self, by: timedelta, *, limit: timedelta = timedelta(seconds=LIMIT_S)) -> datetime:
        """Let time go by on a test clock; return what time it is then.

        All that comes due is delivered meanwhile, each at its own time and in its order, and has its outcome.

        Args:
            by: up to 366 days.
            limit: of real time, up to an hour.

        Raises InvalidRequest, and TimeoutError if something due has no outcome when the limit is over.
        """
        stepper = self._running.stepper
        if stepper is None:
            raise RuntimeError("only time on a test clock can be advanced: Ringtime(clock=TestClock())")
        is_done = await stepper.advance(-(-by // timedelta(milliseconds=1)), limit.total_seconds())
        now = datetime.fromtimestamp(stepper.now_ms() / 1_000, UTC)
        if not is_done:
            raise TimeoutError(f"not all that is due at {now} has its outcome")
        return now

    @checked
    async def serve_http(self, *, port: int | None = None, host: str | None = None) -> str:
        """Serve the HTTP API from now until Ringtime is left, beside what the program does; return where. Who
        may use it is as with `ringtime serve`: beyond a loopback address requests need an API key.

        Args:
            port: 0 takes a free one; None: `server.port` of the settings.
            host: the address to listen on; None: `server.host`.

        Raises InvalidRequest, and StartupError if the port is taken, or if others could reach the API
        unguarded (`access.gateway`).
        """
        # Here, for a program that serves nothing does without a server.
        from ringtime.serve import make_http_app, needs_keys
        from ringtime_shared.access import KeyChecks
        from ringtime_shared.http_server import listen, serve_http

        given: dict[str, Any] = {} if port is None else {"port": port}
        given |= {} if host is None else {"host": host}
        settings = check_settings(replace(self._settings, server=replace(self._settings.server, **given)))
        server = settings.server
        keys = KeyChecks(self._running.store, self._running.clock) if needs_keys(settings) else None
        if keys is not None:
            self._stack.push_async_callback(keys.close)
        app = make_http_app(self._running, server, keys)
        listener = self._stack.enter_context(listen(server))
        stop = asyncio.Event()
        serving = asyncio.create_task(serve_http(app, server, listener, stop), name="http beside the library")

        async def end() -> None:
            stop.set()
            await serving

        self._stack.push_async_callback(end)
        at, bound = listener.getsockname()[:2]
        return f"{server.scheme}://{f'[{at}]' if ':' in at else at}:{bound}/goscheduler"

    @property
    def _service(self) -> IngestService:
        return self._running.service

    @property
    def _running(self) -> Runtime:
        if self._runtime is None:
            raise RuntimeError("use Ringtime inside `async with`")
        return self._runtime


def _check_name(name: str) -> None:
    if violations := check_name(name):
        raise InvalidRequest(violations)


def _to_request(
    app_id: str,
    payload: str | bytes,
    callback: Callback,
    at: Instant | None,
    delay: timedelta | None,
    retry: RetryRules | None,
    labels: Mapping[str, str] | None,
    idempotency_key: str,
    timeout: timedelta | None,
    priority: Priority | None,
    hooks: Hooks | None,
) -> Request:
    kind, details = details_of(callback)
    sending = Sending(
        is_base64=isinstance(payload, bytes),
        timeout_ms=ms_of(timeout),
        priority=priority or Priority.NORMAL,
        hooks=hooks,
    )
    return Request(
        app_id=app_id,
        payload=payload_of(payload),
        sending=None if sending == Sending() else sending,
        fire_ms=to_ms("at", at),
        delay_ms=None if delay is None else -(-delay // timedelta(milliseconds=1)),
        callback_type=kind,
        callback_details=details,
        retry=retry,
        labels=labels_of(labels),
        idempotency_key=idempotency_key,
    )


def _query(
    app_id: str,
    start: Instant | None,
    end: Instant | None,
    size: int = LETTERS_SIZE,
    token: str = "",
    replayed: bool | None = False,
) -> LetterQuery:
    return LetterQuery(
        app_id=app_id,
        start_ms=to_ms("start", start),
        end_ms=to_ms("end", end),
        size=size,
        token=token,
        replayed=replayed,
        names=IN_LIBRARY,
    )
