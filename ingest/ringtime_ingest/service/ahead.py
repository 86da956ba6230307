"""What falls due: of one app, counted; of all in the next hour, counted or, where that is much, estimated.

The next hour is read at most each half minute, in the background, and only while somebody asks; where that
takes long, less often, so that a page which stays open has a twentieth of the time at most. It costs a read
of the index, in pieces, and a count for each of at most `_MOST_COUNTED` poller instances and minutes: rows go
round the partitions of an app (`partition_choice`), so that one of an app's partitions says about what the
others have, and minutes with many apps are told by every n-th of these. No more of the index is held, however
many apps there are.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ringtime_shared.buckets import bucket_of
from ringtime_shared.clock import Clock
from ringtime_shared.errors import RingtimeError
from ringtime_shared.schedules.buckets_ahead import count_entries, read_entries
from ringtime_shared.schedules.forecast import PER_PARTITION, Forecast, Minute, forecast, window
from ringtime_shared.schedules.index_spans import read_spans
from ringtime_shared.stores.protocol import DueStore, IndexEntry, OperatorStore

MINUTES = 60
_FRESH_MS = 30_000
_PAUSE = 19  #: times as long as a look took, nobody looks again
_MOST_COUNTED = 3_000
_MOST_OF_APP = 3_000  #: poller instances and minutes counted for one app's forecast
_AT_ONCE = 50
_SLICE = 1_000  #: entries looked at without letting anybody else run
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
        self._next_ms = 0  # boot time of the next look
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
        is_old = self._clock.boot_ms() >= self._next_ms
        if is_old and (self._looking is None or self._looking.done()):
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
        begun_ms = self._clock.boot_ms()
        try:
            self._hour = await self._count()
        except RingtimeError as error:
            _log.warning("the minutes ahead are not counted: %s", error)
        except Exception:  # noqa: BLE001 - nobody awaits this task; who asks next tries again
            _log.exception("the minutes ahead are not counted: a bug")
        ended_ms = self._clock.boot_ms()
        self._next_ms = max(begun_ms + _FRESH_MS, ended_ms + _PAUSE * (ended_ms - begun_ms))

    async def _count(self) -> Hour:
        now_ms = self._clock.now_ms()
        first, last = bucket_of(now_ms), bucket_of(now_ms) + MINUTES - 1
        whole: list[IndexEntry] | None = []  # None: it is too much to be counted
        samples: list[_Sample] = []
        async with aclosing(read_spans(self._store.fetch_index, first, last)) as spans:
            async for _, entries in spans:
                if whole is not None:
                    whole = [*whole, *entries] if len(whole) + len(entries) <= _MOST_COUNTED else None
                samples += await _sample(entries)
        if whole is not None:
            samples = [_Sample(entry, 1, 1) for entry in whole]
        due = _estimate(samples, await self._count_all([each.entry for each in samples]))
        minutes = [Minute(bucket, due.get(bucket, 0)) for bucket in range(first, last + 1)]
        return Hour(now_ms, minutes, whole is None)

    async def _count_all(self, entries: Sequence[IndexEntry]) -> dict[IndexEntry, int]:
        counts: dict[IndexEntry, int] = {}
        for start in range(0, len(entries), _AT_ONCE):
            part = entries[start : start + _AT_ONCE]
            counts |= zip(part, await self._store.count_live(part, _MOST_ROWS), strict=True)
            await asyncio.sleep(0)  # creates go first
        return counts


class _Sample(NamedTuple):
    """One of several apps that have something in a minute."""

    entry: IndexEntry  #: of one of its partitions
    partitions: int  #: of it, with something in the minute
    apps: float  #: that it stands for, itself among them


async def _sample(entries: Sequence[IndexEntry]) -> list[_Sample]:
    """Return some apps of each minute, looking at a slice of the entries at a time."""
    minutes: dict[int, dict[str, list[IndexEntry]]] = {}
    for start in range(0, len(entries), _SLICE):
        for entry in entries[start : start + _SLICE]:
            minutes.setdefault(entry.bucket, {}).setdefault(entry.instance.app_id, []).append(entry)
        await asyncio.sleep(0)
    samples: list[_Sample] = []
    for of_apps in minutes.values():
        chosen = [*of_apps.values()][:: -(-len(of_apps) * MINUTES // _MOST_COUNTED)]
        samples += [_Sample(each[0], len(each), len(of_apps) / len(chosen)) for each in chosen]
    return samples


def _estimate(samples: Iterable[_Sample], counts: Mapping[IndexEntry, int]) -> dict[int, int]:
    """Return about how much is due in each minute."""
    due: dict[int, float] = defaultdict(float)
    for entry, partitions, apps in samples:
        due[entry.bucket] += counts[entry] * partitions * apps
    return {bucket: round(count) for bucket, count in due.items()}
