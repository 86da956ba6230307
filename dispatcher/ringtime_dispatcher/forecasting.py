"""Which apps have a minute in the next day that their quota does not carry: known before it comes.

One node looks, the first by name of those that have a share of the ring, so that no two do the same. It
goes round the apps in order of their ids, and each round of `dispatch.forecast_s` costs the store no more
than `_ROUND` rows read, about: the next one goes on where it stopped. What it found of an app stands until it
looks at that app again, or the minute is over. Of apps that have little in the next day, as most have where
there are many, hundreds are looked at together.

Few rows are counted of most minutes. Rows go round an app's partitions `ingest.chunk_rows` at a time
(`partition_choice`), so a minute that exceeds the quota has rows in all partitions, and about as many in
each: only minutes that have something in all of them are counted, one partition first, and the others if that
one has more than half of what it carries. A `chunk_rows` of more than that, 500, lets some pass unseen.

As `ringctl forecast`, it counts what is filed: no creates to come, and no retries.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from ringtime_dispatcher.rounds import rounds
from ringtime_shared.api.instants import to_iso
from ringtime_shared.buckets import last_slot
from ringtime_shared.clock import Clock
from ringtime_shared.metrics import Metrics
from ringtime_shared.metrics.names import FORECAST_OVER_QUOTA
from ringtime_shared.models.app import App
from ringtime_shared.schedules.forecast import PER_PARTITION, Minute, window
from ringtime_shared.stores.protocol import IndexEntry

HOURS = 24.0
_ROUND = 200_000  #: what a round may cost, in rows read
_READ = 10  #: what a read costs beside its rows
_SAMPLE = PER_PARTITION // 2 + 1
_MOST = 2 * PER_PARTITION  #: counted of one partition: whether it is twice too much or more is all the same
_ENTRIES = 2_000  #: of the index, read at once
_MOST_MINUTES = 360
_APPS = 500  #: whose first entries are read together
_FEW = 20  #: of these, of one app
_AT_ONCE = 8  #: partitions counted at once
_FIRST_S = 30.0
_REST = 4  #: times as long as an app took, nothing is read: a round has a fifth of the time, and no burst

_log = logging.getLogger(__name__)
T = TypeVar("T")


class QuotaStore(Protocol):
    """What it needs of a store: see `OperatorStore`."""

    async def fetch_app_buckets(
        self, app_id: str, first: int, last: int, limit: int | None = None
    ) -> list[IndexEntry]: ...

    async def fetch_first_buckets(
        self, app_ids: Sequence[str], first: int, last: int, limit: int
    ) -> dict[str, list[IndexEntry]]: ...

    async def count_live(self, entries: Sequence[IndexEntry], most: int) -> list[int]: ...


class Forecaster:
    """Looks ahead, a round at a time."""

    def __init__(
        self, store: QuotaStore, clock: Clock, apps: Mapping[str, App], is_mine: Callable[[], bool]
    ) -> None:
        """`apps`: as this node has read them; `is_mine`: whether it is this node that looks."""
        self._store = store
        self._clock = clock
        self._apps = apps
        self._is_mine = is_mine
        self._over: dict[str, Minute] = {}
        self._next: tuple[str, int] | None = None  # app, and the bucket in it, where the next round begins
        self._cost = 0

    def register(self, metrics: Metrics) -> None:
        """Let it be measured how many apps have too much ahead."""
        metrics.level(FORECAST_OVER_QUOTA, lambda: len(self.over()))

    def over(self) -> Mapping[str, Minute]:
        """Return the apps that have more ahead than their quota carries, each with the first such minute."""
        now_ms = self._clock.now_ms()
        return {app_id: minute for app_id, minute in self._over.items() if last_slot(minute.bucket) >= now_ms}

    def looking(self, every_s: float) -> AbstractAsyncContextManager[None]:
        """Make a round every so often meanwhile."""
        return rounds("the forecast", self.round, first_s=_FIRST_S, every_s=every_s)

    async def round(self) -> None:
        """Look at as many apps as may be. Raises StoreUnavailable."""
        if not self._is_mine():
            self._over, self._next = {}, None
            return
        app_ids = sorted(app_id for app_id, app in self._apps.items() if app.active and not app.damage)
        over = self.over()
        self._over = {app_id: over[app_id] for app_id in app_ids if app_id in over}
        at, bucket = self._next or ("", 0)
        self._cost = 0
        order = [each for each in app_ids if each >= at] + [each for each in app_ids if each < at]
        for start in range(0, len(order), _APPS):
            asked = order[start : start + _APPS]
            found = await self._resting(self._fetch_first(asked))
            for app_id in asked:
                entries = found.get(app_id)
                if entries is None:
                    self._over.pop(app_id, None)
                    continue
                bucket = await self._resting(self._look(app_id, bucket if app_id == at else 0, entries))
                self._next = app_id, bucket
                if self._cost >= _ROUND:
                    return
            if self._cost >= _ROUND:
                self._next = asked[-1], 0
                return
        self._next = None

    async def _resting(self, reading: Awaitable[T]) -> T:
        begun_ms = self._clock.boot_ms()
        found = await reading
        await asyncio.sleep(_REST * (self._clock.boot_ms() - begun_ms) / 1_000)
        return found

    async def _fetch_first(self, app_ids: Sequence[str]) -> Mapping[str, Sequence[IndexEntry]]:
        self._cost += len(app_ids)
        return await self._store.fetch_first_buckets(app_ids, *window(self._clock.now_ms(), HOURS), _FEW)

    async def _look(self, app_id: str, at: int, entries: Sequence[IndexEntry]) -> int:
        """Look at an app from bucket `at` on; return where to go on, 0: it is done with.

        Args:
            entries: the first it has; fewer than `_FEW` are all.
        """
        app = self._apps.get(app_id)
        if app is None:  # it was deleted meanwhile
            return 0
        quota = app.writable
        now, last = window(self._clock.now_ms(), HOURS)
        step = max(1, min(_ENTRIES // quota, _MOST_MINUTES))
        if is_few := len(entries) < _FEW:
            step = last - now + 1
        for first in range(max(at, now), last + 1, step):
            if self._cost >= _ROUND:
                return first
            upto = min(first + step - 1, last)
            if not is_few:
                entries = await self._store.fetch_app_buckets(app_id, first, upto)
                self._cost += _READ + len(entries) // 10
            minute = await self._first_over(quota, entries)
            known = self._over.get(app_id)
            if minute is not None:
                self._note(app_id, quota, minute, is_new=known is None)
                return 0
            if known is not None and first <= known.bucket <= upto:
                del self._over[app_id]
        return 0

    def _note(self, app_id: str, quota: int, minute: Minute, *, is_new: bool) -> None:
        self._over[app_id] = minute
        if is_new:
            _log.warning(
                "app %s has %d or more due in the minute of %s, and its %d partitions carry %d:"
                " see `ringctl forecast %s`",
                app_id,
                minute.due,
                to_iso(minute.start_ms),
                quota,
                quota * PER_PARTITION,
                app_id,
            )

    async def _first_over(self, quota: int, entries: Sequence[IndexEntry]) -> Minute | None:
        minutes: dict[int, list[IndexEntry]] = {}
        for entry in entries:
            minutes.setdefault(entry.bucket, []).append(entry)
        full = [minutes[bucket] for bucket in sorted(minutes) if len(minutes[bucket]) >= quota]
        for start in range(0, len(full), _AT_ONCE):
            part = full[start : start + _AT_ONCE]
            samples = await self._count([minute[0] for minute in part], _SAMPLE)
            for minute, sample in zip(part, samples, strict=True):
                if sample < _SAMPLE:
                    continue
                due = 0
                for n in range(0, len(minute), _AT_ONCE):
                    due += sum(await self._count(minute[n : n + _AT_ONCE], _MOST))
                    if due > quota * PER_PARTITION:
                        return Minute(minute[0].bucket, due)
        return None

    async def _count(self, entries: Sequence[IndexEntry], most: int) -> list[int]:
        counts = await self._store.count_live(entries, most)
        self._cost += sum(counts) + _READ * len(entries)
        return counts
