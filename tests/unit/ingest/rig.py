"""An ASGI client of thirty lines, a service in memory, and bodies to send."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast
from urllib.parse import unquote
from uuid import UUID

import orjson
from starlette.types import ASGIApp, Message

from ringtime_ingest.http import create_app
from ringtime_ingest.service import Cancellation, NewApp, NewSchedule, Offer
from ringtime_ingest.service.apps import AppMaps
from ringtime_ingest.service.commit import CommitPath
from ringtime_ingest.service.dead_letters import DeadLetters
from ringtime_ingest.service.replay import Replayer
from ringtime_ingest.service.requests import CallbackRule, check_new_app, check_new_schedule
from ringtime_ingest.service.signing import SigningSecrets
from ringtime_shared.app_states import begin_deletion
from ringtime_shared.callbacks.http_rules import check_http_details
from ringtime_shared.clock import ManualClock
from ringtime_shared.errors import AlreadyDone, AppActive, AppInactive, Conflict, InvalidRequest, NotFound
from ringtime_shared.ids import IdMint, Kind
from ringtime_shared.models.app import App
from ringtime_shared.models.schedule import Place, Row, Schedule
from ringtime_shared.placement import Placer
from ringtime_shared.settings import AppLimits, IngestSettings, ServerSettings
from ringtime_shared.stores.memory import MemoryStore

NOW_MS = 1_800_000_000_250
NOW_S = NOW_MS // 1_000
HTTP_RULES: Mapping[str, CallbackRule] = {"http": lambda details, app_id: check_http_details(details)}


class FakeAppStore:
    """What signing secrets need of a store, on the apps of a `FakeService`."""

    def __init__(self, service: FakeService) -> None:
        self._service = service

    async def fetch_app(self, app_id: str) -> App | None:
        if self._service.failure is not None:
            raise self._service.failure
        return self._service.apps.get(app_id)

    async def replace_app(self, app: App) -> None:
        self._service.apps[app.app_id] = app


class FakeLetterStore(MemoryStore):
    """What dead letters need of a store: rows and letters of its own, the apps of a `FakeService`."""

    def __init__(self, service: FakeService) -> None:
        super().__init__(service.clock.now_ms)
        self.fetch_app = FakeAppStore(service).fetch_app  # type: ignore[method-assign]


class FakeService:
    """Keeps everything in dictionaries; `failure` is raised by the next calls instead."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.limits = AppLimits()
        self.offer = Offer(self.limits, ["http"])
        self.apps: dict[str, App] = {}
        self.rows: dict[UUID, Row] = {}
        self.failure: Exception | None = None
        self.signing = SigningSecrets(cast(Any, FakeAppStore(self)), clock)
        self._mint = IdMint(1)
        self.letters = FakeLetterStore(self)
        self.dead_letters = self._make_desk()

    def _make_desk(self) -> DeadLetters:
        apps, placer, settings = AppMaps(self.letters, self.clock), Placer(), IngestSettings()
        commit = CommitPath(self.letters, apps, placer, self.clock, settings)
        replayer = Replayer(self.letters, commit, placer, self.clock, settings.commit_margin_ms)
        return DeadLetters(self.letters, apps, replayer, self.clock, self.fetch_schedule)

    async def register_app(self, new: NewApp) -> App:
        self._check(check_new_app(new, self.limits))
        stored = self.apps.get(new.app_id)
        if stored is not None:
            if new.partitions not in (None, stored.writable):
                raise Conflict(f"app {new.app_id} has {stored.writable} partitions")
            self.apps[new.app_id] = replace(stored, active=new.active, configuration=new.configuration)
            return self.apps[new.app_id]
        quota = new.partitions or self.limits.partitions
        app = App(
            app_id=new.app_id,
            number=len(self.apps),
            writable=quota,
            polled=quota,
            active=new.active,
            version=1,
            created_ms=self.clock.now_ms(),
            configuration=new.configuration,
        )
        self.apps[new.app_id] = app
        return app

    async def fetch_apps(self, app_id: str | None) -> list[App]:
        self._check([])
        if app_id is None:
            return list(self.apps.values())
        return [self._app(app_id)]

    async def set_active(self, app_id: str, active: bool) -> App:
        self._check([])
        app = self._app(app_id)
        if app.active == active:
            raise (AppActive if active else AppInactive)(f"app {app_id} is so already")
        self.apps[app_id] = replace(app, active=active)
        return self.apps[app_id]

    async def delete_app(self, app_id: str, *, cancel_schedules: bool) -> App:
        self._check([])
        app = begin_deletion(self._app(app_id), cancels=cancel_schedules, now_ms=self.clock.now_ms())
        self.apps[app_id] = app
        return app

    async def create_schedule(self, new: NewSchedule) -> Row:
        app = self._app(new.app_id)
        if not app.active:
            raise AppInactive(f"app {new.app_id} is deactivated")
        now_ms = self.clock.now_ms()
        self._check(check_new_schedule(new, app, self.limits, now_ms, HTTP_RULES))
        fire_ms = now_ms + (new.delay_ms or 0) if new.fire_ms is None else new.fire_ms
        slot_ms = max(fire_ms, now_ms + 600)
        schedule = Schedule(
            schedule_id=self._mint.mint(
                slot_ms=slot_ms, kind=Kind.ONE_TIME, partition=4, app_number=app.number
            ),
            app_id=app.app_id,
            fire_ms=fire_ms,
            payload=new.payload,
            callback_type=new.callback_type,
            callback_details=orjson.dumps(new.callback_details),
            created_ms=now_ms,
            expires_ms=slot_ms + 86_400_000,
        )
        row = Row(schedule=schedule, place=Place(app.app_id, 4, slot_ms))
        self.rows[schedule.schedule_id] = row
        return row

    async def fetch_schedule(self, schedule_id: UUID) -> Row:
        self._check([])
        if schedule_id not in self.rows:
            raise NotFound("schedule", str(schedule_id))
        return self.rows[schedule_id]

    async def cancel_schedule(self, schedule_id: UUID) -> Cancellation:
        row = await self.fetch_schedule(schedule_id)
        if row.outcome is not None:
            raise AlreadyDone(str(schedule_id), row.outcome.status)
        row = self.rows[schedule_id] = replace(row, cancelled_ms=self.clock.now_ms())
        return Cancellation(row, self.clock.now_ms() < row.place.slot_ms - 1_000)

    def _app(self, app_id: str) -> App:
        if app_id not in self.apps:
            raise NotFound("app", app_id)
        return self.apps[app_id]

    def _check(self, violations: list[Any]) -> None:
        if self.failure is not None:
            raise self.failure
        if violations:
            raise InvalidRequest(violations)


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Speaks ASGI to one application."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def call(
        self,
        method: str,
        target: str,
        body: object = b"",
        *,
        headers: Iterable[tuple[str, str]] = (),
        chunks: Sequence[bytes] | None = None,
        stall: bool = False,
    ) -> Reply:
        """Send a request; `body` is bytes or becomes JSON; `stall`: the last chunk never comes."""
        path, _, query = target.partition("?")
        parts = chunks if chunks is not None else [body if isinstance(body, bytes) else dumps(body)]
        left = list(parts)
        scope = {
            "type": "http",
            "method": method,
            "path": unquote(path),
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
            "scheme": "http",
            "server": ("127.0.0.1", 8080),
        }
        sent: list[Message] = []

        async def receive() -> Message:
            if stall and not left:
                await asyncio.sleep(60)
            chunk = left.pop(0) if left else b""
            return {"type": "http.request", "body": chunk, "more_body": bool(left) or stall}

        async def send(message: Message) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        start = sent[0]
        names = {name.decode(): value.decode() for name, value in start["headers"]}
        return Reply(start["status"], names, b"".join(message.get("body", b"") for message in sent[1:]))


