"""A clock that stands still until told otherwise, for tests of what schedules do in days or months.

Time goes from one instant at which something is due to the next. At each it stands until that has its
outcome, or is filed for later, so that everything happens in its order and at its time, to the millisecond.
Wall time alone is moved: what is measured on the boot clock (time limits of attempts, rates) is real time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from typing import Protocol

from ringtime_dispatcher.engine import Dispatcher
from ringtime_shared.buckets import bucket_of, first_slot, last_slot
from ringtime_shared.clock import SystemClock
from ringtime_shared.clock.judge import LATEST_MS
from ringtime_shared.errors import InvalidRequest
from ringtime_shared.ids import EPOCH_2020_MS
from ringtime_shared.models.app import App, Instance
from ringtime_shared.settings import Settings
from ringtime_shared.stores.protocol import LAST_ID, DueQuery, DueStore, Position

MOST_MS = 366 * 86_400_000  #: that one call may advance
LIMIT_S = 60.0  #: for one call, unless it says otherwise
MOST_LIMIT_S = 3_600.0
_LOOK_S = 0.002  #: between two looks whether what is due has its outcome
_BUCKETS_AT_ONCE = 1_440  #: of the index, looked at together
_ROWS = 100  #: of a bucket, looked at together


class TestClock(SystemClock):
    """Wall time that is set by hand, from `start` on; boot time is the machine's. Raises InvalidRequest."""

    __test__ = False  # for pytest: no tests in here

    def __init__(self, start: datetime | None = None) -> None:
        if start is not None and start.utcoffset() is None:
            raise InvalidRequest.of("start", "must be timezone-aware")
        self._now_ms = SystemClock().now_ms() if start is None else round(start.timestamp() * 1_000)
        if not EPOCH_2020_MS <= self._now_ms <= LATEST_MS:
            raise InvalidRequest.of("start", "must be a time from 2020 to 2058")

    def now_ms(self) -> int:
        return self._now_ms

    def move_to(self, at_ms: int) -> None:
        """Let it be `at_ms`; never earlier than it was."""
        self._now_ms = max(self._now_ms, at_ms)


class SteppedStore(DueStore, Protocol):
    """What is needed of a store."""

    async def fetch_apps(self) -> list[App]: ...


def suited(settings: Settings) -> Settings:
    """Return settings under which a stepped clock costs little real time, and nothing waits in it."""
    quick = replace(
        settings.dispatch,
        tick_ms=10,
        read_ahead_ms=10,  # what is read ahead waits for its slot in real time
        apps_refresh_ms=50,
        breaker_failures=0,
        walk_buckets=1_440,
    )
    return replace(settings, dispatch=quick)


class Stepper:
    """Advances the clock that a dispatcher goes by."""

    def __init__(self, store: SteppedStore, clock: TestClock, dispatcher: Dispatcher) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._clock = clock
        self._begun = bucket_of(clock.now_ms())
        self._one_at_a_time = asyncio.Lock()

    def now_ms(self) -> int:
        return self._clock.now_ms()

    async def advance(self, by_ms: int, limit_s: float = LIMIT_S) -> bool:
        """Let `by_ms` go by, 0 to `MOST_MS`; return when all that came due has its outcome, or a later slot.

        Args:
            limit_s: real time that it may take, up to `MOST_LIMIT_S`. If it is over first, time stands where
                it had come to, and False is returned.

        What a deactivated app has due stays due. Raises InvalidRequest.
        """
        if not 0 <= by_ms <= MOST_MS:
            raise InvalidRequest.of("seconds", f"must be from 0 to {MOST_MS // 1_000}")
        if not 0 < limit_s <= MOST_LIMIT_S:
            raise InvalidRequest.of("limitSeconds", f"must be above 0, and at most {MOST_LIMIT_S:g}")
        loop = asyncio.get_running_loop()
        until_s = loop.time() + limit_s
        async with self._one_at_a_time:
            now_ms = self._clock.now_ms()
            upto_ms = now_ms + by_ms
            if upto_ms > LATEST_MS:
                raise InvalidRequest.of("seconds", "must not lead beyond 2058")
            while not await self._knows_apps():
                if loop.time() > until_s:
                    return False
                await asyncio.sleep(_LOOK_S)
            first = self._begun  # bucket before which nothing is due
            while (due_ms := await self._first_due(first, upto_ms)) is not None:
                first = bucket_of(due_ms)
                self._clock.move_to(due_ms)
                while await self._first_due(first, due_ms) is not None:
                    if loop.time() > until_s:
                        return False
                    await asyncio.sleep(_LOOK_S)
            self._clock.move_to(upto_ms)
            return True

    async def _knows_apps(self) -> bool:
        """Whether the dispatcher has heard of all changes of apps, and has what it is to have of each."""
        apps = await self._store.fetch_apps()
        known, owned = self._dispatcher.apps, self._dispatcher.owned
        wanted = sum(app.polled for app in apps if app.active)
        return len(owned) == wanted and all(known.get(app.app_id) == app for app in apps)

    async def _first_due(self, first: int, upto_ms: int) -> int | None:
        """Return the first slot of a row that has no outcome; None: there is none up to `upto_ms`.

        Args:
            first: the bucket before which there is none.
        """
        active = {app.app_id for app in await self._store.fetch_apps() if app.active}
        last = bucket_of(upto_ms)
        for begin in range(first, last + 1, _BUCKETS_AT_ONCE):
            entries = await self._store.fetch_index(begin, min(begin + _BUCKETS_AT_ONCE - 1, last))
            for bucket, group in groupby(entries, lambda entry: entry.bucket):
                instances = [entry.instance for entry in group if entry.instance.app_id in active]
                found = [slot async for slot in self._first_of(bucket, instances, upto_ms)]
                if found:
                    return min(found)
        return None

    async def _first_of(self, bucket: int, instances: Sequence[Instance], upto_ms: int) -> AsyncIterator[int]:
        """The same of each of these poller instances, in one bucket."""
        left = dict.fromkeys(instances, Position(first_slot(bucket) - 1, LAST_ID))
        while left:
            upto_in_ms = min(upto_ms, last_slot(bucket))
            queries = [DueQuery(each, bucket, after, upto_in_ms, _ROWS) for each, after in left.items()]
            pages = await self._store.fetch_live_ids(queries)
            left = {}
            for query, page in zip(queries, pages, strict=True):
                if page.ids:
                    yield page.ids[0].slot_ms
                elif page.next is not None:
                    left[query.instance] = page.next
