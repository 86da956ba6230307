"""An ASGI client of thirty lines, a service on a store in memory, and bodies to send."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast
from urllib.parse import unquote
from uuid import UUID

from starlette.types import ASGIApp, Message
from tests.unit.spy_store import SpyStore

from ringtime_ingest.http import create_app
from ringtime_ingest.service import IngestParts, IngestService
from ringtime_shared.callbacks.http_rules import check_http_details
from ringtime_shared.callbacks.protocol import CallbackRules
from ringtime_shared.clock import ManualClock
from ringtime_shared.errors import Violation
from ringtime_shared.ids import IdMint
from ringtime_shared.metrics import UNMEASURED, Metrics
from ringtime_shared.models.app import App
from ringtime_shared.models.schedule import Outcome, Row
from ringtime_shared.settings import AppLimits, IngestSettings, ServerSettings

NOW_MS = 1_800_000_000_250
NOW_S = NOW_MS // 1_000


class FormOfHttp(CallbackRules):
    """The rules of the callback type `http`, but for where it may lead."""

    name = "http"

    def validate(self, details: Mapping[str, object], app_id: str) -> list[Violation]:
        return check_http_details(details)


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
    """An application on a service on a store in memory."""

    client: Client
    service: IngestService
    store: SpyStore
    clock: ManualClock

    @property
    def apps(self) -> dict[str, App]:
        """What is in the store, to look at and to change."""
        return self.store.real._apps

    @property
    def rows(self) -> dict[UUID, Row]:
        """All rows that are in the store, by schedule."""
        return {key: row for rows in self.store.real._rows.values() for key, row in rows.items()}

    def end(self, schedule_id: UUID, outcome: Outcome) -> Row:
        """Record how a schedule ended; return its home row as it was."""
        row = self.rows[schedule_id]
        self.store.real._rows[row.place][schedule_id] = replace(row, outcome=outcome)
        return row


def make_rig(
    settings: ServerSettings | None = None,
    *,
    is_short: bool = True,
    callbacks: Sequence[CallbackRules] = (FormOfHttp(),),
    limits: AppLimits | None = None,
    metrics: Metrics = UNMEASURED,
) -> Rig:
    """Return a client of an application whose service knows the app `test` and the inactive `idle`.

    Args:
        is_short: as of `create_app`.
    """
    clock = ManualClock(NOW_MS)
    store = SpyStore(clock.now_ms)
    for number, (app_id, active) in enumerate((("test", True), ("idle", False))):
        store.real._apps[app_id] = App(
            app_id=app_id, number=number, writable=5, polled=5, active=active, version=1, created_ms=NOW_MS
        )
        store.real._numbers += 1
    parts = IngestParts(
        store=cast(Any, store),
        clock=clock,
        settings=IngestSettings(),
        limits=limits or AppLimits(),
        callbacks={each.name: each for each in callbacks},
        holder="test",
        metrics=metrics,
    )
    service = IngestService(parts, IdMint(1))

    async def ready() -> None:
        await store.check_ready()

    app = create_app(service, settings or ServerSettings(), ready, is_short=is_short)
    return Rig(Client(app), service, store, clock)


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
