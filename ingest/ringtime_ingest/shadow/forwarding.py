"""Creates and cancels of apps in shadow, made at goscheduler before they are made here."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

import orjson

from ringtime_shared.api.completions import FIELD as COMPLETION
from ringtime_shared.callbacks.credentials import HEADERS, SECRET_HEADERS
from ringtime_shared.callbacks.http_rules import NAME as HTTP
from ringtime_shared.errors import Conflict, OutcomeUnknown, StoreUnavailable, UpstreamUnavailable
from ringtime_shared.ids import is_ours
from ringtime_shared.models.alias import Alias
from ringtime_shared.models.app import App
from ringtime_shared.models.schedule import Row, Schedule
from ringtime_shared.models.sending import Sending
from ringtime_shared.settings import ShadowSettings
from ringtime_shared.shadow.tickets import HEADER, PATH, TapTicket, TapTickets

if TYPE_CHECKING:
    from ringtime_ingest.shadow.upstream import Upstream

_log = logging.getLogger(__name__)


class Forwarding:
    """What of an app in shadow is made at goscheduler, too."""

    def __init__(self, settings: ShadowSettings) -> None:
        """Raises nothing for settings that name no goscheduler: then each create of an app in shadow is
        refused."""
        self._upstream = _open(settings) if settings.upstream_url else None
        self._tickets = TapTickets(settings.secret)
        self._tap_url = settings.tap_url + PATH

    async def create(self, row: Row) -> Row:
        """Have goscheduler take a row that is about to be filed; return it with its twin.

        Raises InvalidRequest: goscheduler refuses it; UpstreamUnavailable, OutcomeUnknown.
        """
        schedule = row.schedule
        twin = await self._upstream_or_raise().create(schedule.app_id, self._body_of(schedule))
        sending = replace(schedule.sending or Sending(), twin=str(twin))
        return replace(row, schedule=replace(schedule, sending=sending))

    async def cancel(self, schedule: Schedule) -> None:
        """Have goscheduler forget the twin of a schedule that is about to be cancelled. Raises
        UpstreamUnavailable, OutcomeUnknown."""
        if schedule.sending is not None and schedule.sending.twin:
            await self._upstream_or_raise().delete(schedule.app_id, UUID(schedule.sending.twin))

    async def take_back(self, row: Row) -> None:
        """Have goscheduler forget what could not be filed here. Raises OutcomeUnknown if it may not have."""
        try:
            await self.cancel(row.schedule)
        except (StoreUnavailable, OutcomeUnknown) as error:
            _log.warning(
                "goscheduler keeps schedule %s, which was not filed here: %s",
                row.schedule.schedule_id,
                error,
                extra={"app_id": row.place.app_id, "schedule_id": row.schedule.schedule_id},
            )
            raise OutcomeUnknown("it was not filed here, and goscheduler may fire it") from error

    async def close(self) -> None:
        """Close the connections."""
        if self._upstream is not None:
            await self._upstream.close()

    def _upstream_or_raise(self) -> Upstream:
        if self._upstream is None:
            raise UpstreamUnavailable("the app is in shadow, and this server has no shadow.upstream_url")
        return self._upstream

    def _body_of(self, schedule: Schedule) -> dict[str, object]:
        """Return what goscheduler is asked for: the same, to be called at the tap."""
        details = orjson.loads(schedule.callback_details)
        ticket = TapTicket(
            schedule_id=schedule.schedule_id,
            fire_ms=schedule.fire_ms,
            expires_ms=schedule.expires_ms,
            url=details["url"],
            method=details["method"],
            headers={**(details.get(HEADERS) or {}), **(details.get(SECRET_HEADERS) or {})},
        )
        return {
            "appId": schedule.app_id,
            "payload": schedule.payload,
            "scheduleTime": -(-schedule.fire_ms // 1_000),
            "callback": {
                "type": HTTP,
                "details": {
                    "url": self._tap_url,
                    "method": "POST",
                    "headers": {HEADER: self._tickets.sign(ticket)},
                },
            },
        }


def alias_of(schedule: Schedule) -> Alias | None:
    """Return what makes the id of its twin mean a schedule here; None: it has none, or one of our form."""
    twin = None if schedule.sending is None or not schedule.sending.twin else UUID(schedule.sending.twin)
    return None if twin is None or is_ours(twin) else Alias(twin, schedule.schedule_id, schedule.expires_ms)


class _New(Protocol):
    """What is looked at of a create."""

    callback_type: str
    sending: Sending | None
    idempotency_key: str
    name: str


def check_forwardable(new: _New, app: App) -> None:
    """Raise Conflict for a create of an app in shadow that goscheduler has no words for."""
    if new.idempotency_key:
        raise in_shadow(app, "goscheduler knows no idempotency keys", "idempotencyKey")
    if new.name:
        raise in_shadow(app, "goscheduler knows no names", "name")
    if new.callback_type != HTTP:
        raise in_shadow(app, "goscheduler calls by http alone", "callback.type")
    if new.sending is not None and new.sending.is_base64:
        raise in_shadow(app, "goscheduler sends payloads as text", "payloadEncoding")
    if new.sending is not None and new.sending.hooks is not None:
        raise in_shadow(app, "goscheduler tells nobody how one ended", "hooks")
    if new.sending is not None and new.sending.completion_ms is not None:
        raise in_shadow(app, "an answer is the end of one at goscheduler", COMPLETION)


def in_shadow(app: App, why: str, field: str = "appId") -> Conflict:
    """Return the error for what cannot be asked for while an app is in shadow."""
    return Conflict(f"app {app.app_id} is in the shadow of goscheduler: {why}", field)


def _open(settings: ShadowSettings) -> Upstream:
    from ringtime_ingest.shadow.upstream import Upstream  # with an HTTP client, which most pods do without

    return Upstream(settings)