@dataclass(frozen=True, slots=True)
class Rig:
    client: Client
    service: FakeService
    clock: ManualClock


def make_rig(settings: ServerSettings | None = None) -> Rig:
    """Return a client of an application whose service knows the app `test` and the inactive `idle`."""
    clock = ManualClock(NOW_MS)
    service = FakeService(clock)
    for number, (app_id, active) in enumerate((("test", True), ("idle", False))):
        service.apps[app_id] = App(
            app_id=app_id, number=number, writable=5, polled=5, active=active, version=1, created_ms=NOW_MS
        )

    async def ready() -> None:
        if service.failure is not None:
            raise service.failure

    return Rig(Client(create_app(service, settings or ServerSettings(), ready)), service, clock)


def dumps(body: object) -> bytes:
    return json.dumps(body).encode()


def http_callback(**details: object) -> dict[str, Any]:
    given: dict[str, object] = {"url": "http://127.0.0.1:8080/goscheduler/healthcheck", "method": "GET"}
    return {"type": "http", "details": given | details}


def schedule_body(**changes: object) -> dict[str, Any]:
    """Return a good create, with some keys changed, or dropped when the change is `...`."""
    body: dict[str, object] = {
        "appId": "test",
        "payload": "{}",
        "scheduleTime": NOW_S + 60,
        "callback": http_callback(headers={"Content-Type": "application/json", "Accept": "application/json"}),
    }
    return {key: value for key, value in (body | changes).items() if value is not ...}
