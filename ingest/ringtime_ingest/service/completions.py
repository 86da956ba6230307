"""What receivers say of runs that they answered 202. What holds of these runs is in
`ringtime_shared.recurring.completing`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from ringtime_ingest.service.apps import AppMaps
from ringtime_ingest.service.commit import CommitPath
from ringtime_ingest.service.runs import RecurringRows
from ringtime_shared.api.schedules import MAX_ERROR_CHARS
from ringtime_shared.clock import Clock, require_trust
from ringtime_shared.errors import AlreadyDone, Damaged, InvalidRequest, NotFound, OutcomeUnknown
from ringtime_shared.ids import app_number_of
from ringtime_shared.models.recurring import Origin
from ringtime_shared.models.schedule import Place, Row, Status
from ringtime_shared.recurring.completing import Completions, Ticket, completed, place_of_word, sure_until_ms
from ringtime_shared.stores.protocol import DefinitionKey

_KIND, _KEY = "run to complete", "of this token"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletingParts:
    """What `Completing` is made of."""

    store: RecurringRows
    apps: AppMaps
    commit: CommitPath
    clock: Clock
    completions: Completions | None  #: None: there are no tokens here


_STATUS = {False: Status.SUCCESS, True: Status.FAILURE}  #: by whether there was an error


class Completing:
    """Takes what receivers say."""

    def __init__(self, parts: CompletingParts) -> None:
        self._parts = parts

    async def complete(self, token: str, error: str | None = None) -> tuple[Ticket, int]:
        """Note that a run is done, or has failed; return which one, and when that was said. To say the same
        again is no error.

        Args:
            error: why it failed, at most 200 characters; None: it is done.

        Raises:
            NotFound: the token is none of ours, or no use any more.
            AlreadyDone: the run has ended in another way, or was cancelled.
            InvalidRequest, StoreUnavailable, OutcomeUnknown.
        """
        parts = self._parts
        if error is not None and len(error) > MAX_ERROR_CHARS:
            raise InvalidRequest.of("errorMessage", f"must be at most {MAX_ERROR_CHARS} characters")
        require_trust(parts.clock)
        now_ms = parts.clock.now_ms()
        try:
            if parts.completions is None:
                raise ValueError("no tokens here")
            ticket = parts.completions.read(token, now_ms)
        except ValueError:
            raise NotFound(_KIND, _KEY) from None
        reading = await parts.apps.get(ticket.app_id)
        if reading.app.number != app_number_of(ticket.schedule_id):
            raise NotFound(_KIND, _KEY)  # it is of an app before, which had this name
        home = await self._fetch(Place.of_home(ticket.app_id, ticket.schedule_id), ticket)
        if home is None or home.schedule.run is None:
            raise NotFound(_KIND, _KEY)
        status = Status.SUCCESS if error is None else Status.FAILURE
        if (ended_ms := _ended(home, ticket, status)) is not None:
            return ticket, ended_ms
        said = await self._fetch(place_of_word(ticket.app_id, ticket.schedule_id, ticket.replay), ticket)
        if said is not None and (work := said.schedule.work) is not None and work.ended_ms is not None:
            if bool(work.error) is not (error is not None):
                raise AlreadyDone(str(ticket.schedule_id), _STATUS[bool(work.error)])
            error, now_ms = (work.error or None), work.ended_ms  # whoever said so may have died over it
        elif home.outcome is None and await self._is_cancelled(home):
            raise AlreadyDone(str(ticket.schedule_id), Status.DELETED)
        pointed = None if home.moved_to is None else await self._fetch(home.moved_to, ticket)
        row = home if pointed is None else pointed
        sure_ms = sure_until_ms(row, ticket)
        if parts.clock.now_ms() >= sure_ms:
            raise AlreadyDone(str(ticket.schedule_id), Status.FAILURE)
        why = "" if error is None else error or "its receiver said that it failed"
        word = completed(row, ticket, now_ms=now_ms, error=why)
        if said is not None and said.moved_to is not None:  # where it was filed again: not one more each time
            word = replace(word, place=said.moved_to)
        await parts.commit.file(word, reading)
        if parts.clock.now_ms() >= sure_ms:
            home = await self._fetch(home.place, ticket)
            if home is None or _ended(home, ticket, status) is None:
                raise OutcomeUnknown("it took too long to note that the run is over; look how it ended")
        return ticket, now_ms

    async def _is_cancelled(self, home: Row) -> bool:
        """Whether a run without an outcome is cancelled, as its home row or its definition says."""
        run = home.schedule.run
        if home.cancelled_ms is not None or run is None or run.origin is not Origin.PLAN:
            return home.cancelled_ms is not None
        key = DefinitionKey(home.place.app_id, run.recurring_id)
        with suppress(Damaged):  # then nobody knows
            definition = await self._parts.store.fetch_definition(key)
            return definition is not None and run.nominal_ms in definition.skipped
        return False

    async def _fetch(self, place: Place, ticket: Ticket) -> Row | None:
        try:
            return await self._parts.store.fetch_row(place, ticket.schedule_id)
        except Damaged:
            return None


def _ended(home: Row, ticket: Ticket, status: Status) -> int | None:
    """Return when a run ended, None if it did not yet. Raises AlreadyDone if it ended with another status."""
    outcome = home.outcome
    if outcome is None or outcome.replay < ticket.replay:
        return None
    if outcome.status is not status:
        raise AlreadyDone(str(ticket.schedule_id), outcome.status)
    return outcome.ended_ms
