"""What falls due: of one app, counted; of all in the next hour, counted or, where that is much, estimated.

The next hour is read at most each half minute, in the background, and only while somebody asks. It costs one
read of the index, and a count for each of at most `_MOST_COUNTED` poller instances and minutes: rows go round
the partitions of an app (`partition_choice`), so that one of an app's partitions says about what the others
have, and minutes with many apps are told by every n-th of these.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ringtime_shared.buckets import bucket_of
from ringtime_shared.clock import Clock
from ringtime_shared.errors import RingtimeError
from ringtime_shared.schedules.buckets_ahead import count_entries, read_entries
from ringtime_shared.schedules.forecast import PER_PARTITION, Forecast, Minute, forecast, window
from ringtime_shared.stores.protocol import DueStore, IndexEntry, OperatorStore

MINUTES = 60
_FRESH_MS = 30_000
_MOST_COUNTED = 3_000
_MOST_OF_APP = 3_000  #: poller instances and minutes counted for one app's forecast
_AT_ONCE = 50
_MOST_ROWS = 20 * PER_PARTITION  #: counted of one
_log = logging.getLogger(__name__)


class AheadStore(DueStore, OperatorStore, Protocol):
    """What it needs of a store."""


@dataclass(frozen=True, slots=True)
class Hour:
    """What falls due in the next hour."""

    at_ms: int
    minutes: Sequence[Minute]  #: all of them, in order
    is_estimate: bool


class Ahead:
    """Counts what is filed."""

    def __init__(self, store: AheadStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._hour: Hour | None = None
        self._looked_ms: int | None = None  # boot time
        self._looking: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Stop what goes on in the background."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    def hour(self) -> Hour | None:
        """Return the next hour as it was counted last, and have it counted anew if that was a while ago.

        None: it is being counted for the first time.
        """
        boot_ms = self._clock.boot_ms()
        is_old = self._looked_ms is None or boot_ms - self._looked_ms >= _FRESH_MS
        if is_old and (self._looking is None or self._looking.done()):
            self._looked_ms = boot_ms
            self._looking = asyncio.create_task(self._look(), name="what is ahead")
        return self._hour

    async def of_app(self, app_id: str, quota: int, hours: float) -> tuple[Forecast, int]:
        """Return the forecast of an app, and the last minute that it covers: where there is more than can be
        counted at once, it ends early. Raises StoreUnavailable."""
        first, last = window(self._clock.now_ms(), hours)
        due: Counter[int] = Counter()
        counted, upto = 0, first - 1
        async for end, entries in read_entries(self._store, app_id, first, last):
            if counted and counted + len(entries) > _MOST_OF_APP:
                break
            for entry, count in (await count_entries(self._store, entries)).items():
                due[entry.bucket] += count
            counted, upto = counted + len(entries), end
        return forecast(app_id, quota, due), upto

    async def _look(self) -> None:
        try:
            self._hour = await self._count()
        except RingtimeError as error:
            _log.warning("the minutes ahead are not counted: %s", error)
        except Exception:  # noqa: BLE001 - nobody awaits this task; who asks next tries again
            _log.exception("the minutes ahead are not counted: a bug")

    async def _count(self) -> Hour:
        now_ms = self._clock.now_ms()
        first = bucket_of(now_ms)
        entries = await self._store.fetch_index(first, first + MINUTES - 1)
        groups: dict[tuple[int, str], list[IndexEntry]] = defaultdict(list)
        for entry in entries:
            groups[entry.bucket, entry.instance.app_id].append(entry)
        is_estimate = len(entries) > _MOST_COUNTED
        chosen = list(groups.values())
        if is_estimate:
            step = -(-len(chosen) // _MOST_COUNTED)
            chosen = chosen[::step]
        counted = [each[:1] if is_estimate else each for each in chosen]
        counts = await self._count_all([entry for each in counted for entry in each])
        due: Counter[int] = Counter()
        seen: Counter[int] = Counter()
        for group, some in zip(chosen, counted, strict=True):
            bucket = group[0].bucket
            seen[bucket] += 1
            due[bucket] += round(sum(counts[each] for each in some) * len(group) / len(some))
        there = Counter(bucket for bucket, _ in groups)
        minutes = [
            Minute(bucket, round(due[bucket] * there[bucket] / seen[bucket]) if seen[bucket] else 0)
            for bucket in range(first, first + MINUTES)
        ]
        return Hour(now_ms, minutes, is_estimate)

    async def _count_all(self, entries: Sequence[IndexEntry]) -> dict[IndexEntry, int]:
        counts: dict[IndexEntry, int] = {}
        for start in range(0, len(entries), _AT_ONCE):
            part = entries[start : start + _AT_ONCE]
            counts |= zip(part, await self._store.count_live(part, _MOST_ROWS), strict=True)
            await asyncio.sleep(0)  # creates go first
        return counts
