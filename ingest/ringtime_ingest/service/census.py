"""How many recurring schedules an app may have, and when one that was deleted is forgotten.

They are counted by a look at all of them, at most once an hour while there is room: with what was made here
since, that says how many there are. Pods that create at the same time may pass the bound by what they make in
an hour. The look also forgets what nothing can refer to any more (`run_rows.forgotten_at`).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass

from ringtime_shared.clock import Clock
from ringtime_shared.errors import LimitReached, VersionConflict
from ringtime_shared.models.recurring import Definition, DefinitionState
from ringtime_shared.recurring.calendars import names_of
from ringtime_shared.recurring.run_rows import forgotten_at
from ringtime_shared.settings import AppLimits
from ringtime_shared.stores.protocol import DefinitionKey, RecurringStore

_DAY_MS = 86_400_000
_FRESH_MS = 3_600_000  #: a count holds so long
_FULL_MS = 60_000  #: one that leaves no room holds so long
_PAGE = 500
_MOST_DROPPED = 200  #: in one look, for somebody waits for it
_FAR_MS = 3_660 * _DAY_MS


@dataclass(slots=True)
class _Count:
    at_ms: int  #: boot time of the look
    definitions: int


class Census:
    """The recurring schedules of all apps, as far as this process has looked."""

    def __init__(self, store: RecurringStore, clock: Clock, limits: AppLimits) -> None:
        self._store = store
        self._clock = clock
        self._most = limits.max_recurring_schedules
        self._kept_ms = (limits.max_retention_days + 1) * _DAY_MS
        self._counts: dict[str, _Count] = {}
        self._looking = defaultdict[str, asyncio.Lock](asyncio.Lock)  # so that no two look at one app

    async def admit(self, app_id: str) -> None:
        """Count one more recurring schedule of an app. Raises LimitReached, StoreUnavailable."""
        if self._is_old(app_id):
            async with self._looking[app_id]:
                if self._is_old(app_id):
                    self._counts[app_id] = await self._look(app_id)
        count = self._counts[app_id]
        if count.definitions >= self._most:
            raise LimitReached(
                f"app {app_id} has {count.definitions:,} recurring schedules, and"
                f" limits.max_recurring_schedules is {self._most:,}; those that were deleted count until the"
                " store has forgotten their runs",
                "name",
            )
        count.definitions += 1

    def _is_old(self, app_id: str) -> bool:
        count = self._counts.get(app_id)
        if count is None:
            return True
        age_ms = self._clock.boot_ms() - count.at_ms
        return age_ms > (_FULL_MS if count.definitions >= self._most else _FRESH_MS)

    async def _look(self, app_id: str) -> _Count:
        at_ms, now_ms, count, dropped = self._clock.boot_ms(), self._clock.now_ms(), 0, 0
        is_sure = self._clock.doubt() is None
        last = None
        while page := await self._store.list_definitions(app_id, last, _PAGE):
            last = page[-1].recurring_id
            count += len(page)
            for each in page:
                is_deleted = each.state is DefinitionState.DELETED and not each.damage
                if not is_sure or not is_deleted or dropped >= _MOST_DROPPED:
                    continue
                if forgotten_at(each, self._kept_ms) < now_ms and not await self._is_ahead(each, now_ms):
                    try:
                        await self._store.drop_definition(each)
                        count, dropped = count - 1, dropped + 1
                    except VersionConflict:
                        pass  # it was made anew meanwhile
        return _Count(at_ms, count)

    async def _is_ahead(self, definition: Definition, now_ms: int) -> bool:
        """Whether a run is yet to come that was filed by what a calendar said before it was changed."""
        if not names_of([definition]):
            return False
        key = DefinitionKey(definition.app_id, definition.recurring_id)
        return bool(await self._store.fetch_runs(key, now_ms, now_ms + _FAR_MS, 1))
