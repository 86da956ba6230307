"""The next hour, where it is too much to be counted: about as much is told as there is, at a bounded cost."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from ringtime_ingest.service.ahead import MINUTES, Ahead, Hour
from ringtime_shared.buckets import bucket_of
from ringtime_shared.clock import ManualClock
from ringtime_shared.models.app import Instance
from ringtime_shared.stores.protocol import IndexEntry

APPS, PARTITIONS, ROWS = 400, 2, 3  #: that have so many rows each, in every minute


class Index:
    """What is asked of a store, of apps that are all the same."""

    def __init__(self, clock: ManualClock) -> None:
        self.most_read = self.counted = self.looks = 0
        self.apps, self.takes_ms = APPS, 0
        self._clock = clock

    async def fetch_index(
        self, first: int, last: int, groups: Collection[int] | None = None
    ) -> list[IndexEntry]:
        entries = [
            IndexEntry(bucket, Instance(f"app-{n}", partition))
            for bucket in range(first, last + 1)
            for n in range(self.apps)
            for partition in range(PARTITIONS)
        ]
        self.most_read = max(self.most_read, len(entries))
        if first == bucket_of(self._clock.now_ms()):
            self.looks += 1
            self._clock.advance(self.takes_ms)
        return entries

    async def count_live(self, entries: Sequence[IndexEntry], most: int) -> list[int]:
        self.counted += len(entries)
        return [ROWS] * len(entries)


async def hour_of(ahead: Ahead) -> Hour:
    while True:
        hour = ahead.hour()
        if hour is not None:
            return hour
        await asyncio.sleep(0)


async def test_of_many_apps_an_hour_is_told_from_some_of_each_minute() -> None:
    clock = ManualClock()
    index = Index(clock)
    ahead = Ahead(index, clock)  # type: ignore[arg-type]  # no more is asked for
    hour = await hour_of(ahead)
    await ahead.close()
    assert hour.is_estimate
    first = bucket_of(clock.now_ms())
    assert [(each.bucket, each.due) for each in hour.minutes] == [
        (bucket, APPS * PARTITIONS * ROWS) for bucket in range(first, first + MINUTES)
    ]
    assert index.counted <= 3_000
    assert index.most_read <= 10_000  # of 48,000


async def test_a_page_that_stays_open_has_a_twentieth_of_the_time_at_most() -> None:
    clock = ManualClock()
    index = Index(clock)
    index.apps, index.takes_ms = 1, 5_000
    ahead = Ahead(index, clock)  # type: ignore[arg-type]  # no more is asked for
    begun_ms = clock.boot_ms()
    while clock.boot_ms() < begun_ms + 500_000:
        await hour_of(ahead)
        clock.advance(1_000)
        for _ in range(100):  # a look is over by then
            await asyncio.sleep(0)
    await ahead.close()
    assert 2 <= index.looks <= 5
