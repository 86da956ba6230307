"""The tap: goscheduler's calls, passed on or kept, and noted.

Production goes through here while goscheduler delivers. So nothing waits for the store: who delivers is known
from the apps in memory, as long as they are young enough to decide by, and what came is written behind the
answer. A note that cannot be written costs the report a call, and the receiver nothing.
"""

from __future__ import annotations

import asyncio
import logging
from typing import NamedTuple, Protocol
from uuid import uuid4

from ringtime_ingest.shadow.receivers import Received, Receivers
from ringtime_shared.apps.feed import AppReading
from ringtime_shared.clock import Clock
from ringtime_shared.errors import Conflict, NotFound, RingtimeError
from ringtime_shared.ids import app_number_of
from ringtime_shared.models.shadow import Side, Tap, side_of
from ringtime_shared.settings import ShadowSettings
from ringtime_shared.shadow.moves import CLOCKS_MS, EARLY_MS, STALE_MS
from ringtime_shared.shadow.tickets import TapTicket, TapTickets
from ringtime_shared.stores.protocol import TapStore

_log = logging.getLogger(__name__)
_MOST_NOTES = 1_000  #: being written
_ERROR_CHARS = 200
KEPT_CODE = 200  #: of a call that Ringtime answers for
NO_ANSWER_CODE = 502


class Passed(NamedTuple):
    """What goscheduler is answered."""

    code: int
    location: str = ""


class TappedApps(Protocol):
    """The apps, as this process knows them."""

    def known_id(self, number: int) -> str | None:
        """Return the id of the app of this number, without asking anybody; None: it is not known here."""
        ...

    async def app_id_of(self, number: int) -> str | None:
        """Return it; None: there is none. Raises StoreUnavailable."""
        ...

    async def recent(self, app_id: str, most_ms: int) -> AppReading:
        """Return an app as it was so long ago, or later. Raises NotFound, StoreUnavailable."""
        ...


class TapCalls:
    """Takes goscheduler's calls."""

    def __init__(
        self,
        settings: ShadowSettings,
        receivers: Receivers,
        store: TapStore,
        apps: TappedApps,
        clock: Clock,
    ) -> None:
        self._tickets = TapTickets(settings.secret) if settings.secret else None
        self._receivers = receivers
        self._store = store
        self._apps = apps
        self._clock = clock
        self._notes: set[asyncio.Task[None]] = set()

    async def take(self, text: str, body: bytes) -> Passed:
        """Pass a call on, or keep it, as the app's handovers say of its fire time.

        Args:
            text: the ticket.

        Raises NotFound: the ticket is none of ours, or over, or its app is gone; Conflict: who delivers may
        still change; StoreUnavailable.
        """
        at_ms = self._clock.now_ms()
        ticket = self._read(text)
        if at_ms >= ticket.expires_ms:
            raise NotFound("schedule", str(ticket.schedule_id))
        if at_ms < ticket.fire_ms - EARLY_MS - CLOCKS_MS:
            _log.warning("goscheduler called for %s minutes before it is due", ticket.schedule_id)
            raise Conflict("it is not due yet; the clock there, or here, is wrong", "scheduleTime")
        number = app_number_of(ticket.schedule_id)
        app_id = self._apps.known_id(number) or await self._apps.app_id_of(number)
        app = None if app_id is None else (await self._apps.recent(app_id, STALE_MS)).app
        if app_id is None or app is None or app.number != number:
            raise NotFound("schedule", str(ticket.schedule_id))
        if side_of(app.shadow, ticket.fire_ms) is Side.RINGTIME:
            self._note(_tap_of(ticket, app_id, at_ms, None, 0))
            return Passed(KEPT_CODE)
        begun_ms = self._clock.boot_ms()
        received = await self._receivers.send(ticket, app_id, body)
        self._note(_tap_of(ticket, app_id, at_ms, received, self._clock.boot_ms() - begun_ms))
        code = received.code if received.code is not None and 200 <= received.code < 600 else NO_ANSWER_CODE
        return Passed(code, received.location)

    async def close(self) -> None:
        """Wait for the notes that are being written."""
        if self._notes:
            await asyncio.wait(self._notes)

    def _read(self, text: str) -> TapTicket:
        try:
            if self._tickets is None:
                raise ValueError("no tickets here")
            return self._tickets.read(text)
        except ValueError:
            raise NotFound("call", "of this ticket") from None

    def _note(self, tap: Tap) -> None:
        if len(self._notes) >= _MOST_NOTES:
            self._lose(tap, "too many are being written")
            return
        task = asyncio.create_task(self._write(tap))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def _write(self, tap: Tap) -> None:
        try:
            await self._store.put_tap(tap)
        except RingtimeError as error:
            self._lose(tap, str(error))

    def _lose(self, tap: Tap, why: str) -> None:
        about = {"app_id": tap.app_id, "schedule_id": tap.schedule_id}
        _log.warning("the report will miss a call for %s: %s", tap.schedule_id, why, extra=about)


def _tap_of(ticket: TapTicket, app_id: str, at_ms: int, received: Received | None, took_ms: int) -> Tap:
    return Tap(
        app_id=app_id,
        schedule_id=ticket.schedule_id,
        tap_id=uuid4(),
        fire_ms=ticket.fire_ms,
        at_ms=at_ms,
        expires_ms=ticket.expires_ms,
        is_passed=received is not None,
        took_ms=None if received is None else took_ms,
        code=None if received is None else received.code,
        error="" if received is None else received.error[:_ERROR_CHARS],
    )
