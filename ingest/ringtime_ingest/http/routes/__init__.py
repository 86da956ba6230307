"""What each route does: parse, ask the service, answer. One class of routes for each subject.

goscheduler's code has plural paths and nests a schedule as `data.schedule`; its README shows singular ones
and, for a create, the schedule itself as `data`. Both are served.

Whoever shows a schedule sends it through `Routes`, which hides the fields of payloads that its app hides.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.routing import BaseRoute

from ringtime_ingest.http.gate import Bodies
from ringtime_ingest.http.meter import Meter
from ringtime_ingest.service import IngestService
from ringtime_shared.access import Scope
from ringtime_shared.api.ids import check_app_id, check_name
from ringtime_shared.api.recurring import recurring_to_json
from ringtime_shared.api.schedules import schedule_to_json
from ringtime_shared.apps.redaction import REDACTED, redact
from ringtime_shared.callbacks.credentials import MASK
from ringtime_shared.errors import InvalidRequest
from ringtime_shared.models.recurring import Definition
from ringtime_shared.models.schedule import Row
from ringtime_shared.settings import ServerSettings

if TYPE_CHECKING:
    from ringtime_shared.traces.spans import Spans

BASE = "/goscheduler"


def named_in(request: Request) -> tuple[str, str]:
    """Return app and name of a path. Raises InvalidRequest."""
    app_id, name = request.path_params["app_id"], request.path_params["name"]
    if violations := check_app_id(app_id) + check_name(name):
        raise InvalidRequest(violations)
    return app_id, name


def needs_of(method: str) -> Scope:
    """Return what a route needs that reads schedules, or writes them, as its method says."""
    return Scope.SCHEDULES_READ if method == "GET" else Scope.SCHEDULES_WRITE


class Routes(ABC):
    """The routes of one subject, and what their methods need."""

    def __init__(
        self,
        service: IngestService,
        bodies: Bodies,
        settings: ServerSettings,
        meter: Meter,
        spans: Spans | None = None,
    ) -> None:
        """`spans`: begins those of creates; None: there are none."""
        self._service = service
        self._spans = spans
        self._bodies = bodies
        self._meter = meter
        self._depth = settings.max_json_depth
        self._created = settings.created_http_status

    @abstractmethod
    def all(self) -> list[BaseRoute]:
        """Return the routes, the busiest first."""

    def _shown(self, definition: Definition) -> dict[str, object]:
        """Return a recurring schedule as JSON."""
        now_ms, upcoming = self._service.runs.outlook(definition)
        sending = definition.sending
        is_opaque = sending is not None and sending.is_base64
        payload = self._payload(definition.app_id, definition.payload, is_opaque=is_opaque)
        if payload is not definition.payload:
            definition = replace(definition, payload=payload)
        return recurring_to_json(definition, now_ms, upcoming)

    def _to_json(self, row: Row) -> dict[str, object]:
        """Return a schedule as JSON."""
        return schedule_to_json(row if self._hides_nothing(row.schedule.app_id) else self._redacted(row))

    def _redacted_all(self, app_id: str, rows: Sequence[Row]) -> Sequence[Row]:
        """Return rows of one app as they may be shown."""
        return rows if self._hides_nothing(app_id) else [self._redacted(row) for row in rows]

    def _redacted(self, row: Row) -> Row:
        """Return a row of an app that may hide something as it may be shown."""
        schedule = row.schedule
        # What is inside of these has no paths of its own.
        is_opaque = schedule.is_base64 or schedule.hook_of is not None
        payload = self._payload(schedule.app_id, schedule.payload, is_opaque=is_opaque)
        if payload is schedule.payload:
            return row
        return replace(row, schedule=replace(schedule, payload=payload))

    def _hides_nothing(self, app_id: str) -> bool:
        """Whether payloads of an app are shown as they are, as those of nearly all."""
        app = self._service.known_app(app_id)
        return app is not None and not app.damage and not app.configuration.redacted_fields

    def _payload(self, app_id: str, payload: str, *, is_opaque: bool) -> str:
        app = self._service.known_app(app_id)
        if app is None or app.damage:
            return MASK  # what its app hides cannot be known
        paths = app.configuration.redacted_fields
        if not paths:
            return payload
        fingerprint = self._service.fingerprint_of(app_id)
        return REDACTED + fingerprint(payload.encode()) if is_opaque else redact(payload, paths, fingerprint)
