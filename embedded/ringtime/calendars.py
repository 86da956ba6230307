"""The verbs of exclusion calendars, of the library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import date, datetime

from ringtime_client.calendars import calendar_fields
from ringtime_ingest.service import IngestService
from ringtime_shared.arguments import checked
from ringtime_shared.auditing import asked_of_library
from ringtime_shared.models.calendar import Calendar


class CalendarVerbs(ABC):
    """What `Ringtime` does with calendars; the names are those of the clients."""

    @property
    @abstractmethod
    def _service(self) -> IngestService:
        """What runs. Raises RuntimeError outside `async with`."""

    @checked
    @asked_of_library("calendars put")
    async def put_calendar(
        self,
        app_id: str,
        name: str,
        *,
        dates: Sequence[date] | None = None,
        spans: Sequence[Sequence[datetime]] | None = None,
        ics: str | None = None,
    ) -> Calendar:
        """Create an exclusion calendar, or put it in place of the one of its name. It counts for runs that
        are not filed yet: of each recurring schedule that names it, one is.

        Args:
            dates: days of the wall clock; and
            spans: pairs of begin and end, timezone-aware; and
            ics: the text of an ICS file. At least one of them.

        Raises InvalidRequest, NotFound (app), AppInactive, LimitReached, VersionConflict, StoreUnavailable,
        OutcomeUnknown.
        """
        return await self._service.calendars.put(app_id, name, calendar_fields(dates, spans, ics))

    @checked
    async def get_calendar(self, app_id: str, name: str) -> Calendar:
        """Return an exclusion calendar. Raises InvalidRequest, NotFound, Damaged."""
        return await self._service.calendars.fetch(app_id, name)

    @checked
    async def list_calendars(self, app_id: str) -> list[Calendar]:
        """Return the exclusion calendars of an app by name. Raises NotFound (app)."""
        return await self._service.calendars.fetch_all(app_id)

    @checked
    @asked_of_library("calendars delete")
    async def delete_calendar(self, app_id: str, name: str) -> Calendar:
        """Delete an exclusion calendar. Raises InvalidRequest, NotFound, Conflict (a recurring schedule names
        it)."""
        return await self._service.calendars.delete(app_id, name)
