"""The calendars of apps: days, and times, on which nothing runs of the recurring schedules that name them.

A definition is read with what its calendars say now, so a change of one counts from the next run that is
filed: of each definition one run is filed ahead, and stays. A calendar that is deleted is kept, marked, since
a definition that names it may be written at the same moment; it goes by what the calendar said. What is
marked is dropped when its room is needed and no definition names it, nor a version of one whose runs may not
all be made yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from ringtime_ingest.service.apps import AppMaps
from ringtime_shared.api.calendars import summary_to_json
from ringtime_shared.api.ids import check_app_id, check_name
from ringtime_shared.apps.states import inactive
from ringtime_shared.auditing import AuditTrail
from ringtime_shared.clock import Clock
from ringtime_shared.errors import Conflict, Damaged, InvalidRequest, LimitReached, NotFound, VersionConflict
from ringtime_shared.models.calendar import Calendar
from ringtime_shared.models.recurring import NO_EXCLUSIONS, DefinitionState
from ringtime_shared.models.times import Exclusions
from ringtime_shared.recurring.calendars import parse_calendar, resolve
from ringtime_shared.settings import AppLimits
from ringtime_shared.stores.protocol import CalendarStore, RecurringStore

_TRIES = 10  #: each lost one is a change of somebody else's
_PAGE = 500
_MARK_KEPT_MS = 3_600_000  #: longer than a put that was begun before the mark can take
_MOST_TOLD = 5


class CalendarRows(CalendarStore, RecurringStore, Protocol):
    """What calendars need of a store."""


class Calendars:
    """The calendars of all apps."""

    def __init__(
        self, store: CalendarRows, apps: AppMaps, clock: Clock, limits: AppLimits, trail: AuditTrail
    ) -> None:
        self._store = store
        self._apps = apps
        self._clock = clock
        self._most = limits.max_calendars
        self._trail = trail
        # A file takes up to half a second: one at a time, or many would slow down all that this process does.
        self._parsing = asyncio.Lock()

    async def put(self, app_id: str, name: str, fields: Mapping[str, object]) -> Calendar:
        """Create a calendar, or put it in place of the one of its name, if that is another.

        Args:
            fields: as `parse_calendar` takes them.

        Raises InvalidRequest, NotFound (app), AppInactive, LimitReached, VersionConflict, StoreUnavailable,
        OutcomeUnknown.
        """
        _check(app_id, name)
        app = (await self._apps.get(app_id)).app
        if not app.active:
            raise inactive(app)
        if fields.get("ics") is None:
            said = parse_calendar(fields, self._clock.now_ms())
        else:
            async with self._parsing:
                said = await asyncio.to_thread(parse_calendar, fields, self._clock.now_ms())

        def put(stored: Calendar | None) -> Calendar | None:
            now_ms = self._clock.now_ms()
            if stored is None:
                return Calendar(app_id=app_id, name=name, changed_ms=now_ms, exclusions=said)
            if not stored.damage and not stored.is_deleted and stored.exclusions == said:
                return None
            return Calendar(
                app_id=app_id,
                name=name,
                revision=stored.revision + 1,
                changed_ms=now_ms,
                exclusions=said,
            )

        return await self._change(app_id, name, put)

    async def fetch(self, app_id: str, name: str) -> Calendar:
        """Return a calendar. Raises InvalidRequest, NotFound, Damaged."""
        _check(app_id, name)
        found = next((each for each in await self.fetch_all(app_id) if each.name == name), None)
        if found is None:
            raise NotFound("calendar", name)
        if found.damage:
            raise Damaged("calendar", name, found.damage)
        return found

    async def fetch_all(self, app_id: str) -> list[Calendar]:
        """Return the calendars of an app by name; one that cannot be read says so. Raises NotFound (app)."""
        await self._apps.get(app_id)
        return [each for each in await self._store.fetch_calendars(app_id) if not each.is_deleted]

    async def delete(self, app_id: str, name: str) -> Calendar:
        """Delete a calendar that no recurring schedule names.

        Raises InvalidRequest, NotFound, Conflict (one does, and is named), VersionConflict,
        StoreUnavailable, OutcomeUnknown.
        """
        _check(app_id, name)
        await self._apps.get(app_id)
        namers = [who for who, named in await self._names_in_use(app_id) if name in named]
        if namers:
            more = f" and {len(namers) - _MOST_TOLD} more" if len(namers) > _MOST_TOLD else ""
            raise Conflict(
                f"calendar {name} is named by recurring schedule {', '.join(namers[:_MOST_TOLD])}{more}",
                "name",
            )

        def mark(stored: Calendar | None) -> Calendar:
            if stored is None or stored.is_deleted:
                raise NotFound("calendar", name)
            changed_ms, revision = self._clock.now_ms(), stored.revision + 1
            return replace(stored, revision=revision, changed_ms=changed_ms, is_deleted=True, damage="")

        return await self._change(app_id, name, mark)

    async def resolve(self, app_id: str, names: Sequence[str]) -> Exclusions:
        """Return what the calendars that a definition is to name say together. Raises InvalidRequest, which
        names the field, for one that is not there."""
        if not names:
            return NO_EXCLUSIONS
        found = await self.fetch_all(app_id)
        for each in found:
            if each.damage and each.name in names:
                raise Damaged("calendar", each.name, each.damage)
        return resolve(names, {each.name: each.exclusions for each in found})

    async def _change(
        self, app_id: str, name: str, change: Callable[[Calendar | None], Calendar | None]
    ) -> Calendar:
        for _ in range(_TRIES):
            there = await self._store.fetch_calendars(app_id)
            stored = next((each for each in there if each.name == name), None)
            changed = change(stored)
            if changed is None and stored is not None:
                return stored
            if changed is None:
                raise NotFound("calendar", name)
            if stored is None and len(there) >= self._most:
                await self._make_room(app_id, there)
            try:
                async with self._trail.change(app_id, f"{app_id}/{name}", _noted(stored), _noted(changed)):
                    await self._store.replace_calendar(changed)
            except VersionConflict:
                continue
            return changed
        raise VersionConflict(f"calendar {name} is changed by others all the time", "name")

    async def _make_room(self, app_id: str, there: Sequence[Calendar]) -> None:
        """Drop a calendar that was deleted and that nothing names. Raises LimitReached if there is none."""
        last_ms = self._clock.now_ms() - _MARK_KEPT_MS
        marked = [each for each in there if each.is_deleted and each.changed_ms < last_ms]
        if marked:
            in_use = {name for _, named in await self._names_in_use(app_id, earlier=True) for name in named}
            for each in marked:
                if each.name not in in_use:
                    await self._store.drop_calendar(each)
                    return
        raise LimitReached(
            f"app {app_id} has {len(there):,} calendars, those included that were deleted within an hour, and"
            f" limits.max_calendars is {self._most:,}",
            "name",
        )

    async def _names_in_use(self, app_id: str, *, earlier: bool = False) -> list[tuple[str, Collection[str]]]:
        """Return which recurring schedules name calendars, and which; with those of earlier versions, whose
        last runs a dispatcher that was away makes when it is back."""
        found: list[tuple[str, Collection[str]]] = []
        last = None
        while page := await self._store.list_definitions(app_id, last, _PAGE):
            last = page[-1].recurring_id
            for each in page:
                named = set(each.times.calendars)
                if earlier:
                    named.update(*(span.times.calendars for span in each.earlier))
                if named and each.state is not DefinitionState.DELETED:
                    found.append((each.name, named))
        return found


def _noted(calendar: Calendar | None) -> object:
    """Return what the audit log says of a calendar."""
    is_there = calendar is not None and not calendar.is_deleted
    return summary_to_json(calendar) if calendar is not None and is_there else None


def _check(app_id: str, name: str) -> None:
    if violations := check_app_id(app_id) + check_name(name):
        raise InvalidRequest(violations)
